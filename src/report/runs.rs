//! Runs, one line each.
//!
//! In: records. Out: a [`Run`] per run and device, oldest first: the history that reports show.

use super::Record;
use crate::verdict::Status;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One run on one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    pub run: String,
    /// When its first check ended.
    pub time: String,
    /// `mock` for the mock engine.
    pub device: String,
    pub processor: String,
    pub commit: Option<String>,
    /// Of the exports that ran; several where they differ.
    pub torch: BTreeSet<String>,
    pub models: usize,
    pub passed: usize,
    pub failed: usize,
    pub crashed: usize,
    pub timed_out: usize,
    /// Due, and without a result.
    pub not_run: usize,
    /// Added up over checks, which run side by side.
    pub seconds: f64,
}

/// The runs that left `records`.
#[must_use]
pub fn runs(records: &[Record]) -> Vec<Run> {
    let mut groups: BTreeMap<(&str, Option<&str>), Vec<&Record>> = BTreeMap::new();
    for record in records {
        groups.entry((&record.run, record.device.as_deref())).or_default().push(record);
    }
    let mut runs: Vec<Run> = groups.into_values().filter_map(|records| run(&records)).collect();
    runs.sort_by(|a, b| a.time.cmp(&b.time));
    runs
}

fn run(records: &[&Record]) -> Option<Run> {
    let first = records.iter().min_by(|a, b| a.time.cmp(&b.time))?;
    let count = |status| records.iter().filter(|record| record.status == status).count();
    let models: BTreeSet<&str> = records.iter().map(|record| record.model.as_str()).collect();
    Some(Run {
        run: first.run.clone(),
        time: first.time.clone(),
        device: first.device.clone().unwrap_or_else(|| "mock".to_owned()),
        processor: first.host.processor.clone(),
        commit: first.commit.clone(),
        torch: records.iter().filter_map(|record| record.versions.get("torch").cloned()).collect(),
        models: models.len(),
        passed: count(Status::Passed),
        failed: count(Status::Failed),
        crashed: count(Status::Crashed),
        timed_out: count(Status::TimedOut),
        not_run: count(Status::NotRun),
        seconds: records.iter().map(|record| record.seconds).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_counted_per_device_in_the_order_of_time() {
        let record = |run: &str, time: &str, model: &str, status| Record {
            run: run.to_owned(),
            time: time.to_owned(),
            status,
            ..Record::sample(model, "loads")
        };
        let gpu = Record { device: Some("cuda:0".to_owned()), ..record("b", "5", "bert", Status::Passed) };
        let records = [
            gpu,
            record("b", "3", "bert", Status::Passed),
            record("b", "4", "t5", Status::Failed),
            record("a", "9", "t5", Status::Passed),
        ];
        let found: Vec<_> = runs(&records)
            .into_iter()
            .map(|run| (run.run, run.device, run.models, run.passed, run.failed))
            .collect();
        let row = |run: &str, device: &str, models, passed, failed| {
            (run.to_owned(), device.to_owned(), models, passed, failed)
        };
        assert_eq!(found, [row("b", "cpu", 2, 1, 1), row("b", "cuda:0", 1, 1, 0), row("a", "cpu", 1, 1, 0)]);
    }
}
