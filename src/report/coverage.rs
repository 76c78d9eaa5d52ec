//! Coverage: how much of the roster is proved, by the results of real runs alone.
//!
//! In: the roster, the spec, the artifacts, the results store. Out: counts per tier, family and priority, and the
//! reason for every row that is not proved. A model counts as matched only when its current entry ran on libtorch
//! and its outputs agreed with eager Python; mock results and results of older entries count for nothing.

use super::{Record, last_by_check};
use crate::artifact;
use crate::export::{self, State};
use crate::failure::Stage;
use crate::roster::{Row, plain};
use crate::spec::{Check, Entry, Missing, Spec};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Counts of roster rows; each is part of the one before, down to `all_checks`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub rows: usize,
    /// Have an entry in the spec.
    pub entries: usize,
    /// Have an artifact of the entry as it stands.
    pub exported: usize,
    /// Ran on libtorch.
    pub ran: usize,
    /// Agreed with eager Python at the traced shape.
    pub matched: usize,
    /// Passed every check that applies.
    pub all_checks: usize,
    /// Skipped, or did not run, some check.
    pub skipped: usize,
    /// Are not matched.
    pub missing: usize,
    /// Have a looser tolerance.
    pub debt: usize,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: &Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            entries: self.entries + other.entries,
            exported: self.exported + other.exported,
            ran: self.ran + other.ran,
            matched: self.matched + other.matched,
            all_checks: self.all_checks + other.all_checks,
            skipped: self.skipped + other.skipped,
            missing: self.missing + other.missing,
            debt: self.debt + other.debt,
        }
    }
}

/// A row that is not proved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    pub name: String,
    /// How far it came; `spec` when there is no entry.
    pub stage: String,
    pub reason: String,
}

/// One tier of the roster.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tier {
    #[serde(flatten)]
    pub counts: Counts,
    /// By family, then by priority.
    pub families: BTreeMap<String, BTreeMap<String, Counts>>,
    pub missing: Vec<Gap>,
}

/// A looser tolerance of an entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DebtLine {
    pub model: String,
    pub check: &'static str,
    pub output: Option<String>,
    pub k: f64,
    pub reason: String,
    pub end: String,
}

/// The whole table.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    pub tiers: BTreeMap<String, Tier>,
    /// Entries of the spec that the roster does not name.
    pub beyond_roster: Vec<String>,
    pub debt: Vec<DebtLine>,
    /// Model types of the installed transformers that have a model class and no exported entry; none where Python
    /// could not be asked.
    pub uncovered_model_types: Option<Vec<String>>,
}

/// What is known of an entry.
#[derive(Clone, Debug)]
struct Standing {
    exported: bool,
    ran: bool,
    matched: bool,
    all_checks: bool,
    skipped: bool,
    gap: Option<(Stage, String)>,
}

/// Counts what `records` prove about the entries of `spec`, row by row.
pub fn coverage(
    roster: &[Row],
    spec: &Spec,
    records: &[Record],
    artifacts: &Path,
    model_types: Option<&[String]>,
) -> Coverage {
    let latest = last_by_check(records);
    let entries: BTreeMap<String, &Entry> =
        spec.entries.iter().map(|entry| (plain(entry.name.as_str()), entry)).collect();
    let missing: BTreeMap<String, &Missing> =
        spec.missing.iter().map(|missing| (plain(missing.name.as_str()), missing)).collect();
    let mut tiers: BTreeMap<String, Tier> = BTreeMap::new();
    for row in roster {
        let key = plain(&row.name);
        let entry = entries.get(&key).copied();
        let standing = entry.map(|entry| standing(entry, spec, &latest, artifacts));
        let tier = tiers.entry(row.tier.clone()).or_default();
        let priorities = tier.families.entry(row.category.clone()).or_default();
        for counts in [&mut tier.counts, priorities.entry(row.priority.clone()).or_default()] {
            count(counts, entry, standing.as_ref());
        }
        if !standing.as_ref().is_some_and(|standing| standing.matched) {
            tier.missing.push(gap(row, standing, missing.get(&key).copied()));
        }
    }
    let named: BTreeSet<String> = roster.iter().map(|row| plain(&row.name)).collect();
    let beyond = spec.entries.iter().filter(|entry| !named.contains(&plain(entry.name.as_str())));
    Coverage {
        tiers,
        beyond_roster: beyond.map(|entry| entry.name.to_string()).collect(),
        debt: debt(spec),
        uncovered_model_types: model_types.map(|types| uncovered(types, spec, artifacts)),
    }
}

