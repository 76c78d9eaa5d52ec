//! The outcome of one check on one model, and the words for it.
//!
//! Passed, failed, crashed, timed out and not run are different words: only the first is evidence, and the next three are
//! evidence against the model. A check that the spec leaves out is not due and has no outcome: [`crate::spec::Check::omitted`] says why.

use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::process::{ExitCode, Termination};

/// How a check that was due ended, in a word: what the results store keeps and every report counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The property holds on a real engine.
    Passed,
    /// It does not.
    Failed,
    /// It ended the process that ran it: by a signal, or by taking more memory than it may.
    Crashed,
    /// It was ended, since it took longer than it may.
    TimedOut,
    /// It could not be tried. `skipped` was an older word for it.
    #[serde(alias = "skipped")]
    NotRun,
    /// Shapes were checked without a real engine. Never evidence.
    Mock,
    /// A word of another build, which this one does not know. Never evidence, and never passed over: the line may say
    /// that what passed before does not any more.
    #[serde(other)]
    Unknown,
}

impl Status {
    /// The ways in which a check speaks against its model, the worst first.
    pub const RED: [Self; 3] = [Self::Crashed, Self::TimedOut, Self::Failed];

    /// Whether it speaks against the model: one that ends its process computes nothing.
    pub fn is_red(self) -> bool {
        Self::RED.contains(&self)
    }

    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::TimedOut => "timed out",
            Self::NotRun => "not run",
            Self::Mock => "mock",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How a check that was due ended, with what there is to say about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The property holds on a real engine.
    Passed,
    /// It does not.
    Failed(Failure),
    /// It ended the process that ran it.
    Crashed(Failure),
    /// It took longer than it may.
    TimedOut(Failure),
    /// It could not be tried, for a reason that is not the model's: no such device, no packages to export with, a
    /// process that broke off.
    NotRun(Failure),
    /// Shapes were checked against the contract without a real engine. Never evidence.
    Mock,
}

impl Outcome {
    /// The word for it.
    pub fn status(&self) -> Status {
        match self {
            Self::Passed => Status::Passed,
            Self::Failed(_) => Status::Failed,
            Self::Crashed(_) => Status::Crashed,
            Self::TimedOut(_) => Status::TimedOut,
            Self::NotRun(_) => Status::NotRun,
            Self::Mock => Status::Mock,
        }
    }

    /// What went wrong, in the model or around it.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure)
            | Self::Crashed(failure)
            | Self::TimedOut(failure)
            | Self::NotRun(failure) => Some(failure),
            Self::Passed | Self::Mock => None,
        }
    }
}

/// What a generated test returns to the test harness.
#[derive(Debug)]
#[must_use]
pub struct Verdict(pub Outcome);

impl Verdict {
    /// Failed is a failure; not run is one too where `strict` asks for it.
    fn exit_code(&self, strict: bool) -> ExitCode {
        match self.0 {
            Outcome::Passed | Outcome::Mock => ExitCode::SUCCESS,
            Outcome::NotRun(_) if !strict => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

impl Termination for Verdict {
    /// Strict is asked for by `HF_CONFORMANCE_STRICT`.
    fn report(self) -> ExitCode {
        self.exit_code(std::env::var_os("HF_CONFORMANCE_STRICT").is_some_and(|value| value != "0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Stage;

    #[test]
    fn words_are_written_as_they_are_read_and_those_of_other_builds_are_no_evidence() {
        let read = |word: &str| serde_json::from_str::<Status>(&format!("\"{word}\"")).unwrap();
        let all = [Status::Passed, Status::NotRun, Status::Mock, Status::Unknown];
        for status in all.into_iter().chain(Status::RED) {
            let written = serde_json::to_string(&status).unwrap();
            assert_eq!(written, format!("\"{}\"", status.word().replace(' ', "-")));
            assert_eq!(read(written.trim_matches('"')), status);
        }
        assert_eq!((read("skipped"), read("melted")), (Status::NotRun, Status::Unknown));
    }

    #[test]
    fn not_run_is_a_failure_only_where_strict_asks_for_it() {
        let failure = Failure::new(Stage::Move, "no device");
        let code = |outcome: &Outcome| {
            let verdict = Verdict(outcome.clone());
            [false, true].map(|strict| verdict.exit_code(strict) == ExitCode::SUCCESS)
        };
        assert_eq!(code(&Outcome::Passed), [true, true]);
        assert_eq!(code(&Outcome::NotRun(failure.clone())), [true, false]);
        assert_eq!(code(&Outcome::Failed(failure)), [false, false]);
    }
}
