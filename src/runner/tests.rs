//! What is due, what is recorded, and when a run is good.

use super::*;
use crate::artifact::Format;
use crate::device::Device;
use crate::report::journal::{Item, Journal};
use crate::report::samples;
use std::cell::{Cell, RefCell};
use std::process::Command;

/// A run over the sample spec whose results go to a folder of its own.
fn begun<'a>(spec: &'a Spec, checks: &[Check], folder: &tempfile::TempDir) -> TestRun<'a> {
    let store = folder.path().join("results.jsonl");
    TestRun::begin(
        spec,
        spec.entries.iter().collect(),
        checks.to_vec(),
        Lane::default(),
        folder.path().into(),
        store,
    )
}

/// Leaves a result of every planned check, as the test process does.
fn leave(run: &TestRun, status: impl Fn(&Entry, Check) -> Option<Status>) {
    for (entry, check) in &run.planned {
        let Some(status) = status(entry, *check) else { continue };
        let record = Record {
            run: report::run().to_owned(),
            status,
            ..Record::sample(entry.name.as_str(), check.name())
        };
        report::append_to(&run.store, &record).unwrap();
    }
}

fn exported(model: &str, outcome: Result<Option<f64>, Failure>, fault_of: FaultOf) -> Exported {
    Exported { model: model.to_owned(), fault: None, outcome, fault_of }
}

const HALF: [Check; 2] = [Check::Loads, Check::Half];

#[test]
fn what_the_spec_leaves_out_is_not_due_and_is_counted() {
    let (spec, folder) = (samples::spec(), tempfile::tempdir().unwrap());
    let run = begun(&spec, &HALF, &folder);
    let due: Vec<_> = run.due.iter().map(|(entry, check)| (entry.name.as_str(), *check)).collect();
    assert_eq!(
        due,
        [
            ("bert", Check::Loads),
            ("bert", Check::Half),
            ("roberta", Check::Loads),
            ("roberta", Check::Half),
            ("xlm-roberta", Check::Loads)
        ]
    );
    leave(&run, |_, _| Some(Status::Passed));
    let ended = run.end(None).unwrap();
    assert_eq!(ended.tally, Tally { passed: 5, left_out: 1, ..Tally::default() });
    assert!(ended.is_good(true));
}

#[test]
fn a_model_whose_export_failed_has_failed_and_one_that_was_not_tried_has_not_run() {
    let (spec, folder) = (samples::spec(), tempfile::tempdir().unwrap());
    let mut run = begun(&spec, &HALF, &folder);
    let failure = |message: &str| Err(Failure::new(Stage::Export, message));
    let outcomes = [
        exported("bert", failure("shapes"), FaultOf::Model),
        exported("roberta", failure("no network"), FaultOf::Environment),
        exported("xlm-roberta", Ok(None), FaultOf::Model),
    ];
    run.exported(&outcomes).unwrap();
    assert_eq!((run.models(), run.broken.len(), run.is_whole()), (1, 1, false));
    leave(&run, |_, _| Some(Status::Passed));
    let ended = run.end(None).unwrap();
    assert_eq!(ended.tally, Tally { passed: 1, failed: 2, not_run: 2, left_out: 1, ..Tally::default() });
    assert_eq!((ended.failed(false), ended.failed(true)), (2, 4));
    let not_run: Vec<_> = ended.records.iter().filter(|record| record.status == Status::NotRun).collect();
    assert!(
        not_run
            .iter()
            .all(|record| record.model == "roberta" && record.reason.as_deref() == Some("no network"))
    );
}

#[test]
fn not_run_is_good_unless_strict() {
    let (spec, folder) = (samples::spec(), tempfile::tempdir().unwrap());
    let mut run = begun(&spec, &HALF, &folder);
    run.exported(&[exported(
        "roberta",
        Err(Failure::new(Stage::Export, "no network")),
        FaultOf::Environment,
    )])
    .unwrap();
    leave(&run, |_, _| Some(Status::Passed));
    let ended = run.end(None).unwrap();
    assert_eq!([false, true].map(|strict| ended.is_good(strict)), [true, false]);
}

#[test]
fn an_exporter_that_ended_early_is_no_excuse() {
    let (spec, folder) = (samples::spec(), tempfile::tempdir().unwrap());
    let mut run = begun(&spec, &HALF, &folder);
    let ended = Err(Failure::new(Stage::Export, "the exporter broke off"));
    run.exported(&[exported("roberta", ended, FaultOf::Exporter)]).unwrap();
    leave(&run, |_, _| Some(Status::Passed));
    let ended = run.end(None).unwrap();
    assert_eq!(ended.tally, Tally { passed: 3, not_run: 2, lost: 2, left_out: 1, ..Tally::default() });
    assert!(!ended.is_good(false));
}