fn standing(
    entry: &Entry,
    spec: &Spec,
    latest: &BTreeMap<(&str, &str), &Record>,
    artifacts: &Path,
) -> Standing {
    let digest = entry.digest(&spec.versions);
    let exported = export::state(entry, &spec.versions, artifacts) == State::Fresh;
    let record = |check: Check| {
        let found = latest.get(&(entry.name.as_str(), check.name())).copied();
        found.filter(|record| record.entry == digest)
    };
    let status = |check: Check| record(check).map(|record| record.status.as_str());
    let due: Vec<Check> = Check::ALL.into_iter().filter(|check| check.omitted(entry).is_none()).collect();
    // A program that returned outputs ran, whether or not they were right.
    let returned = |record: &Record| record.status == "passed" || record.stage == Some(Stage::Compare);
    let ran = record(Check::MatchesReference).is_some_and(returned);
    let matched = status(Check::MatchesReference) == Some("passed");
    let gap = match record(Check::MatchesReference) {
        _ if matched => None,
        Some(record) => Some((
            record.stage.unwrap_or(Stage::Run),
            record.reason.clone().unwrap_or_else(|| record.status.clone()),
        )),
        None if exported => Some((Stage::Run, "not run since the entry changed: just test".to_owned())),
        None => Some((Stage::Export, "not exported since the entry changed: just test".to_owned())),
    };
    Standing {
        exported: exported || ran,
        ran,
        matched,
        all_checks: matched && due.iter().all(|check| status(*check) == Some("passed")),
        skipped: due.iter().any(|check| matches!(status(*check), Some("skipped" | "not-run"))),
        gap,
    }
}

fn count(counts: &mut Counts, entry: Option<&Entry>, standing: Option<&Standing>) {
    let is = |f: fn(&Standing) -> bool| usize::from(standing.is_some_and(f));
    counts.rows += 1;
    counts.entries += usize::from(entry.is_some());
    counts.exported += is(|standing| standing.exported);
    counts.ran += is(|standing| standing.ran);
    counts.matched += is(|standing| standing.matched);
    counts.all_checks += is(|standing| standing.all_checks);
    counts.skipped += is(|standing| standing.skipped);
    counts.missing += 1 - is(|standing| standing.matched);
    counts.debt += usize::from(entry.is_some_and(|entry| !entry.tolerance.is_empty()));
}

fn gap(row: &Row, standing: Option<Standing>, missing: Option<&Missing>) -> Gap {
    let (stage, reason) = match (standing.and_then(|standing| standing.gap), missing) {
        (Some((stage, reason)), _) => (stage.to_string(), reason),
        (None, Some(missing)) => (missing.stage.to_owned(), missing.reason.clone()),
        (None, None) => ("spec".to_owned(), "no entry".to_owned()),
    };
    Gap { name: row.name.clone(), stage, reason }
}

fn debt(spec: &Spec) -> Vec<DebtLine> {
    let lines = spec.entries.iter().flat_map(|entry| entry.tolerance.iter().map(move |debt| (entry, debt)));
    lines
        .map(|(entry, debt)| DebtLine {
            model: entry.name.to_string(),
            check: debt.check.name(),
            output: debt.output.map(|output| output.to_string()),
            k: debt.k,
            reason: debt.reason.to_string(),
            end: debt.issue.or(debt.until).map(|end| end.to_string()).unwrap_or_default(),
        })
        .collect()
}

