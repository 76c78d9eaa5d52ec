//! The outcome of one check on one model.
//!
//! Passed, failed, skipped and not run are four different words: only the first is evidence.

use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::process::{ExitCode, Termination};

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum Outcome {
    /// The property holds on a real engine.
    Passed,
    /// It does not.
    Failed(Failure),
    /// The check makes no sense here and now, for this reason.
    Skipped { reason: String },
    /// It could not be tried, for this reason: another device, other weights.
    NotRun { reason: String },
    /// Shapes were checked against the contract without a real engine. Never evidence.
    Mock,
}

/// What a generated test returns to the test harness.
#[derive(Debug)]
#[must_use]
pub struct Verdict(pub Outcome);

impl Termination for Verdict {
    /// Failed is a failure; skipped and not run are one too where `HF_CONFORMANCE_STRICT` is set.
    fn report(self) -> ExitCode {
        let strict = std::env::var_os("HF_CONFORMANCE_STRICT").is_some_and(|value| value != "0");
        match self.0 {
            Outcome::Passed | Outcome::Mock => ExitCode::SUCCESS,
            Outcome::Failed(_) => ExitCode::FAILURE,
            Outcome::Skipped { .. } | Outcome::NotRun { .. } if strict => ExitCode::FAILURE,
            Outcome::Skipped { .. } | Outcome::NotRun { .. } => ExitCode::SUCCESS,
        }
    }
}