#[test]
fn a_check_that_left_no_result_has_not_run_and_is_a_failure() {
    let (spec, folder) = (samples::spec(), tempfile::tempdir().unwrap());
    let run = begun(&spec, &HALF, &folder);
    leave(&run, |entry, check| {
        (entry.name.as_str() != "bert" || check != Check::Half).then_some(Status::Passed)
    });
    let ended = run.end(None).unwrap();
    assert_eq!(ended.tally, Tally { passed: 4, not_run: 1, lost: 1, left_out: 1, ..Tally::default() });
    assert_eq!((ended.failed(false), ended.is_good(false)), (1, false));
    let lost = ended.records.last().unwrap();
    assert_eq!((lost.model.as_str(), lost.check.as_str(), lost.status), ("bert", "half", Status::NotRun));
    assert_eq!(lost.reason.as_deref(), Some("the check left no result"));
}

#[test]
fn a_process_that_broke_off_is_a_failure_even_when_every_check_left_its_result() {
    let (spec, folder) = (samples::spec(), tempfile::tempdir().unwrap());
    let run = begun(&spec, &HALF, &folder);
    leave(&run, |_, _| Some(Status::Passed));
    let ended = run.end(Some("the test process ended with signal 11")).unwrap();
    assert_eq!((ended.failed(false), ended.is_good(false)), (0, false));
}

#[test]
fn results_of_other_runs_in_the_same_store_are_not_counted() {
    let (spec, folder) = (samples::spec(), tempfile::tempdir().unwrap());
    leave(&begun(&spec, &HALF, &folder), |_, _| Some(Status::Failed));
    let run = begun(&spec, &[Check::Loads], &folder);
    leave(&run, |_, _| Some(Status::Passed));
    let other =
        Record { run: "another".to_owned(), status: Status::Failed, ..Record::sample("bert", "loads") };
    report::append_to(&run.store, &other).unwrap();
    assert_eq!(run.end(None).unwrap().tally, Tally { passed: 3, ..Tally::default() });
}

#[test]
fn junit_has_a_case_for_what_is_due_and_for_what_is_left_out() {
    let (spec, folder) = (samples::spec(), tempfile::tempdir().unwrap());
    let run = begun(&spec, &HALF, &folder);
    leave(&run, |entry, _| (entry.name.as_str() != "bert").then_some(Status::Passed));
    let xml = run.end(Some("broke off")).unwrap().junit().unwrap();
    assert!(xml.contains(r#"tests="6" skipped="1" failures="0" errors="2""#), "{xml}");
    assert!(xml.contains(r#"<skipped message="no kernel"/>"#), "{xml}");
}

#[test]
fn what_makes_no_sense_on_an_engine_is_not_due_there() {
    let (spec, folder) = (samples::spec(), tempfile::tempdir().unwrap());
    let (entries, store) = (vec![&spec.entries[0]], folder.path().join("results.jsonl"));
    let (checks, lane) = (vec![Check::Loads, Check::Optimised], Lane::new(Format::Pt2, Device::Cpu));
    let run = TestRun::begin(&spec, entries, checks, lane, folder.path().into(), store);
    let due = Vec::from_iter(run.due.iter().map(|(_, check)| *check));
    assert_eq!(due, [Check::Loads]);
    assert!(run.omitted(&spec.entries[0], Check::Optimised).unwrap().starts_with("libtorch's optimiser"));
    let ended = run.end(None).unwrap();
    assert_eq!(ended.records[0].engine, "pt2");
    assert_eq!(ended.tally.left_out, 1);
}

#[cfg(unix)]
#[test]
fn other_work_that_ends_its_child_is_told_with_its_place_and_the_rest_is_done() {
    let place = "--threads 1";
    let start = |items: &[Item], _: bool, journal: &Journal| {
        let one = |(model, place): &Item| {
            let mark =
                |sign| format!("printf '%s\\t{model}\\t{place}\\n' '{sign}' >> $HF_CONFORMANCE_JOURNAL");
            let does = if model == "b" { "kill -SEGV $$; sleep 1" } else { ":" };
            format!("{}; {does}; {}", mark('+'), mark('-'))
        };
        let script: Vec<String> = items.iter().map(one).collect();
        journal.start(Command::new("sh").args(["-c", &script.join("\n")]), &())
    };
    let (lost, over) = (RefCell::new(Vec::new()), Cell::new(0));
    let items = ["a", "b", "c"].map(|model| (model.to_owned(), place.to_owned()));
    let limits = |_: &str| Limits { time: Duration::from_secs(60), memory: 1 << 30 };
    let tell = |(model, _): &Item, failure: Failure| {
        lost.borrow_mut().push(format!("{model}: stage {}: {failure}", failure.stage));
        Ok(())
    };
    let broken = work(items.to_vec(), &start, &limits, &|count| over.set(over.get() + count), &tell).unwrap();
    assert_eq!(lost.into_inner(), ["b: stage run: crashed (SIGSEGV) at --threads 1"]);
    assert_eq!((broken, over.get()), (vec![], 3));
}
