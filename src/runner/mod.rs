//! A test run: which checks are due on which models, what became of each, and whether that is good.
//!
//! In: entries, checks, a device, what the exporter made. Out: an [`Ended`] run with a record for every check that was
//! due. Children carry a run out ([`carry_out`]): those of `just test` through the generated modules, those of `check`
//! straight from the spec ([`worker`]). Both end here, by the lines in the results store, so that a check which never ran
//! cannot be counted as passed.

pub mod check;
pub mod forecast;
mod isolation;
pub mod judge;
mod limits;
pub mod moved;
pub mod portability;
pub mod radar;
pub mod shard;
#[cfg(unix)]
pub mod stress;
mod supervisor;
mod tally;
#[cfg(test)]
mod tests;
pub mod worker;

pub use isolation::{Start, carry_out, run_alone, work};
pub use limits::{Asked, Limits, available, installed};
pub use supervisor::BrokeOff;
pub use tally::Tally;

use crate::artifact::{Lane, Manifest};
use crate::export::{Exported, FaultOf};
use crate::failure::{Failure, Stage};
use crate::model::RuntimeSpec;
use crate::numerics::Tolerance;
use crate::process::interrupted;
use crate::report::junit;
use crate::report::{self, About, Record};
use crate::spec::{Check, Entry, Spec, Waiver};
use crate::verdict::{Outcome, Status};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A check that is to be put to a model.
pub type Planned<'a> = (&'a Entry, Check);

/// Models and checks of one run on one device.
pub struct TestRun<'a> {
    /// The spec that the entries are of.
    pub spec: &'a Spec,
    /// The models that were chosen.
    pub entries: Vec<&'a Entry>,
    /// The checks that were asked for.
    pub checks: Vec<Check>,
    /// What they run on: which engine, and where.
    pub lane: Lane,
    /// Every one of those checks that its entry does not leave out.
    pub due: Vec<Planned<'a>>,
    /// What of it can run: its model has an artifact.
    pub planned: Vec<Planned<'a>>,
    /// Models whose export failed: with that, all their checks have failed.
    pub broken: BTreeSet<&'a str>,
    /// Checks that nothing excuses from having no result: the exporter ended before it came to their model, or they were
    /// given up.
    unheard: usize,
    /// The folder of artifacts.
    pub artifacts: PathBuf,
    /// The results store, and where it ended before.
    store: PathBuf,
    place: u64,
}

impl<'a> TestRun<'a> {
    /// The checks of `checks` that are due on `entries`; its results are those that the store gets from now on.
    pub fn begin(
        spec: &'a Spec,
        entries: Vec<&'a Entry>,
        checks: Vec<Check>,
        lane: Lane,
        artifacts: PathBuf,
        store: PathBuf,
    ) -> Self {
        let due: Vec<Planned> = entries
            .iter()
            .flat_map(|entry| lane.format.due(entry).map(move |check| (*entry, check)))
            .filter(|(_, check)| checks.contains(check))
            .collect();
        let place = report::end(&store);
        let (planned, broken) = (due.clone(), BTreeSet::new());
        Self { spec, entries, checks, lane, due, planned, broken, unheard: 0, artifacts, store, place }
    }

    /// Takes the checks out of the plan whose model has no artifact, and records them: failed where the exporter tried
    /// the model, not run where it did not come to that. An interrupt says nothing of them.
    ///
    /// # Errors
    /// The results store cannot be written.
    pub fn exported(&mut self, exported: &[Exported]) -> io::Result<()> {
        for one in exported {
            let Err(failure) = &one.outcome else { continue };
            let is_own = |(entry, _): &&Planned| entry.name.as_str() == one.model;
            let own: Vec<Planned> = self.planned.iter().filter(is_own).copied().collect();
            let outcome = match one.fault_of {
                FaultOf::Model => Outcome::Failed(failure.clone()),
                FaultOf::Environment | FaultOf::Exporter => Outcome::NotRun(failure.clone()),
                FaultOf::Interrupt => {
                    self.planned.retain(|planned| !is_own(&planned));
                    continue;
                }
            };
            for (entry, check) in &own {
                self.record(entry, *check, &outcome, None, Duration::ZERO)?;
            }
            match one.fault_of {
                FaultOf::Model => self.broken.extend(own.iter().map(|(entry, _)| entry.name.as_str())),
                FaultOf::Environment | FaultOf::Interrupt => {}
                FaultOf::Exporter => self.unheard += own.len(),
            }
            self.planned.retain(|planned| !is_own(&planned));
        }
        Ok(())
    }

    /// Whether every check that is due on any model of the spec can run.
    pub fn is_whole(&self) -> bool {
        self.entries.len() == self.spec.entries.len()
            && self.checks.len() == Check::ALL.len()
            && self.checks.iter().all(|check| self.lane.format.unsuited(*check).is_none())
            && self.planned.len() == self.due.len()
    }

    /// How many models have checks that can run.
    pub fn models(&self) -> usize {
        self.planned.chunk_by(|(a, _), (b, _)| std::ptr::eq(*a, *b)).count()
    }

    /// What the checks of this run have left so far.
    ///
    /// # Errors
    /// The results store is there and cannot be read.
    pub fn records(&self) -> io::Result<Vec<Record>> {
        let since = report::read_since(&self.store, self.place)?;
        Ok(since.into_iter().filter(|record| record.run == report::run()).collect())
    }

