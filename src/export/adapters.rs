//! Which adapters a model can be traced without.
//!
//! In: entries, each with an adapter that was active when its artifact was made. Out: for each, what goes wrong without
//! it; nothing where the trace still equals eager Python in every case.

use super::driver::{TIMEOUT_SECONDS, job, request};
use super::{Order, Python};
use crate::artifact;
use crate::failure::{At, Failure, Stage};
use crate::spec::{Entry, Spec};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A model to be traced without one of its adapters.
#[derive(Clone, Debug)]
pub struct Retrace<'a> {
    pub entry: &'a Entry,
    /// The adapter's name.
    pub without: String,
}

/// A trial that is over.
#[derive(Clone, Debug)]
pub struct Retraced<'a> {
    pub trial: Retrace<'a>,
    /// Why the model needs the adapter; `None` where it no longer does.
    pub needed: Option<String>,
}

/// A line of the exporter's standard output that ends a trial.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Ready {},
    Started {},
    Done { without: String, model: String, result: Option<String> },
    Failed { without: String, model: String, reason: String },
}

/// Carries out the trials; `heard` gets each verdict as it comes.
///
/// # Errors
/// Stage `export`: no environment, an exporter that breaks off or says what nobody understands.
pub fn carry_out<'a>(
    spec: &Spec,
    trials: &[Retrace<'a>],
    mut heard: impl FnMut(&Retraced<'a>),
) -> Result<Vec<Retraced<'a>>, Failure> {
    let mut sources: BTreeMap<&str, Vec<&Retrace>> = BTreeMap::new();
    for trial in trials {
        sources.entry(&trial.entry.source).or_default().push(trial);
    }
    let mut verdicts = Vec::new();
    for (source, own) in sources {
        let jobs = own.iter().map(|trial| without(spec, trial)).collect::<Result<Vec<_>, _>>()?;
        Python::ready(&spec.versions, source)?.converse(
            "exporter.unneeded",
            &request(jobs, TIMEOUT_SECONDS),
            |line| {
                if let Some(verdict) = read(line, trials)? {
                    heard(&verdict);
                    verdicts.push(verdict);
                }
                Ok(())
            },
        )?;
    }
    match verdicts.len() == trials.len() {
        true => Ok(verdicts),
        false => Err(Failure::new(Stage::Export, "the exporter ended before all adapters were tried")),
    }
}

/// The job of a trial.
fn without(spec: &Spec, trial: &Retrace) -> Result<Value, Failure> {
    let mut job = job(spec, &artifact::root(), &Order::plain(trial.entry))?;
    job["without"] = json!(trial.without);
    Ok(job)
}

/// The verdict in a line; `None` where a trial only began.
fn read<'a>(line: &str, trials: &[Retrace<'a>]) -> Result<Option<Retraced<'a>>, Failure> {
    let event = serde_json::from_str(line).at(Stage::Export, format!("exporter said '{line}'"))?;
    let (model, without, needed) = match event {
        Event::Ready {} | Event::Started {} => return Ok(None),
        Event::Done { model, without, result } => (model, without, result),
        // A trace that crashes or never ends is none.
        Event::Failed { model, without, reason } => (model, without, Some(reason)),
    };
    let meant = |trial: &&Retrace| trial.entry.name.as_str() == model && trial.without == without;
    let trial = trials.iter().find(meant).ok_or_else(|| {
        Failure::new(Stage::Export, format!("exporter tried {model} without {without}, which nobody asked"))
    })?;
    Ok(Some(Retraced { trial: trial.clone(), needed }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;
    use std::path::Path;

    /// What a line says of two trials of the first entry: the adapter, and why it is needed.
    fn said(line: &str) -> Result<Option<(String, Option<String>)>, String> {
        let spec = spec::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let trial = |without: &str| Retrace { entry: &spec.entries[0], without: without.to_owned() };
        let line = line.replace("MODEL", spec.entries[0].name.as_str());
        match read(&line, &[trial("first"), trial("second")]) {
            Ok(verdict) => Ok(verdict.map(|verdict| (verdict.trial.without, verdict.needed))),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn a_trace_that_holds_without_an_adapter_no_longer_needs_it() {
        let line =
            r#"{"event": "done", "model": "MODEL", "without": "second", "seconds": 1.0, "result": null}"#;
        assert_eq!(said(line), Ok(Some(("second".to_owned(), None))));
    }

    #[test]
    fn an_adapter_is_needed_where_the_trace_is_off_or_crashes() {
        let off = r#"{"event": "done", "model": "MODEL", "without": "first", "result": "logits is off"}"#;
        assert_eq!(said(off), Ok(Some(("first".to_owned(), Some("logits is off".to_owned())))));
        let crash =
            r#"{"event": "failed", "model": "MODEL", "without": "first", "reason": "killed", "detail": ""}"#;
        assert_eq!(said(crash), Ok(Some(("first".to_owned(), Some("killed".to_owned())))));
    }

    #[test]
    fn the_beginning_of_a_trial_is_no_verdict() {
        assert_eq!(said(r#"{"event": "ready", "versions": {}}"#), Ok(None));
        assert_eq!(said(r#"{"event": "started", "model": "MODEL"}"#), Ok(None));
    }

    #[test]
    fn a_verdict_that_nobody_asked_for_is_an_error() {
        let line = r#"{"event": "done", "model": "MODEL", "without": "third", "result": null}"#;
        assert!(said(line).unwrap_err().ends_with("without third, which nobody asked"));
    }
}
