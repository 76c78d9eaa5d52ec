//! Asks the exporter's `suggest` for entries.

use super::Draft;
use crate::export::Python;
use crate::failure::{At, Failure, Stage};
use crate::roster::Row;
use crate::spec::{Base, Entry, NEW_TOKENS, Spec};
use crate::task::{CONFIG_DIMS, CONTRACTS, Contract};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Time one name may take, in seconds.
const TIMEOUT_SECONDS: u32 = 90;

/// A name to make an entry for, and what is wanted of it.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The name in any spelling.
    pub asked: String,
    /// The entry's name, where it is not to be the usual one.
    pub name: Option<String>,
    /// The architecture whose code to run, where the name does not tell.
    pub architecture: Option<String>,
    pub task: Option<String>,
    pub family: Option<String>,
    pub like: Option<String>,
    /// The entry to inherit from, if that makes a shorter entry.
    pub template: Option<String>,
    pub source: Option<String>,
    /// What the roster knows.
    pub row: Option<Row>,
}

/// What the exporter says to a wish.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// An entry that eager Python runs.
    Draft { draft: Box<Draft> },
    /// `find`, `config`, `build` or `run`, and why it ended there.
    Refused { stage: String, reason: String },
}

/// Asks for all wishes of one source in one process; `heard` gets each answer with the wish's index.
///
/// # Errors
/// Only what stops all of them: no Python environment, a process that breaks off.
pub fn suggest(
    spec: &Spec,
    bases: &BTreeMap<String, Base>,
    source: &str,
    wishes: &[&Wish],
    mut heard: impl FnMut(usize, Answer),
) -> Result<(), Failure> {
    let request = json!({
        "timeout_seconds": TIMEOUT_SECONDS,
        "new_tokens": NEW_TOKENS,
        "dims": CONFIG_DIMS.iter().map(|(name, paths)| ((*name).to_owned(), json!(paths))).collect::<Map<_, _>>(),
        "tasks": CONTRACTS.iter().map(|task| (task.name.to_owned(), contract(task))).collect::<Map<_, _>>(),
        "families": bases,
        "requests": wishes.iter().map(|wish| self::request(spec, wish)).collect::<Vec<_>>(),
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

fn request(spec: &Spec, wish: &Wish) -> Value {
    let find = |name: &Option<String>| {
        spec.entries.iter().find(|entry| Some(entry.name.as_str()) == name.as_deref())
    };
    // A template must not bring more than a config: what it leaves out, it leaves out for reasons of its own.
    let plain = |entry: &&Entry| entry.omit.is_empty() && entry.tolerance.is_empty();
    json!({
        "name": wish.architecture.as_ref().unwrap_or(&wish.asked),
        "task": wish.task,
        "family": wish.family,
        "base": find(&wish.like).map(Base::of),
        "template": find(&wish.template).filter(plain).map(Base::of),
        "hint": wish.row.as_ref().map_or(json!({}), |row| json!(row)),
    })
}
