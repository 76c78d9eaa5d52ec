//! JUnit XML, which CI systems show.
//!
//! In: what was planned and the records it left. Out: a suite per model, a case per check. A check that was due and did
//! not run is an error, and so is one that crashed or timed out, with that word as its type; one that the spec leaves out is `skipped`, JUnit's own word, with the reason.

use super::Record;
use crate::failure::Stage;
use crate::verdict::Status;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::collections::BTreeMap;
use std::time::Duration;

/// A model and the checks that are due.
#[derive(Clone, Debug)]
pub struct Planned<'a> {
    pub model: &'a str,
    pub family: &'a str,
    pub checks: Vec<&'a str>,
    /// Checks that the spec leaves out, each with the reason.
    pub left_out: Vec<(&'a str, String)>,
}

/// The report of one run.
///
/// # Errors
/// The XML cannot be written: never seen, since it goes to memory.
pub fn xml(planned: &[Planned], records: &[Record]) -> Result<String, quick_junit::SerializeError> {
    let records: BTreeMap<(&str, &str), &Record> =
        records.iter().map(|record| ((record.model.as_str(), record.check.as_str()), record)).collect();
    let mut report = Report::new("hf-conformance");
    for Planned { model, family, checks, left_out } in planned {
        let mut suite = TestSuite::new(format!("{family}::{model}"));
        for check in checks {
            let record = records.get(&(model, check));
            let status = record.map_or_else(|| error("left no result"), |record| status(record));
            let mut case = case(family, model, check, status);
            case.set_time(Duration::from_secs_f64(record.map_or(0.0, |record| record.seconds)));
            suite.add_test_case(case);
        }
        suite.add_test_cases(
            left_out.iter().map(|(check, why)| self::case(family, model, check, skipped(why))),
        );
        report.add_test_suite(suite);
    }
    report.to_string()
}

fn case(family: &str, model: &str, check: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(check, status);
    case.set_classname(format!("{family}.{model}"));
    case
}

fn status(record: &Record) -> TestCaseStatus {
    let reason = record.reason.as_deref().unwrap_or(record.status.word());
    match record.status {
        Status::Passed | Status::Mock => TestCaseStatus::success(),
        Status::Failed => {
            let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let stage = record.stage.as_ref().map(Stage::to_string).unwrap_or_default();
            failed.set_type(stage).set_message(reason).set_description(record.failure_text());
            failed
        }
        Status::Crashed | Status::TimedOut => {
            let mut ended = error(reason);
            ended.set_type(record.status.word()).set_description(record.failure_text());
            ended
        }
        Status::NotRun | Status::Unknown => error(reason),
    }
}

fn skipped(why: &str) -> TestCaseStatus {
    let mut skipped = TestCaseStatus::skipped();
    skipped.set_message(why);
    skipped
}

fn error(message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(message);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planned_check_is_a_case() {
        let failed = Record {
            status: Status::Failed,
            stage: Some(Stage::Compare),
            reason: Some("logits is off by 1 < 2".to_owned()),
            ..Record::sample("bert", "causal")
        };
        let not_run = Record {
            status: Status::NotRun,
            stage: Some(Stage::Run),
            reason: Some("the test process broke off".to_owned()),
            ..Record::sample("bert", "reloads")
        };
        let planned = [Planned {
            model: "bert",
            family: "encoder-only",
            checks: vec!["loads", "causal", "half", "reloads", "responsive"],
            left_out: vec![("generates", "the task does not generate text".to_owned())],
        }];
        let crashed = Record {
            status: Status::Crashed,
            stage: Some(Stage::Run),
            reason: Some("crashed (SIGSEGV) in check responsive".to_owned()),
            ..Record::sample("bert", "responsive")
        };
        let records = [Record::sample("bert", "loads"), failed, not_run, crashed];
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        let xml = xml(&planned, &records).unwrap();
        settings.bind(|| insta::assert_snapshot!("junit", xml));
    }
}
