//! A child that runs checks without generated modules: models in turn, straight from the spec.
//!
//! In: a [`Request`], from the process that watches. Out: a record for every check, and the journal of which of them runs.

use super::TestRun;
use crate::artifact::{self, Format, Lane};
use crate::check::{self, Session};
use crate::engine::{self, Engine};
use crate::failure::{At, Failure, Stage};
use crate::model::RuntimeSpec;
use crate::process::Process;
use crate::report::journal::{self, Item, Journal};
use crate::report::{self, About, Record};
use crate::spec::{Check, Entry, Spec, Versions};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The command of this program that [`serve`]s a request.
pub const COMMAND: &str = "worker";

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    artifacts: PathBuf,
    results: PathBuf,
    engine: String,
    device: String,
    half: String,
    /// The pins of the run: not always those of the spec's files.
    versions: Versions,
    /// Whether one check runs at a time, and not as many as there are processors.
    alone: bool,
    /// Model by model.
    checks: Vec<Item>,
}

/// Starts a child for some checks of a run: this very program, which takes a request as [`COMMAND`].
///
/// # Errors
/// It does not start.
pub fn start(run: &TestRun, checks: &[Item], alone: bool, journal: &Journal) -> io::Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(COMMAND);
    start_as(command, run, checks, alone, journal)
}

/// Starts another command that takes a request and [`serve`]s it.
///
/// # Errors
/// It does not start.
pub fn start_as(
    mut command: Command,
    run: &TestRun,
    checks: &[Item],
    alone: bool,
    journal: &Journal,
) -> io::Result<Process> {
    let request = Request {
        artifacts: run.artifacts.clone(),
        results: run.store.clone(),
        engine: run.lane.format.name().to_owned(),
        device: run.lane.device.to_string(),
        half: run.lane.half.name().to_owned(),
        versions: run.spec.versions.clone(),
        alone,
        checks: checks.to_vec(),
    };
    journal.start(&mut command, &request)
}

/// Puts every model of a request to its checks, and records every outcome.
///
/// # Errors
/// No such device; stage `run`: the results store cannot be written.
pub fn serve(mut spec: Spec, request: Request) -> Result<(), Failure> {
    let format: Format = request.engine.parse().map_err(|error| Failure::new(Stage::Load, error))?;
    let (device, _) = engine::choose(&request.device)?;
    let none = || Failure::new(Stage::Load, "this build has no libtorch");
    let half = artifact::half(&request.half).map_err(|error| Failure::new(Stage::Load, error))?;
    let lane = Lane { half, ..Lane::new(format, device) };
    let engine = engine::of(lane.format).ok_or_else(none)?;
    spec.versions = request.versions;
    let place = Shared { spec: &spec, engine, lane, artifacts: request.artifacts, store: request.results };
    place.all(&request.checks, request.alone, &|_| ()).at(Stage::Run, "recording results")
}

/// Puts the models of a run to its checks on an engine of this process: one that runs every program in a process of its own.
/// `over` hears how many more checks are over.
///
/// # Errors
/// The results store cannot be written.
pub fn here(run: &TestRun, engine: &dyn Engine, over: &(dyn Fn(usize) + Sync)) -> io::Result<()> {
    let (artifacts, store) = (run.artifacts.clone(), run.store.clone());
    let place = Shared { spec: run.spec, engine, lane: run.lane, artifacts, store };
    let item = |(entry, check): &super::Planned| (entry.name.to_string(), check.name().to_owned());
    place.all(&Vec::from_iter(run.planned.iter().map(item)), false, over)
}

/// What all models of a request share.
struct Shared<'a> {
    spec: &'a Spec,
    engine: &'a dyn Engine,
    lane: Lane,
    artifacts: PathBuf,
    store: PathBuf,
}

impl<'a> Shared<'a> {
    /// Puts every model to its checks, as many at a time as there are processors, or one check at a time.
    fn all(&self, checks: &[Item], alone: bool, over: &(dyn Fn(usize) + Sync)) -> io::Result<()> {
        let waiting = Mutex::new(checks.chunk_by(|(a, _), (b, _)| a == b));
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || -> io::Result<()> {
            while let Some(checks) = next() {
                self.one(checks)?;
                over(checks.len());
            }
            Ok(())
        };
        let workers = if alone { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let mut ended = threads.into_iter().map(|thread| thread.join());
            // A panic is a mistake of this program, and no outcome of a check.
            ended.try_for_each(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    /// Puts one model to its checks. One that the spec no longer has leaves no result.
    fn one(&self, checks: &[Item]) -> io::Result<()> {
        let Some((model, _)) = checks.first() else { return Ok(()) };
        let Some(entry) = self.spec.entries.iter().find(|entry| entry.name.as_str() == model) else {
            return Ok(());
        };
        let mut session = None;
        checks.iter().filter_map(|(_, name)| Check::find(name)).try_for_each(|check| {
            let _begun = journal::begin(model, check.name());
            self.check(entry, check, &mut session)
        })
    }

    /// Carries out a check; the first of a model opens its session.
    fn check(&self, entry: &Entry, check: Check, session: &mut Option<Opened<'a>>) -> io::Result<()> {
        let started = Instant::now();
        let subject = RuntimeSpec::new(entry, &self.spec.versions);
        let model = subject.model();
        let open = || Session::open(&self.artifacts.join(model.name), &model, self.engine, self.lane);
        let session = session.get_or_insert_with(open);
        let found = match session {
            Ok(session) => check::body(check)(&session.context(&model, entry.task)),
            Err(failure) => Err(failure.clone()),
        };
        let (outcome, measures) = check::outcome(found);
        let manifest = session.as_ref().ok().map(|session| &session.artifact.manifest);
        let about = About { model: &model, contract: entry.task, check, lane: Some(self.lane), manifest };
        report::append_to(&self.store, &Record::new(&about, &outcome, &measures, started.elapsed()))
    }
}

type Opened<'a> = Result<Session<'a>, Failure>;
