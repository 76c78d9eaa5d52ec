//! What counts as proved, and where.

use super::*;
use crate::report::samples;

fn roster() -> Vec<Row> {
    let row = |name: &str| Row {
        name: name.to_owned(),
        tier: "plan".to_owned(),
        category: "text".to_owned(),
        priority: "high".to_owned(),
        checkpoint: Some(format!("org/{name}")),
        ..Row::default()
    };
    vec![row("XLM RoBERTa"), row("nezha"), row("albert")]
}

/// A record of xlm-roberta's current entry, on the CPU.
fn record(check: Check, status: Status) -> Record {
    let spec = samples::spec();
    let entry = spec.entries.iter().find(|entry| entry.name.as_str() == "xlm-roberta").unwrap();
    Record { entry: entry.digest(&spec.versions), status, ..Record::sample("xlm-roberta", check.name()) }
}

fn due() -> Vec<Check> {
    samples::spec().entries.iter().find(|entry| entry.name.as_str() == "xlm-roberta").unwrap().due().collect()
}

fn on_gpu(record: Record) -> Record {
    Record { device: Some("cuda:0".to_owned()), ..record }
}

fn of(records: &[Record]) -> Coverage {
    let bundled = BTreeSet::from(["org/nezha".to_owned()]);
    coverage(&roster(), &samples::spec(), records, Path::new("no-artifacts"), &bundled, None)
}

fn counts(records: &[Record]) -> Counts {
    let coverage = of(records);
    assert_eq!(coverage.backends.len(), 1);
    coverage.backends[0].tiers["plan"].counts
}

#[test]
fn names_meet_whatever_their_spelling_and_every_gap_has_a_reason() {
    let coverage = of(&[]);
    let tier = &coverage.backends[0].tiers["plan"];
    assert_eq!((tier.counts.rows, tier.counts.entries, tier.counts.missing), (3, 1, 3));
    let gaps: Vec<_> = tier.missing.iter().map(|gap| (gap.name.as_str(), gap.stage.as_str())).collect();
    assert_eq!(gaps, [("XLM RoBERTa", "export"), ("nezha", "export"), ("albert", "spec")]);
    assert_eq!(coverage.beyond_roster, ["bert", "roberta"]);
}

#[test]
fn checkpoints_with_a_bundle_are_counted_by_priority_and_named() {
    let of = |priority| of(&[]).certified.into_iter().find(|one| one.priority == priority).unwrap();
    assert_eq!((of("high").names, of("high").of), (vec!["nezha".to_owned()], 3));
    assert_eq!((of("critical").names, of("critical").of), (vec![], 0));
}

#[test]
fn a_passed_run_of_the_current_entry_counts() {
    let counts = counts(&[record(Check::MatchesReference, Status::Passed)]);
    assert_eq!((counts.ran, counts.matched, counts.all_due, counts.not_run, counts.missing), (1, 1, 0, 1, 2));
}

#[test]
fn all_that_are_due_counts_when_each_passed_and_what_is_left_out_is_counted() {
    let passed: Vec<Record> = due().into_iter().map(|check| record(check, Status::Passed)).collect();
    let good = counts(&passed);
    assert_eq!((good.all_due, good.not_run, good.left_out, good.checks_left_out), (1, 0, 1, 1));
    let last = |status| counts(&[passed.clone(), vec![record(Check::Loads, status)]].concat());
    for (status, not_run) in [(Status::Failed, 0), (Status::NotRun, 1), (Status::Unknown, 1)] {
        assert_eq!((last(status).all_due, last(status).not_run), (0, not_run), "{status}");
    }
}

#[test]
fn mock_results_and_results_of_an_older_entry_count_for_nothing() {
    let mock = Record { engine: "mock".to_owned(), ..record(Check::MatchesReference, Status::Passed) };
    let older = Record { entry: "0".repeat(16), ..record(Check::MatchesReference, Status::Passed) };
    assert_eq!(counts(&[mock, older]).ran, 0);
}

#[test]
fn outputs_that_differ_ran_and_did_not_match() {
    let differs = Record {
        stage: Some(Stage::Compare),
        reason: Some("off by 1".to_owned()),
        ..record(Check::MatchesReference, Status::Failed)
    };
    let counts = counts(&[record(Check::MatchesReference, Status::Passed), differs]);
    assert_eq!((counts.ran, counts.matched), (1, 0));
}

#[test]
fn a_pass_on_one_device_hides_no_failure_on_another() {
    let failed = record(Check::MatchesReference, Status::Failed);
    let passed = record(Check::MatchesReference, Status::Passed);
    let matched = |records: &[Record]| -> Vec<(String, usize)> {
        let backends = of(records).backends.into_iter();
        backends.map(|on| (on.device.unwrap(), on.tiers["plan"].counts.matched)).collect()
    };
    let told = |cpu, gpu| [("cpu".to_owned(), cpu), ("cuda:0".to_owned(), gpu)];
    assert_eq!(matched(&[failed.clone(), on_gpu(passed.clone())]), told(0, 1));
    assert_eq!(matched(&[passed, on_gpu(failed)]), told(1, 0));
}

#[test]
fn entries_that_differ_in_their_names_alone_are_one_job() {
    let coverage = of(&[record(Check::MatchesReference, Status::Passed)]);
    assert_eq!(coverage.spec, Distinct { names: 3, jobs: 2, classes: 1 });
    assert_eq!(coverage.backends[0].matched, Distinct { names: 1, jobs: 1, classes: 1 });
}
