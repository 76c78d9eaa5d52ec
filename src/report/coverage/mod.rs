//! Coverage: how much of the roster is proved, by the results of real runs alone.
//!
//! In: the roster, the spec, the artifacts, the results store. Out: for every device and engine that has results, counts
//! per tier, family and priority, and the reason for every row that is not proved there. A model counts as matched only
//! when its current entry ran on libtorch and its outputs agreed with eager Python; mock results and results of older
//! entries count for nothing, and what passed on one device counts for no other.

mod distinct;
#[cfg(test)]
mod tests;

pub use distinct::Distinct;

use super::Record;
use super::latest::{Backend, Latest, backends, current, latest};
use crate::artifact;
use crate::export::{self, Freshness};
use crate::failure::Stage;
use crate::roster::{PRIORITIES, Row, plain};
use crate::spec::{Check, Entry, Missing, Spec};
use crate::verdict::Status;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The reason for a row that the spec does not know.
pub const NO_ENTRY: &str = "no entry";

/// Counts of roster rows; each is part of the one before, down to `all_due`.
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
    /// Passed every check that is due: what the spec leaves out is not.
    pub all_due: usize,
    /// Have a check that is due and has no result.
    pub not_run: usize,
    /// Are not matched.
    pub missing: usize,
    /// Leave out, by their own words, a check that would suit them.
    pub left_out: usize,
    /// The checks that those leave out.
    pub checks_left_out: usize,
    /// Have a looser tolerance.
    pub waivers: usize,
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
            all_due: self.all_due + other.all_due,
            not_run: self.not_run + other.not_run,
            missing: self.missing + other.missing,
            left_out: self.left_out + other.left_out,
            checks_left_out: self.checks_left_out + other.checks_left_out,
            waivers: self.waivers + other.waivers,
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
pub struct WaiverLine {
    pub model: String,
    pub check: &'static str,
    pub output: Option<String>,
    pub k: f64,
    pub reason: String,
    pub end: String,
}

/// What is proved on one device by one engine.
#[derive(Clone, Debug, Serialize)]
pub struct OnBackend {
    /// None where nothing ran at all.
    pub device: Option<String>,
    /// As the device.
    pub engine: Option<String>,
    /// By the roster's word for who asks for a model.
    pub tiers: BTreeMap<String, Tier>,
    /// The spec's entries that matched, in the roster or not.
    pub matched: Distinct,
}

/// Checkpoints of one priority that have a bundle here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certified {
    pub priority: &'static str,
    /// The roster's names of what they are checkpoints of.
    pub names: Vec<String>,
    /// How many rows name a checkpoint.
    pub of: usize,
}

/// The whole table.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// One for each device and engine that has results of entries as they stand; at least one.
    pub backends: Vec<OnBackend>,
    /// All entries of the spec.
    pub spec: Distinct,
    /// Entries of the spec that the roster does not name.
    pub beyond_roster: Vec<String>,
    pub waivers: Vec<WaiverLine>,
    /// By the roster's priorities, what is certified of the checkpoints that it names.
    pub certified: Vec<Certified>,
    /// Model types of the installed transformers that have a model class and no exported entry; none where Python
    /// could not be asked.
    pub uncovered_model_types: Option<Vec<String>>,
}

/// What is known of an entry on one backend.
#[derive(Clone, Debug)]
struct EntryProgress {
    exported: bool,
    ran: bool,
    matched: bool,
    all_due: bool,
    not_run: bool,
    gap: Option<(Stage, String)>,
}

/// Counts what `records` prove about the entries of `spec`, row by row, and the checkpoints that were `bundled`.
pub fn coverage(
    roster: &[Row],
    spec: &Spec,
    records: &[Record],
    artifacts: &Path,
    bundled: &BTreeSet<String>,
    model_types: Option<&[String]>,
) -> Coverage {
    let records = current(records.to_vec(), spec);
    let latest = latest(&records);
    let exported: BTreeSet<&str> = spec
        .entries
        .iter()
        .filter(|entry| export::state(entry, &spec.versions, artifacts) == Freshness::Fresh)
        .map(|entry| entry.name.as_str())
        .collect();
    let mut found: Vec<Option<Backend>> =
        backends(&latest).into_iter().filter(|backend| backend.half.is_none()).map(Some).collect();
    if found.is_empty() {
        found.push(None);
    }
    let named: BTreeSet<String> = roster.iter().map(|row| plain(&row.name)).collect();
    let beyond = spec.entries.iter().filter(|entry| !named.contains(&plain(entry.name.as_str())));
    Coverage {
        backends: found.into_iter().map(|on| on_backend(on, roster, spec, &latest, &exported)).collect(),
        spec: Distinct::of(&spec.entries, &spec.versions),
        beyond_roster: beyond.map(|entry| entry.name.to_string()).collect(),
        waivers: waivers(spec),
        certified: certified(roster, bundled),
        uncovered_model_types: model_types.map(|types| uncovered(types, spec, artifacts)),
    }
}

