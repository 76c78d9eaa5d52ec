//! A run in children: what ends one of them is an outcome of the check that did it, like any other.

use super::limits::{Asked, Limits};
use super::supervisor::{BrokeOff, Children, Fate, StartChild, gib, watch};
use super::{Planned, TestRun};
use crate::artifact;
use crate::failure::{Failure, Stage};
use crate::process::Process;
use crate::report::journal::{Item, Journal};
use crate::spec::Check;
use crate::verdict::Outcome;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// How a child is started that puts models to these checks: one at a time, where they are alone.
pub type Start<'a> = &'a dyn Fn(&TestRun, &[Item], bool, &Journal) -> io::Result<Process>;

/// Has children put every model of the plan to its checks; `over` hears how many of them are over. What children did not
/// end well without any check being to blame is told.
///
/// # Errors
/// No child can be started, or the results store cannot be written.
pub fn carry_out(
    run: &mut TestRun,
    start: Start,
    asked: &Asked,
    over: &dyn Fn(usize),
) -> io::Result<Vec<BrokeOff>> {
    let planned: BTreeMap<Item, Planned> =
        run.planned.iter().map(|planned| (item(planned), *planned)).collect();
    let limits: BTreeMap<&str, _> =
        run.planned.iter().map(|(entry, _)| (entry.name.as_str(), asked.of(entry))).collect();
    let given_up = Cell::new(0);
    let children = Children {
        start: &|items, alone, journal| start(run, items, alone, journal),
        limits: &|model| limits[model],
        over,
        record: &|item, fate| {
            let Some((entry, check)) = planned.get(item).copied() else { return Ok(()) };
            given_up.set(given_up.get() + usize::from(matches!(fate, Fate::GivenUp(_))));
            let manifest = artifact::manifest(&run.artifacts.join(entry.name.as_str())).ok().flatten();
            let (outcome, took) = outcome(fate, check);
            run.record(entry, check, &outcome, manifest.as_ref(), took)
        },
    };
    let broken = children.carry_out(run.planned.iter().map(item).collect())?;
    run.unheard += given_up.get();
    Ok(broken)
}

/// What a check is called between processes.
fn item((entry, check): &Planned) -> Item {
    (entry.name.to_string(), check.name().to_owned())
}

/// What became of a check that did not come to its end, and after how long.
fn outcome(fate: &Fate, check: Check) -> (Outcome, Duration) {
    let failure = failure(fate, &format!(" in check {}", check.name()));
    match fate {
        Fate::Crashed { after, .. } | Fate::Exhausted { after, .. } => (Outcome::Crashed(failure), *after),
        Fate::TimedOut(limit) => (Outcome::TimedOut(failure), *limit),
        Fate::GivenUp(_) => (Outcome::NotRun(failure), Duration::ZERO),
    }
}

/// A fate in words: `crashed (SIGSEGV) in check half`.
fn failure(fate: &Fate, place: &str) -> Failure {
    let new = |message: String| Failure::new(Stage::Run, message);
    match fate {
        Fate::Crashed { how, said, .. } => new(format!("crashed ({how}){place}")).with_end_of(said),
        Fate::Exhausted { memory, .. } => {
            new(format!("crashed (more than {} of memory){place}", gib(*memory)))
                .with("where it needs more: memory_limit in the entry, or --memory GIB")
        }
        Fate::TimedOut(limit) => new(format!("timed out after {} s{place}", limit.as_secs_f64()))
            .with("where it needs more: time_limit in the entry, or --timeout SECONDS"),
        Fate::GivenUp(count) => new(format!("not tried, since the model had timed out {count} times")),
    }
}

/// Has children do work that is no check, item by item, as the checks of models are; `lost` hears what ended an item, or
/// why it was not tried.
///
/// # Errors
/// No child can be started, or what `lost` says.
pub fn work(
    items: Vec<Item>,
    start: &StartChild,
    limits: &dyn Fn(&str) -> Limits,
    over: &dyn Fn(usize),
    lost: &dyn Fn(&Item, Failure) -> io::Result<()>,
) -> io::Result<Vec<BrokeOff>> {
    let record = |item: &Item, fate: &Fate| lost(item, failure(fate, &format!(" at {}", item.1)));
    Children { start, limits, over, record: &record }.carry_out(items)
}

/// Runs a command that runs one model, and waits for it.
///
/// # Errors
/// It does not start; stage `run`: it crashed, or took more than its limits.
pub fn run_alone(command: &mut Command, limits: Option<Limits>) -> io::Result<Result<ExitStatus, Failure>> {
    let ended = watch(&mut Process::spawn(command)?, limits)?;
    Ok(ended.map_err(|fate| failure(&fate, "")))
}
