//! What transformers computes otherwise with a cache than without one.
//!
//! In: entries that leave `decodes` out because of it. Out: for each, a short program that shows it, and what it printed here.

use super::driver::{TIMEOUT_SECONDS, job, request};
use super::{Order, Python};
use crate::artifact;
use crate::failure::{At, Failure, Stage};
use crate::spec::{Entry, Spec};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A program that shows how a class differs from itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Reproduction {
    /// How the row is read there: `several tokens after a cache`.
    pub way: String,
    /// Its text, in Python.
    pub program: String,
    /// What it printed: the difference as a share of the largest logit, or the error that ended it.
    pub printed: String,
}

/// A line of the exporter's standard output that ends a job.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Ready {},
    Started {},
    Done { model: String, result: Reproduction },
    Failed { model: String, reason: String },
}

/// Looks for a program for every entry; `heard` gets each entry's name with the program, or why there is none.
///
/// # Errors
/// Stage `export`: no environment, an exporter that breaks off or says what nobody understands.
pub fn reproduce(
    spec: &Spec,
    entries: &[&Entry],
    mut heard: impl FnMut(&str, Result<Reproduction, String>),
) -> Result<(), Failure> {
    let mut sources: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for &entry in entries {
        sources.entry(&entry.source).or_default().push(entry);
    }
    for (source, own) in sources {
        let jobs = own.iter().map(|entry| job(spec, &artifact::root(), &Order::plain(entry)));
        let request = request(jobs.collect::<Result<Vec<_>, _>>()?, TIMEOUT_SECONDS);
        Python::ready(&spec.versions, source)?.converse("exporter.upstream", &request, |line| {
            if let Some((model, found)) = read(line)? {
                heard(&model, found);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A model, and what was found of it.
type Found = (String, Result<Reproduction, String>);

/// What a line says; `None` where a job only began.
fn read(line: &str) -> Result<Option<Found>, Failure> {
    let event = serde_json::from_str(line).at(Stage::Export, format!("exporter said '{line}'"))?;
    Ok(match event {
        Event::Ready {} | Event::Started {} => None,
        Event::Done { model, result } => Some((model, Ok(result))),
        Event::Failed { model, reason } => Some((model, Err(reason))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_read_with_what_it_printed() {
        let line = r#"{"event": "done", "model": "mamba", "seconds": 1.0,
            "result": {"way": "a token after a cache", "program": "import torch", "printed": "0.5"}}"#;
        let (model, found) = read(line).unwrap().unwrap();
        assert_eq!((model.as_str(), found.unwrap().printed.as_str()), ("mamba", "0.5"));
    }

    #[test]
    fn a_class_that_no_program_shows_has_a_reason() {
        let line = r#"{"event": "failed", "model": "moshi", "reason": "no short program", "detail": ""}"#;
        assert_eq!(read(line).unwrap(), Some(("moshi".to_owned(), Err("no short program".to_owned()))));
        assert_eq!(read(r#"{"event": "started", "model": "moshi"}"#).unwrap(), None);
        assert!(read("nonsense").is_err());
    }
}
