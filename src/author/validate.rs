//! What is wrong with a spec that its files alone do not tell.
//!
//! In: a checked spec, the roster. Out: problems with their places, from Python (classes, tasks, config keys) and
//! from the roster (names without an entry).

use crate::export::Python;
use crate::failure::{At, Failure, Stage};
use crate::roster::{Row, plain};
use crate::spec::{self, Entry, File, Problem, Spec};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// A fault as the exporter tells it.
#[derive(Deserialize)]
struct Fault {
    model: String,
    key: String,
    message: String,
}

/// Asks each source's own package about its entries.
///
/// # Errors
/// Only what stops the asking: no Python environment, a process that breaks off.
pub fn classes(spec: &Spec, files: &[File]) -> Result<Vec<Problem>, Failure> {
    let mut sources: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in &spec.entries {
        sources.entry(&entry.source).or_default().push(entry);
    }
    let mut problems = Vec::new();
    for (source, entries) in sources {
        let jobs = entries.iter().map(|entry| {
            json!({"model": entry.name, "class": entry.class, "task": entry.task.name, "config": entry.config})
        });
        let request = json!({"source": spec.versions.sources.get(source), "entries": Vec::from_iter(jobs)});
        Python::ready(&spec.versions, source)?.converse("exporter.validate", &request, |line| {
            let fault: Fault =
                serde_json::from_str(line).at(Stage::Spec, format!("validate said '{line}'"))?;
            if let Some(entry) = entries.iter().find(|entry| entry.name.as_str() == fault.model) {
                problems.push(problem(files, entry, &fault));
            }
            Ok(())
        })?;
    }
    problems.sort();
    problems.dedup();
    Ok(problems)
}

/// The fault at the place that gives the value, which may be the family's defaults.
fn problem(files: &[File], entry: &Entry, fault: &Fault) -> Problem {
    let origins = spec::explain(files, entry.name.as_str());
    let below = format!("{}.", fault.key);
    let origin = origins.iter().find(|origin| origin.key == fault.key || origin.key.starts_with(&below));
    let place = origin.map_or(&entry.place, |origin| &origin.place).clone();
    Problem { place, message: format!("{}: {}", entry.name, fault.message), also: None }
}

/// The rows that must have an entry: all but those whose code is in no transformers package.
pub fn required(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| row.tier != "elsewhere")
}

/// Required names that have no entry.
pub fn missing<'a>(spec: &Spec, rows: &'a [Row]) -> Vec<&'a Row> {
    let names: BTreeSet<String> = spec.entries.iter().map(|entry| plain(entry.name.as_str())).collect();
    required(rows).filter(|row| !names.contains(&plain(&row.name))).collect()
}
