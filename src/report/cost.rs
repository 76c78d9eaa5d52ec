//! What the suite itself costs: how long it takes to generate, export, build and test.
//!
//! In: what commands timed of their own work, with no extra run. Out: [`Cost`], one line of
//! `target/conformance/costs.jsonl`, and a [`Summary`] per step.

use super::machine::{Host, commit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A step between the spec and its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The checked spec → `generated/`.
    Generate,
    /// Models → artifacts; only those that were stale or missing.
    Export,
    /// Artifacts → programs for the engine pt2; only those that were stale or missing.
    ExportGraphs,
    /// The same for the engine aot.
    ExportPackages,
    /// Models in half precision → references on another device than the CPU.
    ExportHalves,
    /// `generated/` → the test program; only where something had to be compiled.
    Build,
    /// The generated tests.
    Test,
    /// The same checks straight from the spec.
    Check,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generate => "generate",
            Self::Export => "export",
            Self::ExportGraphs => "export pt2",
            Self::ExportPackages => "export aot",
            Self::ExportHalves => "export halves",
            Self::Build => "build",
            Self::Test => "test",
            Self::Check => "check",
        })
    }
}

/// How long one step took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cost {
    pub run: String,
    /// When the step ended, in UTC.
    pub time: String,
    pub step: Step,
    /// Models that the step was about.
    pub models: usize,
    /// By the clock on the wall.
    pub seconds: f64,
    pub host: Host,
    pub commit: Option<String>,
}

/// `costs.jsonl` beside the results store.
pub fn path() -> PathBuf {
    super::path().with_file_name("costs.jsonl")
}

/// Keeps how long a step took for so many models; a step that had nothing to do is not kept.
///
/// # Errors
/// The file cannot be written.
pub fn keep(step: Step, models: usize, took: Duration) -> io::Result<()> {
    if models == 0 {
        return Ok(());
    }
    let cost = Cost {
        run: super::run().to_owned(),
        time: jiff::Timestamp::now().to_string(),
        step,
        models,
        seconds: took.as_secs_f64(),
        host: Host::of(None),
        commit: commit().map(str::to_owned),
    };
    super::append_to(&path(), &cost)
}

/// A step's last time, and its largest: the one for the most models, of those the longest.
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    pub step: Step,
    pub last: &'a Cost,
    pub largest: &'a Cost,
}

/// A summary of every step that was timed, in the order of the flow.
#[must_use]
pub fn summaries(costs: &[Cost]) -> Vec<Summary<'_>> {
    let mut steps: BTreeMap<Step, Summary> = BTreeMap::new();
    let mut costs = Vec::from_iter(costs);
    costs.sort_by(|a, b| a.time.cmp(&b.time));
    for cost in costs {
        let summary =
            steps.entry(cost.step).or_insert(Summary { step: cost.step, last: cost, largest: cost });
        summary.last = cost;
        let size = |cost: &Cost| (cost.models, cost.seconds);
        if size(cost) > size(summary.largest) {
            summary.largest = cost;
        }
    }
    steps.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_and_the_largest_of_each_step_are_told() {
        let cost = |step, models, seconds| Cost {
            run: "1".to_owned(),
            time: String::new(),
            step,
            models,
            seconds,
            host: Host::default(),
            commit: None,
        };
        let costs = [
            cost(Step::Test, 500, 70.0),
            cost(Step::Export, 3, 11.0),
            cost(Step::Test, 500, 60.0),
            cost(Step::Test, 1, 0.5),
        ];
        let told: Vec<_> = summaries(&costs)
            .iter()
            .map(|one| (one.step, one.last.seconds, one.largest.models, one.largest.seconds))
            .collect();
        assert_eq!(told, [(Step::Export, 11.0, 3, 11.0), (Step::Test, 0.5, 500, 70.0)]);
    }
}