/// The model types that no exported entry has.
fn uncovered(model_types: &[String], spec: &Spec, artifacts: &Path) -> Vec<String> {
    let manifests = spec
        .entries
        .iter()
        .filter_map(|entry| artifact::manifest(&artifacts.join(entry.name.as_str())).ok().flatten());
    let covered: BTreeSet<String> = manifests.flat_map(|manifest| manifest.model_types).collect();
    model_types.iter().filter(|model_type| !covered.contains(*model_type)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    fn spec() -> Spec {
        let versions =
            "python: {transformers: 1.0.0}\nsources: {transformers: {package: transformers, version: 1.0.0}}";
        let family = "family: text\n\
            defaults: {class: A, task: fill-mask, axes: {batch: [2, 3], sequence: [4, 5]}}\n\
            models: [{name: xlm-roberta}, {name: extra}]\n\
            missing: [{name: nezha, stage: export, reason: no wheel}]\n";
        let file = |name: &str, text: &str| (Path::new("spec").join(name), text.as_bytes().to_vec());
        spec::parse(&[file("text.yaml", family), file("versions.yaml", versions)], spec::today()).unwrap()
    }

    fn roster() -> Vec<Row> {
        let row = |name: &str| Row {
            name: name.to_owned(),
            tier: "plan".to_owned(),
            category: "text".to_owned(),
            priority: "high".to_owned(),
            ..Row::default()
        };
        vec![row("XLM RoBERTa"), row("nezha"), row("bert")]
    }

    /// A record of xlm-roberta's current entry.
    fn record(check: Check, status: &str) -> Record {
        let spec = spec();
        let entry = spec.entries.iter().find(|entry| entry.name.as_str() == "xlm-roberta").unwrap();
        serde_json::from_value(serde_json::json!({
            "run": "1", "time": "", "model": "xlm-roberta", "family": "text", "task": "fill-mask", "class": "A",
            "check": check.name(), "entry": entry.digest(&spec.versions), "device": "cpu", "engine": "libtorch",
            "status": status, "stage": null, "reason": null, "seconds": 0.0,
        }))
        .unwrap()
    }

    fn counts(records: &[Record]) -> Counts {
        coverage(&roster(), &spec(), records, Path::new("no-artifacts"), None).tiers["plan"].counts
    }

    #[test]
    fn names_meet_whatever_their_spelling_and_every_gap_has_a_reason() {
        let coverage = coverage(&roster(), &spec(), &[], Path::new("no-artifacts"), None);
        let tier = &coverage.tiers["plan"];
        assert_eq!((tier.counts.rows, tier.counts.entries, tier.counts.missing), (3, 1, 3));
        let gaps: Vec<_> = tier.missing.iter().map(|gap| (gap.name.as_str(), gap.stage.as_str())).collect();
        assert_eq!(gaps, [("XLM RoBERTa", "export"), ("nezha", "export"), ("bert", "spec")]);
        assert_eq!(coverage.beyond_roster, ["extra"]);
    }

    #[test]
    fn a_passed_run_of_the_current_entry_counts() {
        let counts = counts(&[record(Check::MatchesReference, "passed")]);
        assert_eq!((counts.ran, counts.matched, counts.all_checks, counts.missing), (1, 1, 0, 2));
    }

    #[test]
    fn all_checks_counts_when_each_that_applies_passed() {
        let passed: Vec<Record> = Check::ALL.into_iter().map(|check| record(check, "passed")).collect();
        assert_eq!(counts(&passed).all_checks, 1);
        let mut one_failed = passed;
        one_failed.push(record(Check::Half, "failed"));
        assert_eq!(counts(&one_failed).all_checks, 0);
    }

    #[test]
    fn mock_results_and_results_of_an_older_entry_count_for_nothing() {
        let mock = Record { engine: "mock".to_owned(), ..record(Check::MatchesReference, "passed") };
        let older = Record { entry: "0".repeat(16), ..record(Check::MatchesReference, "passed") };
        assert_eq!(counts(&[mock, older]).ran, 0);
    }

    #[test]
    fn outputs_that_differ_ran_and_did_not_match() {
        let differs = Record {
            stage: Some(Stage::Compare),
            reason: Some("off by 1".to_owned()),
            ..record(Check::MatchesReference, "failed")
        };
        let counts = counts(&[record(Check::MatchesReference, "passed"), differs]);
        assert_eq!((counts.ran, counts.matched), (1, 0));
    }
}
