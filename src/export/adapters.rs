//! Which adapters a model can be traced without.
//!
//! In: entries, each with an adapter that was active when its artifact was made. Out: for each, what goes wrong without
//! it; nothing where the trace still equals eager Python in every case.

use super::jobs::{Answer, Question, ask};
use crate::failure::{Failure, Stage};
use crate::spec::{Entry, Spec};

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

/// Carries out the trials; `heard` gets each verdict as it comes.
///
/// # Errors
/// Stage `export`: no environment, an exporter that breaks off or says what nobody understands.
pub fn carry_out<'a>(
    spec: &Spec,
    trials: &[Retrace<'a>],
    mut heard: impl FnMut(&Retraced<'a>),
) -> Result<Vec<Retraced<'a>>, Failure> {
    let questions = trials.iter().map(|trial| Question { entry: trial.entry, without: Some(&trial.without) });
    let mut verdicts = Vec::new();
    ask(spec, "exporter.unneeded", questions, |answer| {
        let verdict = verdict(answer, trials)?;
        heard(&verdict);
        verdicts.push(verdict);
        Ok(())
    })?;
    match verdicts.len() == trials.len() {
        true => Ok(verdicts),
        false => Err(Failure::new(Stage::Export, "the exporter ended before all adapters were tried")),
    }
}

/// The verdict in an answer.
fn verdict<'a>(answer: Answer<Option<String>>, trials: &[Retrace<'a>]) -> Result<Retraced<'a>, Failure> {
    let Answer { model, without, found } = answer;
    let meant =
        |trial: &&Retrace| trial.entry.name.as_str() == model && Some(&trial.without) == without.as_ref();
    let trial = trials.iter().find(meant).ok_or_else(|| {
        let without = without.as_deref().unwrap_or("nothing");
        Failure::new(Stage::Export, format!("exporter tried {model} without {without}, which nobody asked"))
    })?;
    // A trace that crashes or never ends is none.
    Ok(Retraced { trial: trial.clone(), needed: found.unwrap_or_else(Some) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::jobs::answer;
    use crate::spec;
    use std::path::Path;

    /// What a line says of two trials of the first entry: the adapter, and why it is needed.
    fn said(line: &str) -> Result<(String, Option<String>), String> {
        let spec = spec::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let trial = |without: &str| Retrace { entry: &spec.entries[0], without: without.to_owned() };
        let line = line.replace("MODEL", spec.entries[0].name.as_str());
        match verdict(answer(&line).unwrap().unwrap(), &[trial("first"), trial("second")]) {
            Ok(verdict) => Ok((verdict.trial.without, verdict.needed)),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn a_trace_that_holds_without_an_adapter_no_longer_needs_it() {
        let line =
            r#"{"event": "done", "model": "MODEL", "without": "second", "seconds": 1.0, "result": null}"#;
        assert_eq!(said(line), Ok(("second".to_owned(), None)));
    }

    #[test]
    fn an_adapter_is_needed_where_the_trace_is_off_or_crashes() {
        let off = r#"{"event": "done", "model": "MODEL", "without": "first", "result": "logits is off"}"#;
        assert_eq!(said(off), Ok(("first".to_owned(), Some("logits is off".to_owned()))));
        let crash =
            r#"{"event": "failed", "model": "MODEL", "without": "first", "reason": "killed", "detail": ""}"#;
        assert_eq!(said(crash), Ok(("first".to_owned(), Some("killed".to_owned()))));
    }

    #[test]
    fn a_verdict_that_nobody_asked_for_is_an_error() {
        let line = r#"{"event": "done", "model": "MODEL", "without": "third", "result": null}"#;
        assert!(said(line).unwrap_err().ends_with("without third, which nobody asked"));
    }
}
