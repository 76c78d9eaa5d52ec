//! `check`: the checks of `test`, straight from the spec, without compiling generated modules.
//!
//! For the moment between writing an entry and building, and for machines that have this binary and no compiler.

use super::round::{Options, Round};
use super::spec;
use anyhow::Result;
use hf_conformance::artifact;
use hf_conformance::check::{self, Session};
use hf_conformance::engine::{self, Engine};
use hf_conformance::model::Subject;
use hf_conformance::report::cost::{self, Step};
use hf_conformance::report::{self, Record};
use hf_conformance::spec::{Check, Entry, Spec};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

/// Runs the checks of the entries that the filters mean; a failure is exit code 1.
pub fn run(options: &Options) -> Result<ExitCode> {
    let spec = spec()?;
    let round = Round::begin(&spec, options)?;
    let mut models: Vec<(&Entry, Vec<Check>)> = Vec::new();
    for &(entry, check) in &round.planned {
        match models.last_mut() {
            Some((last, checks)) if std::ptr::eq(*last, entry) => checks.push(check),
            _ => models.push((entry, vec![check])),
        }
    }
    let (bar, checking) = (round.bar(), Instant::now());
    let (waiting, engine) = (Mutex::new(models.into_iter()), engine::real());
    let work = || -> Result<()> {
        loop {
            let next = waiting.lock().map(|mut models| models.next());
            let (Ok(Some((entry, checks))), Some(engine)) = (next, engine) else { return Ok(()) };
            one(&spec, &round, entry, &checks, engine)?;
            bar.inc(checks.len() as u64);
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })?;
    bar.finish_and_clear();
    cost::keep(Step::Check, round.models(), checking.elapsed())?;
    round.end(None)
}

/// Puts one model to its checks and records every outcome.
fn one(
    spec: &Spec,
    round: &Round,
    entry: &Entry,
    checks: &[Check],
    engine: &'static dyn Engine,
) -> Result<()> {
    let subject = Subject::new(entry, &spec.versions);
    let card = subject.card();
    let session = Session::open(&artifact::root().join(card.name), &card, engine, round.device);
    for &check in checks {
        let started = Instant::now();
        let found = match &session {
            Ok(session) => check::body(check)(&session.context(&card, entry.task)),
            Err(failure) => Err(failure.clone()),
        };
        let (outcome, measures) = check::outcome(found);
        let about = report::About {
            card: &card,
            contract: entry.task,
            check,
            device: Some(round.device),
            manifest: session.as_ref().ok().map(|session| &session.artifact.manifest),
        };
        let record = Record::new(&about, &outcome, &measures, started.elapsed());
        report::append(&record)?;
    }
    Ok(())
}
