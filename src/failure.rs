//! What can go wrong between a spec entry and a verdict, told by the stage at which it did.

use crate::numerics::Measure;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The steps from a spec entry to a verdict, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Reading the YAML.
    Spec,
    /// Making the artifact with Python.
    Export,
    /// Reading the artifact.
    Load,
    /// Bringing program or inputs to the device.
    Move,
    /// Executing the program.
    Run,
    /// Judging its outputs.
    Compare,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spec => "spec",
            Self::Export => "export",
            Self::Load => "load",
            Self::Move => "move",
            Self::Run => "run",
            Self::Compare => "compare",
        })
    }
}

/// A failure with its stage: one line that says what is wrong, and what helps to find out why.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Failure {
    pub stage: Stage,
    /// One line.
    pub message: String,
    /// Further lines: worst elements, the first differing layer, the next step.
    pub details: Vec<String>,
    /// What was compared by then, the outputs that are off among it.
    pub measures: Vec<Measure>,
}

impl Failure {
    /// A failure at `stage`, in one line.
    pub fn new(stage: Stage, message: impl Into<String>) -> Self {
        Self { stage, message: message.into(), details: Vec::new(), measures: Vec::new() }
    }

    /// A refusal to plant a fault, in words that [`Failure::refusal`] knows: it has nothing to take hold of.
    pub fn not_applicable(why: impl fmt::Display) -> Self {
        Self::new(Stage::Load, format!("{NOT_APPLICABLE}{why}"))
    }

    /// Why a fault was not planted, where this says that it has nothing to take hold of.
    pub fn refusal(&self) -> Option<&str> {
        self.message.strip_prefix(NOT_APPLICABLE)
    }

    /// A failure of eager Python itself: it moves too far by rounding alone for anything to be held to it.
    pub fn no_yardstick(stage: Stage, why: impl fmt::Display) -> Self {
        Self::new(stage, format!("{why}{NO_YARDSTICK}"))
    }

    /// Whether this is one of [`Failure::no_yardstick`]: another seed may do, and the program is not to blame.
    pub fn lacks_yardstick(&self) -> bool {
        self.message.ends_with(NO_YARDSTICK)
    }

    /// The same failure with one more line of help.
    #[must_use]
    pub fn with(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// The same failure with the end of what a process printed.
    #[must_use]
    pub fn with_end_of(self, printed: &str) -> Self {
        let lines: Vec<&str> = printed.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.len().saturating_sub(12);
        lines[last..].iter().fold(self, |failure, line| failure.with(*line))
    }
}

/// What a failure of eager Python itself ends with.
const NO_YARDSTICK: &str = ": no yardstick";

/// What a refusal to plant a fault begins with, the exporter's too.
const NOT_APPLICABLE: &str = "not applicable: ";

/// Turns any error into a [`Failure`] that names its stage and what was being done.
pub trait At<T> {
    /// `Err` becomes `doing: error` at `stage`.
    fn at(self, stage: Stage, doing: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> At<T> for Result<T, E> {
    fn at(self, stage: Stage, doing: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| {
            let text = error.to_string();
            // libtorch appends a C++ stack, which tells a reader of this message nothing.
            let is_stack = |line: &&str| line.starts_with("Exception raised from");
            let all = text.lines().map(str::trim).take_while(|line| !is_stack(line));
            let mut lines: Vec<&str> = all.filter(|line| !line.is_empty()).collect();
            // TorchScript's interpreter tells first where it was, in the program and in Python, and then what went wrong.
            let reason = lines.iter().rposition(|line| line.starts_with(INTERPRETER)).unwrap_or(0);
            let message = if lines.is_empty() { "unknown error" } else { lines.remove(reason) };
            let failure = Failure::new(stage, format!("{doing}: {message}"));
            shortened(&lines).into_iter().fold(failure, Failure::with)
        })
    }
}

/// What TorchScript's interpreter puts before the reason of a failure.
const INTERPRETER: &str = "RuntimeError: ";
/// Lines that a failure keeps of the beginning of a long error, and of its end.
const KEPT: usize = 8;

/// Where an error begins and where it ends: both can be what a reader needs.
fn shortened(lines: &[&str]) -> Vec<String> {
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    if lines.len() <= 2 * KEPT {
        return owned(lines);
    }
    let between = format!("({} more lines)", lines.len() - 2 * KEPT);
    [owned(&lines[..KEPT]), vec![between], owned(&lines[lines.len() - KEPT..])].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_libtorch_keeps_its_message_and_loses_its_stack() {
        let error =
            "expected 3 dims\n\n  in the model's code\nException raised from f at g.cpp:1\nframe #0: h";
        let failure = Err::<(), _>(error).at(Stage::Run, "the program failed").unwrap_err();
        assert_eq!(failure.message, "the program failed: expected 3 dims");
        assert_eq!(failure.details, ["in the model's code"]);
    }

    #[test]
    fn a_failure_in_a_program_begins_with_its_reason_however_long_the_way_there_was() {
        let way: Vec<String> = (0..40).map(|line| format!("line {line}")).collect();
        let error = format!("The interpreter failed.\n{}\nRuntimeError: no kernel\nfor 9.0", way.join("\n"));
        let failure = Err::<(), _>(error).at(Stage::Run, "the program failed").unwrap_err();
        assert_eq!(failure.message, "the program failed: RuntimeError: no kernel");
        assert_eq!(failure.details.len(), 17);
        assert_eq!(failure.details[0], "The interpreter failed.");
        assert_eq!(failure.details[8], "(26 more lines)");
        assert_eq!(failure.details[16], "for 9.0");
    }
}
