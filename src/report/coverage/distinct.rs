//! How much of what entries prove is proved once only.
//!
//! In: entries. Out: [`Distinct`]: many architectures are another's class under a new name, and their entries are then
//! the same job for the exporter.

use crate::spec::{Entry, Versions};
use serde::Serialize;
use std::collections::BTreeSet;

/// Keys of a job that say what it is called, and nothing of what is done.
const NAMES: [&str; 3] = ["model", "family", "checkpoint"];

/// Entries, counted three ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Distinct {
    /// Entries, each under its own name.
    pub names: usize,
    /// Jobs of the exporter that differ in more than their names: class, task, config, inputs, sizes, pins.
    pub jobs: usize,
    /// Classes of the packages that define them.
    pub classes: usize,
}

impl Distinct {
    /// Counts `entries`, each under the pins of its source.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>, versions: &Versions) -> Self {
        let (mut names, mut jobs, mut classes) = (0, BTreeSet::new(), BTreeSet::new());
        for entry in entries {
            names += 1;
            jobs.insert(job(entry, versions));
            classes.insert((&entry.source, &entry.class));
        }
        Self { names, jobs: jobs.len(), classes: classes.len() }
    }
}

/// The entry's job without its names, and the pins of its source, as text.
fn job(entry: &Entry, versions: &Versions) -> String {
    let mut job = serde_json::to_value(entry.job()).expect("a job is plain data with text keys");
    if let Some(fields) = job.as_object_mut() {
        fields.retain(|key, _| !NAMES.contains(&key.as_str()));
    }
    let pins = serde_json::to_value(versions.sources.get(&entry.source)).expect("pins are texts");
    serde_json::json!([job, pins]).to_string()
}
