//! What is wrong with a spec that its files alone do not tell.
//!
//! In: a checked spec, the roster. Out: problems with their places, from Python (classes, tasks, config keys) and
//! from the roster (promised names without an entry).

use crate::export::Python;
use crate::failure::{At, Failure, Stage};
use crate::roster::{self, Row, plain};
use crate::spec::{self, Entry, File, Place, Problem, Spec};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Tiers of which every row must have an entry, or a reason why not.
const PROMISED: [&str; 2] = ["plan", "registry"];

/// A mistake as the exporter tells it.
#[derive(Deserialize)]
struct Mistake {
    model: String,
    key: String,
    message: String,
}

/// Asks each source's own package about its entries.
///
/// # Errors
/// Only what stops the asking: no Python environment, a process that breaks off.
pub fn classes(spec: &Spec, files: &[File], rows: &[Row]) -> Result<Vec<Problem>, Failure> {
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
            let mistake: Mistake =
                serde_json::from_str(line).at(Stage::Spec, format!("validate said '{line}'"))?;
            let entry = entries.iter().find(|entry| entry.name.as_str() == mistake.model);
            problems.extend(
                entry
                    .filter(|entry| !intended(entry, &mistake, rows))
                    .map(|entry| problem(files, entry, &mistake)),
            );
            Ok(())
        })?;
    }
    problems.sort();
    problems.dedup();
    Ok(problems)
}

/// The mistake at the place that gives the value, which may be the family's defaults.
fn problem(files: &[File], entry: &Entry, mistake: &Mistake) -> Problem {
    let origins = spec::explain(files, entry.name.as_str());
    let below = format!("{}.", mistake.key);
    let origin = origins.iter().find(|origin| origin.key == mistake.key || origin.key.starts_with(&below));
    let place = origin.map_or(&entry.place, |origin| &origin.place).clone();
    Problem { place, message: format!("{}: {}", entry.name, mistake.message), also: None }
}

/// Whether the entry's task is another than that of the class's auto model on purpose: its row of the roster has
/// the same class and task, and a note that says why.
fn intended(entry: &Entry, mistake: &Mistake, rows: &[Row]) -> bool {
    let row = roster::find(rows, entry.name.as_str());
    mistake.key == "task"
        && row.is_some_and(|row| {
            row.note.is_some()
                && row.class.as_deref() == Some(&entry.class)
                && row.task.as_deref() == Some(entry.task.name)
        })
}

/// What became of the roster's rows.
#[derive(Debug, PartialEq)]
pub struct RosterCount {
    pub rows: usize,
    pub entries: usize,
    /// Rows of which a family's `missing` says why there is no entry.
    pub missing: usize,
    /// Promised rows with neither: each is a problem.
    pub broken: Vec<Problem>,
}

/// Looks every row up in the spec. The tiers `plan` and `registry` are promised; the others may wait.
pub fn standing(spec: &Spec, rows: &[Row]) -> RosterCount {
    let entries: BTreeSet<String> = spec.entries.iter().map(|entry| plain(entry.name.as_str())).collect();
    let missing: BTreeSet<String> = spec.missing.iter().map(|missing| plain(missing.name.as_str())).collect();
    let count =
        |names: &BTreeSet<String>| rows.iter().filter(|row| names.contains(&plain(&row.name))).count();
    let absent = |row: &&Row| !entries.contains(&plain(&row.name)) && !missing.contains(&plain(&row.name));
    let promised = rows.iter().filter(|row| PROMISED.contains(&row.tier.as_str()));
    let broken = promised.filter(absent).map(|row| Problem {
        place: Place { file: roster::FILE.into(), line: row.line, column: 1 },
        message: format!(
            "{}: tier {} promises it, but there is no entry, and no reason under `missing`; run: just add {}",
            row.name, row.tier, row.name
        ),
        also: None,
    });
    RosterCount {
        rows: rows.len(),
        entries: count(&entries),
        missing: count(&missing),
        broken: broken.collect(),
    }
}
