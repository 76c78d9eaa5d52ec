//! What transformers computes otherwise with a cache than without one.
//!
//! In: entries that leave `decodes` out because of it. Out: for each, a short program that shows it, and what it printed here.

use super::jobs::{Answer, Question, ask};
use crate::failure::Failure;
use crate::spec::{Entry, Spec};
use serde::Deserialize;

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

/// Looks for a program for every entry; `heard` gets each entry's name with the program, or why there is none.
///
/// # Errors
/// Stage `export`: no environment, an exporter that breaks off or says what nobody understands.
pub fn reproduce(
    spec: &Spec,
    entries: &[&Entry],
    mut heard: impl FnMut(&str, Result<Reproduction, String>),
) -> Result<(), Failure> {
    let questions = entries.iter().map(|entry| Question { entry, without: None });
    ask(spec, "exporter.upstream", questions, |Answer { model, found, .. }| {
        heard(&model, found);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::jobs::answer;

    #[test]
    fn a_program_is_read_with_what_it_printed() {
        let line = r#"{"event": "done", "model": "mamba", "seconds": 1.0,
            "result": {"way": "a token after a cache", "program": "import torch", "printed": "0.5"}}"#;
        let Answer { model, found, .. } = answer::<Reproduction>(line).unwrap().unwrap();
        assert_eq!((model.as_str(), found.unwrap().printed.as_str()), ("mamba", "0.5"));
    }

    #[test]
    fn a_class_that_no_program_shows_has_a_reason() {
        let line = r#"{"event": "failed", "model": "moshi", "reason": "no short program", "detail": ""}"#;
        let Answer { model, found, .. } = answer::<Reproduction>(line).unwrap().unwrap();
        assert_eq!((model.as_str(), found), ("moshi", Err("no short program".to_owned())));
    }
}