/// The rows whose checkpoint is among those that were bundled.
fn certified(roster: &[Row], bundled: &BTreeSet<String>) -> Vec<Certified> {
    let of_one = |priority: &'static str| {
        let rows = roster.iter().filter(|row| row.priority == priority);
        let named = Vec::from_iter(rows.filter_map(|row| Some((row, row.checkpoint.as_ref()?))));
        let names = named.iter().filter(|(_, checkpoint)| bundled.contains(*checkpoint));
        Certified { priority, names: names.map(|(row, _)| row.name.clone()).collect(), of: named.len() }
    };
    PRIORITIES.map(of_one).into()
}

fn on_backend(
    backend: Option<Backend>,
    roster: &[Row],
    spec: &Spec,
    latest: &Latest,
    exported: &BTreeSet<&str>,
) -> OnBackend {
    let standings: BTreeMap<String, (&Entry, EntryProgress)> = spec
        .entries
        .iter()
        .map(|entry| {
            let standing = standing(entry, backend, latest, exported.contains(entry.name.as_str()));
            (plain(entry.name.as_str()), (entry, standing))
        })
        .collect();
    let missing: BTreeMap<String, &Missing> =
        spec.missing.iter().map(|missing| (plain(missing.name.as_str()), missing)).collect();
    let mut tiers: BTreeMap<String, Tier> = BTreeMap::new();
    for row in roster {
        let key = plain(&row.name);
        let found = standings.get(&key);
        let tier = tiers.entry(row.tier.clone()).or_default();
        let priorities = tier.families.entry(row.category.clone()).or_default();
        for counts in [&mut tier.counts, priorities.entry(row.priority.clone()).or_default()] {
            count(counts, found);
        }
        if !found.is_some_and(|(_, standing)| standing.matched) {
            tier.missing.push(gap(row, found.map(|(_, standing)| standing), missing.get(&key).copied()));
        }
    }
    let matched = standings.values().filter(|(_, standing)| standing.matched).map(|(entry, _)| *entry);
    OnBackend {
        device: backend.map(|backend| backend.device.to_owned()),
        engine: backend.map(|backend| backend.engine.to_owned()),
        tiers,
        matched: Distinct::of(matched, &spec.versions),
    }
}

/// How an entry stands on a backend, by the last words on it.
fn standing(entry: &Entry, backend: Option<Backend>, latest: &Latest, exported: bool) -> EntryProgress {
    let due = || backend.map_or_else(|| entry.due().collect(), |backend| Vec::from_iter(backend.due(entry)));
    let record = |check: Check| latest.get(&(entry.name.as_str(), check.name(), backend?)).copied();
    let status = |check: Check| record(check).map(|record| record.status);
    let decided =
        |check: Check| status(check).is_some_and(|status| status == Status::Passed || status.is_red());
    let compared = record(Check::MatchesReference);
    let matched = compared.is_some_and(|record| record.status == Status::Passed);
    // A program that returned outputs ran, whether or not they were right.
    let differs = |record: &Record| record.status == Status::Failed && record.stage == Some(Stage::Compare);
    let ran = matched || compared.is_some_and(differs);
    let gap = match compared {
        _ if matched => None,
        Some(record) => Some((
            record.stage.unwrap_or(Stage::Run),
            record.reason.clone().unwrap_or_else(|| record.status.to_string()),
        )),
        None if exported => Some((Stage::Run, "not run since the entry changed: just test".to_owned())),
        None => Some((Stage::Export, "not exported since the entry changed: just test".to_owned())),
    };
    EntryProgress {
        exported: exported || ran,
        ran,
        matched,
        all_due: matched && due().into_iter().all(|check| status(check) == Some(Status::Passed)),
        not_run: due().into_iter().any(|check| !decided(check)),
        gap,
    }
}

fn count(counts: &mut Counts, found: Option<&(&Entry, EntryProgress)>) {
    counts.rows += 1;
    counts.missing += usize::from(!found.is_some_and(|(_, standing)| standing.matched));
    let Some((entry, standing)) = found else { return };
    let left_out = entry.left_out().count();
    counts.entries += 1;
    counts.exported += usize::from(standing.exported);
    counts.ran += usize::from(standing.ran);
    counts.matched += usize::from(standing.matched);
    counts.all_due += usize::from(standing.all_due);
    counts.not_run += usize::from(standing.not_run);
    counts.left_out += usize::from(left_out > 0);
    counts.checks_left_out += left_out;
    counts.waivers += usize::from(!entry.tolerance.is_empty());
}

fn gap(row: &Row, standing: Option<&EntryProgress>, missing: Option<&Missing>) -> Gap {
    let (stage, reason) = match (standing.and_then(|standing| standing.gap.clone()), missing) {
        (Some((stage, reason)), _) => (stage.to_string(), reason),
        (None, Some(missing)) => (missing.stage.to_owned(), missing.reason.clone()),
        (None, None) => ("spec".to_owned(), NO_ENTRY.to_owned()),
    };
    Gap { name: row.name.clone(), stage, reason }
}

fn waivers(spec: &Spec) -> Vec<WaiverLine> {
    let lines =
        spec.entries.iter().flat_map(|entry| entry.tolerance.iter().map(move |waiver| (entry, waiver)));
    lines
        .map(|(entry, waiver)| WaiverLine {
            model: entry.name.to_string(),
            check: waiver.check.name(),
            output: waiver.output.map(|output| output.to_string()),
            k: waiver.k,
            reason: waiver.reason.to_string(),
            end: waiver.issue.or(waiver.until).map(|end| end.to_string()).unwrap_or_default(),
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
