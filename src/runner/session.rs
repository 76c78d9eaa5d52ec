//! A run without generated modules: models in turn on every core, straight from the spec.

use super::TestRun;
use crate::check::{self, Session};
use crate::engine::Engine;
use crate::model::Subject;
use crate::report::{self, About, Record};
use crate::spec::{Check, Entry};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Puts every model of the plan to its checks and records every outcome; `done` hears how many of them are over.
///
/// # Errors
/// The results store cannot be written.
pub fn carry_out(run: &TestRun, engine: &'static dyn Engine, done: impl Fn(usize) + Sync) -> io::Result<()> {
    let waiting = Mutex::new(run.planned.chunk_by(|(a, _), (b, _)| std::ptr::eq(*a, *b)));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> io::Result<()> {
        while let Some(checks) = next() {
            one(run, checks, engine)?;
            done(checks.len());
        }
        Ok(())
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut ended = threads.into_iter().map(|thread| thread.join());
        // A panic is a mistake of this program, and no outcome of a check.
        ended.try_for_each(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Puts one model to its checks.
fn one(run: &TestRun, checks: &[(&Entry, Check)], engine: &'static dyn Engine) -> io::Result<()> {
    let Some((entry, _)) = checks.first() else { return Ok(()) };
    let subject = Subject::new(entry, &run.spec.versions);
    let card = subject.card();
    let session = Session::open(&run.artifacts.join(card.name), &card, engine, run.device);
    for (_, check) in checks {
        let started = Instant::now();
        let found = match &session {
            Ok(session) => check::body(*check)(&session.context(&card, entry.task)),
            Err(failure) => Err(failure.clone()),
        };
        let (outcome, measures) = check::outcome(found);
        let manifest = session.as_ref().ok().map(|session| &session.artifact.manifest);
        let about =
            About { card: &card, contract: entry.task, check: *check, device: Some(run.device), manifest };
        report::append_to(&run.store, &Record::new(&about, &outcome, &measures, started.elapsed()))?;
    }
    Ok(())
}
