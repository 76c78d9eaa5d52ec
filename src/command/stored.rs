//! Result files as commands read them.

use anyhow::{Context, Result};
use hf_conformance::report::{self, Record, merged};
use hf_conformance::spec::{Entry, Spec};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The records of `files`, or of the results store where none are named, merged; unreadable lines are told on stderr.
pub fn read(files: &[PathBuf]) -> Result<Vec<Record>> {
    let own = [report::path()];
    let files = if files.is_empty() { own.as_slice() } else { files };
    let mut records = Vec::new();
    for file in files {
        let lines = report::lines::<Record>(file).with_context(|| file.display().to_string())?;
        if lines.unreadable > 0 {
            eprintln!(
                "{}: {} line(s) left out: torn by a killed run, or of another version",
                file.display(),
                lines.unreadable
            );
        }
        records.extend(lines.read);
    }
    Ok(merged(records))
}

/// The records of entries as they stand: an outcome of an older entry proves nothing about this one.
pub fn current(records: Vec<Record>, spec: &Spec) -> Vec<Record> {
    let digest = |entry: &Entry| (entry.name.to_string(), entry.digest(&spec.versions));
    let digests: BTreeMap<String, String> = spec.entries.iter().map(digest).collect();
    records.into_iter().filter(|record| digests.get(&record.model) == Some(&record.entry)).collect()
}