    /// Ends the run: a check that was due and left no result has not run, and is recorded so, unless somebody interrupted
    /// the run: then what is known of it from before still holds. `broke_off` says why the process that ran them did, if it
    /// did.
    ///
    /// # Errors
    /// The results store cannot be read or written.
    pub fn end(self, broke_off: Option<&str>) -> io::Result<Ended<'a>> {
        let said: BTreeSet<(String, String)> =
            self.records()?.into_iter().map(|record| (record.model, record.check)).collect();
        let is_lost =
            |(entry, check): &&Planned| !said.contains(&(entry.name.to_string(), check.name().to_owned()));
        let interrupt = interrupted();
        let is_lost = |due: &&Planned| interrupt.is_none() && is_lost(due);
        let lost: Vec<Planned> = self.due.iter().filter(is_lost).copied().collect();
        let why = broke_off.unwrap_or("the check left no result");
        for (entry, check) in &lost {
            let outcome = Outcome::NotRun(Failure::new(Stage::Run, why));
            self.record(entry, *check, &outcome, None, Duration::ZERO)?;
        }
        let records = self.records()?;
        let tally = Tally::of(&self.due, &records, self.left_out(), lost.len() + self.unheard);
        Ok(Ended { broke_off: broke_off.is_some(), interrupt, run: self, records, tally })
    }

    /// Why a check is not due on an entry in this run; `None` when it is.
    pub fn omitted(&self, entry: &Entry, check: Check) -> Option<String> {
        check.omitted(entry).or_else(|| self.lane.format.unsuited(check).map(str::to_owned))
    }

    /// How many of the checks that were asked for the spec or the engine leaves out.
    fn left_out(&self) -> usize {
        self.entries.len() * self.checks.len() - self.due.len()
    }

    /// Records a check that was not put to its model, or could not tell what came of it.
    fn record(
        &self,
        entry: &Entry,
        check: Check,
        outcome: &Outcome,
        manifest: Option<&Manifest>,
        took: Duration,
    ) -> io::Result<()> {
        let subject = RuntimeSpec::new(entry, &self.spec.versions);
        let (model, lane) = (subject.model(), Some(self.lane));
        let about = About { model: &model, contract: entry.task, check, lane, manifest };
        report::append_to(&self.store, &Record::new(&about, outcome, &[], took))
    }
}

/// A run that is over.
pub struct Ended<'a> {
    /// What it was about.
    pub run: TestRun<'a>,
    /// What its checks left.
    pub records: Vec<Record>,
    /// The same, counted.
    pub tally: Tally,
    /// Whether the process that ran the checks did not end well.
    pub broke_off: bool,
    /// The signal that interrupted it, if one did.
    pub interrupt: Option<i32>,
}

impl<'a> Ended<'a> {
    /// How many checks make the run a failure: those that failed, crashed or timed out; those that left no result; all that
    /// did not run, where `strict` asks for it.
    pub fn failed(&self, strict: bool) -> usize {
        self.tally.red() + if strict { self.tally.not_run } else { self.tally.lost }
    }

    /// Whether all is well. A process that broke off is a failure, whatever its checks left, and so is an interrupted run.
    pub fn is_good(&self, strict: bool) -> bool {
        self.failed(strict) == 0 && !self.broke_off && self.interrupt.is_none()
    }

    /// The run as JUnit XML.
    ///
    /// # Errors
    /// As [`junit::xml`].
    pub fn junit(&self) -> Result<String, impl std::error::Error + Send + Sync + 'static + use<>> {
        let planned = self.run.entries.iter().map(|entry| {
            let own = self.run.due.iter().filter(|(due, _)| std::ptr::eq(*due, *entry));
            let omitted = |check: &Check| Some((check.name(), self.run.omitted(entry, *check)?));
            junit::Planned {
                model: entry.name.as_str(),
                family: entry.family.as_str(),
                checks: own.map(|(_, check)| check.name()).collect(),
                left_out: self.run.checks.iter().filter_map(omitted).collect(),
            }
        });
        junit::xml(&Vec::from_iter(planned), &self.records)
    }

    /// Looser tolerances that their outputs did not need in this run.
    pub fn spare_waivers(&self) -> Vec<(&'a Entry, &'a Waiver)> {
        let of = |entry: &'a Entry| entry.tolerance.iter().map(move |waiver| (entry, waiver));
        let waivers = self.run.entries.iter().flat_map(|entry| of(entry));
        waivers.filter(|(entry, waiver)| self.is_spare(entry, waiver)).collect()
    }

    /// Whether everything that the waiver is about was measured, passed, and would have passed without it.
    fn is_spare(&self, entry: &Entry, waiver: &Waiver) -> bool {
        let own = self.records.iter().filter(|record| {
            record.model == entry.name.as_str()
                && record.check == waiver.check.name()
                && record.status == Status::Passed
        });
        let mut metrics = own
            .flat_map(|record| &record.metrics)
            .filter(|metric| waiver.output.is_none_or(|output| output == metric.output))
            .peekable();
        metrics.peek().is_some()
            && metrics.all(|metric| {
                metric.agreement.holds_with(Tolerance::of(waiver.check.dtype(self.run.lane.half)))
            })
    }
}
