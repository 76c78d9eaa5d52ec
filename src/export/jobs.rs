//! What a module of the exporter finds out about entries, beside artifacts.
//!
//! In: entries, each perhaps with something to leave out. Out: what came of each, as it comes.

use super::driver::{TIMEOUT_SECONDS, job, request};
use super::{Order, Python};
use crate::artifact;
use crate::failure::{At, Failure, Stage};
use crate::spec::{Entry, Spec};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is asked about.
pub(super) struct Question<'a> {
    pub entry: &'a Entry,
    /// The name of an adapter that is to be left out.
    pub without: Option<&'a str>,
}

/// What came of a question.
#[derive(Debug, PartialEq)]
pub(super) struct Answer<T> {
    pub model: String,
    pub without: Option<String>,
    /// What was found, or why nothing was.
    pub found: Result<T, String>,
}

/// A line of the exporter's standard output.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<T> {
    Ready {},
    Started {},
    Done { model: String, without: Option<String>, result: T },
    Failed { model: String, without: Option<String>, reason: String },
}

/// Puts the questions to a module of the exporter, to one process for each source of classes; `heard` gets the answers.
///
/// # Errors
/// Stage `export`: no environment, an exporter that breaks off or says what nobody understands; and what `heard` refuses.
pub(super) fn ask<'a, T: DeserializeOwned>(
    spec: &Spec,
    module: &str,
    questions: impl IntoIterator<Item = Question<'a>>,
    mut heard: impl FnMut(Answer<T>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut sources: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for Question { entry, without } in questions {
        let mut job = job(spec, &artifact::root(), &Order::plain(entry))?;
        if let Some(without) = without {
            job["without"] = json!(without);
        }
        sources.entry(&entry.source).or_default().push(job);
    }
    for (source, jobs) in sources {
        Python::ready(&spec.versions, source)?.converse(module, &request(jobs, TIMEOUT_SECONDS), |line| {
            answer(line)?.map_or(Ok(()), &mut heard)
        })?;
    }
    Ok(())
}

/// What a line says; `None` where a job only began.
pub(super) fn answer<T: DeserializeOwned>(line: &str) -> Result<Option<Answer<T>>, Failure> {
    let event = serde_json::from_str(line).at(Stage::Export, format!("exporter said '{line}'"))?;
    Ok(match event {
        Event::Ready {} | Event::Started {} => None,
        Event::Done { model, without, result } => Some(Answer { model, without, found: Ok(result) }),
        Event::Failed { model, without, reason } => Some(Answer { model, without, found: Err(reason) }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_ends_has_an_answer_and_one_that_begins_has_none() {
        let read = |line: &str| answer::<Option<u32>>(line).unwrap();
        let done = r#"{"event": "done", "model": "a", "without": "b", "seconds": 1.0, "result": null}"#;
        let without = Some("b".to_owned());
        assert_eq!(read(done), Some(Answer { model: "a".to_owned(), without, found: Ok(None) }));
        let failed = r#"{"event": "failed", "model": "a", "reason": "killed", "detail": ""}"#;
        let found = Err("killed".to_owned());
        assert_eq!(read(failed), Some(Answer { model: "a".to_owned(), without: None, found }));
        assert_eq!(read(r#"{"event": "ready", "versions": {}}"#), None);
        assert_eq!(read(r#"{"event": "started", "model": "a"}"#), None);
    }

    #[test]
    fn a_line_that_is_no_event_is_an_error_that_quotes_it() {
        let failure = answer::<u32>("Segmentation fault").unwrap_err();
        assert!(failure.message.starts_with("exporter said 'Segmentation fault'"), "{}", failure.message);
    }
}
