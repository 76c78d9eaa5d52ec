//! Asks the exporter's `suggest` for entries.

use super::Draft;
use crate::export::Python;
use crate::failure::{At, Failure, Stage};
use crate::roster::{self, Row};
use crate::spec::{Base, Entry, NEW_TOKENS, Spec};
use crate::task::{CONFIG_DIMS, CONTRACTS, Contract};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Time one name may take, in seconds.
const TIMEOUT_SECONDS: u32 = 240;

/// A name to make an entry for, and what is wanted of it.
#[derive(Clone, Debug, Default)]
pub struct AddRequest {
    /// The name in any spelling.
    pub asked: String,
    /// The entry's name, where it is not to be the usual one.
    pub name: Option<String>,
    pub task: Option<String>,
    pub family: Option<String>,
    pub like: Option<String>,
    /// The entry to inherit from, if that makes a shorter entry.
    pub template: Option<String>,
    pub source: Option<String>,
    /// What the roster knows.
    pub row: Option<Row>,
}

impl AddRequest {
    /// The request that a name alone makes, with what the roster knows of it; its family only where that is one of `families`.
    pub fn by_name(asked: &str, rows: &[Row], families: &BTreeMap<String, Base>) -> Self {
        let row = roster::find(rows, asked).cloned();
        let family = row.as_ref().map(|row| row.category.clone());
        Self {
            asked: asked.to_owned(),
            family: family.filter(|family| families.contains_key(family)),
            row,
            ..Self::default()
        }
    }
}

/// What the exporter says to a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// An entry that eager Python runs.
    Draft { draft: Box<Draft> },
    /// `find`, `config`, `build` or `run`, why it ended there, and the entry whose code is nearest.
    Refused { stage: String, reason: String, copy: Option<String> },
}

/// Asks for all requests of one source in one process; `heard` gets each answer with the request's index.
///
/// # Errors
/// Only what stops all of them: no Python environment, a process that breaks off.
pub fn suggest(
    spec: &Spec,
    bases: &BTreeMap<String, Base>,
    source: &str,
    requests: &[&AddRequest],
    mut heard: impl FnMut(usize, Answer),
) -> Result<(), Failure> {
    let request = json!({
        "timeout_seconds": TIMEOUT_SECONDS,
        "source": spec.versions.sources.get(source),
        "new_tokens": NEW_TOKENS,
        "dims": CONFIG_DIMS.iter().map(|(name, paths)| ((*name).to_owned(), json!(paths))).collect::<Map<_, _>>(),
        "tasks": CONTRACTS.iter().map(|task| (task.name.to_owned(), contract(task))).collect::<Map<_, _>>(),
        "families": bases,
        "entries": spec.entries.iter().filter(|entry| entry.source == source).map(entry).collect::<Vec<_>>(),
        "requests": requests.iter().copied().map(request).collect::<Vec<_>>(),
    });
    let mut index = 0;
    Python::ready(&spec.versions, source)?.converse("exporter.suggest", &request, |line| {
        let answer = serde_json::from_str(line).at(Stage::Export, format!("suggest said '{line}'"))?;
        heard(index, answer);
        index += 1;
        Ok(())
    })
}

fn contract(task: &Contract) -> Value {
    json!({
        "inputs": task.inputs,
        "outputs": task.outputs,
        "causal": task.causal,
        "generation": task.generation,
    })
}

/// An entry that a new one may be like.
fn entry(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "class": entry.class,
        "task": entry.task.name,
        // A looser tolerance is nobody's to inherit.
        "usable": entry.tolerance.is_empty(),
        "omit": Vec::from_iter(entry.omit.keys().map(|check| check.name())),
        "base": Base::of(entry),
    })
}

fn request(request: &AddRequest) -> Value {
    json!({
        "name": request.asked,
        "task": request.task,
        "family": request.family,
        "like": request.like,
        "template": request.template,
        "hint": request.row.as_ref().map_or(json!({}), |row| json!(row)),
    })
}
