//! Outcomes, counted.

use crate::report::Record;
use crate::spec::{Check, Entry};
use crate::verdict::Status;
use std::collections::BTreeMap;

/// What every check of a run came to. Each that is due is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The property holds.
    pub passed: usize,
    /// It does not, or the model could not be exported.
    pub failed: usize,
    /// The check ended its process.
    pub crashed: usize,
    /// The check took longer than it may.
    pub timed_out: usize,
    /// Due, and without a result that says anything of the model.
    pub not_run: usize,
    /// Of those that did not run, the ones that nothing was heard of: no reason of the environment's excuses them.
    pub lost: usize,
    /// Not due: the spec says why.
    pub left_out: usize,
}

impl Tally {
    /// Counts the last word on each check that is due; a check without one has not run.
    pub fn of(due: &[(&Entry, Check)], records: &[Record], left_out: usize, lost: usize) -> Self {
        let key = |record: &Record| (record.model.clone(), record.check.clone());
        let last: BTreeMap<(String, String), Status> =
            records.iter().map(|record| (key(record), record.status)).collect();
        let mut tally = Self { lost, left_out, ..Self::default() };
        for (entry, check) in due {
            match last.get(&(entry.name.to_string(), check.name().to_owned())) {
                Some(Status::Passed) => tally.passed += 1,
                Some(Status::Failed) => tally.failed += 1,
                Some(Status::Crashed) => tally.crashed += 1,
                Some(Status::TimedOut) => tally.timed_out += 1,
                Some(Status::NotRun | Status::Mock | Status::Unknown) | None => tally.not_run += 1,
            }
        }
        tally
    }

    /// All that speak against their models.
    pub fn red(&self) -> usize {
        self.failed + self.crashed + self.timed_out
    }
}
