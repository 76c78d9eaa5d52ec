//! A child that measures models in turn: one that ends it ends no more than that.
//!
//! In: a [`Request`], from the process that watches. Out: a line for every model that was measured, in the file that the
//! [`Plan`] names, one in [`Request::failures`] for every one that could not be, and the journal of which of them runs.

use super::{BenchTarget, EagerProcess, Measured, Width, decode, measure};
use crate::artifact::Format;
use crate::engine;
use crate::failure::{At, Failure, Stage};
use crate::model::RuntimeSpec;
use crate::process::Process;
use crate::report::journal::{self, Item, Journal};
use crate::report::{append_to, decoding, speed};
use crate::spec::{Entry, Spec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The words with which this program [`serve`]s a request.
const COMMAND: [&str; 2] = ["bench", "--serve"];
/// Seconds that measuring a model may take where its entry does not ask for more: torch.compile takes minutes.
const SECONDS: u64 = 600;

/// Seconds that measuring this entry may take.
pub fn patience(entry: &Entry) -> u64 {
    entry.time_limit.unwrap_or(0).max(SECONDS)
}

/// What is measured of models, at one width on one device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub device: String,
    pub width: Width,
    /// Measure torch.compile as well.
    pub compile: bool,
    /// Measure how fast text is written, and not single forwards.
    pub decode: bool,
}

impl Plan {
    /// The entry as it is measured.
    ///
    /// # Errors
    /// As [`Width::of`] and [`Width::decoding`].
    pub fn entry(&self, entry: &Entry) -> Result<Entry, String> {
        match self.decode {
            true => self.width.decoding(entry),
            false => self.width.of(entry).map_err(|why| format!("{} width: {why}", self.width)),
        }
    }

    /// Where artifacts of such entries are.
    pub fn root(&self) -> PathBuf {
        if self.decode { self.width.decoding_root() } else { self.width.root() }
    }

    /// Where measurements are kept.
    pub fn store(&self) -> PathBuf {
        if self.decode { decoding::path() } else { speed::path() }
    }
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub model: String,
    /// Threads that share an operator.
    pub threads: usize,
    /// By their names.
    pub engines: Vec<String>,
}

impl Job {
    /// What it is called between processes.
    pub fn item(&self) -> Item {
        (self.model.clone(), format!("--threads {}", self.threads))
    }
}

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    pub plan: Plan,
    pub jobs: Vec<Job>,
    /// Where a [`Lost`] goes.
    pub failures: PathBuf,
}

/// A model, or one engine of it, that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub model: String,
    /// One line, and those that help.
    pub why: Vec<String>,
}

/// Starts a child that does what a request says: this very program.
///
/// # Errors
/// It does not start.
pub fn start(request: &Request, journal: &Journal) -> io::Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    journal.start(command.args(COMMAND), request)
}

/// Measures the models of a request one after the other.
///
/// # Errors
/// No such device; stage `run`: what came of a model cannot be kept.
pub fn serve(spec: &Spec, request: &Request) -> Result<(), Failure> {
    let mut bench = Bench { spec, plan: &request.plan, pythons: BTreeMap::new() };
    for job in &request.jobs {
        let (model, named) = job.item();
        let _begun = journal::begin(&model, &named);
        let lost = bench.one(job).unwrap_or_else(|failure| vec![told(&failure)]);
        let mut lines = lost.into_iter().map(|why| Lost { model: model.clone(), why: vec![why] });
        lines
            .try_for_each(|lost| append_to(&request.failures, &lost))
            .at(Stage::Run, "telling of failures")?;
    }
    Ok(())
}

/// Keeps what was measured; what is to be said of engines that do not run the model.
fn kept<T: Serialize>(measured: Measured<T>, store: &Path) -> Result<Vec<String>, Failure> {
    let mut speeds = measured.speeds.iter();
    speeds.try_for_each(|speed| append_to(store, speed)).at(Stage::Run, store.display())?;
    let engines = measured.failed.into_iter();
    Ok(engines.map(|(engine, failure)| format!("{engine}, {}", told(&failure))).collect())
}

fn told(failure: &Failure) -> String {
    format!("stage {}: {failure}", failure.stage)
}

/// What all models of a request share.
struct Bench<'a> {
    spec: &'a Spec,
    plan: &'a Plan,
    /// Each package of classes has a process of its own.
    pythons: BTreeMap<String, EagerProcess>,
}

impl Bench<'_> {
    /// Measures a model and keeps that; what is to be said of engines that do not run it.
    fn one(&mut self, job: &Job) -> Result<Vec<String>, Failure> {
        let unknown = || Failure::new(Stage::Spec, "the spec has it no longer");
        let entry = self.spec.entries.iter().find(|entry| entry.name.as_str() == job.model);
        let entry = self.plan.entry(entry.ok_or_else(unknown)?).at(Stage::Spec, self.plan.width)?;
        let (subject, target) = (RuntimeSpec::new(&entry, &self.spec.versions), self.target(job)?);
        let (folder, store) = (self.plan.root().join(&job.model), self.plan.store());
        match self.plan.decode {
            true => {
                let measure = |python: &mut _| decode::measure(&subject, &folder, &target, python);
                kept(self.with_python(&entry, measure)?, &store)
            }
            false => {
                let measure = |python: &mut _| measure(&subject, &folder, &target, python);
                kept(self.with_python(&entry, measure)?, &store)
            }
        }
    }

    fn target(&self, job: &Job) -> Result<BenchTarget, Failure> {
        let none = || Failure::new(Stage::Load, "this build has no libtorch");
        let (device, _) = engine::choose(&self.plan.device)?;
        let engine = |name: &String| {
            let format: Format = name.parse().map_err(|error| Failure::new(Stage::Load, error))?;
            engine::of(format.on(device)).ok_or_else(none)
        };
        Ok(BenchTarget {
            engines: job.engines.iter().map(engine).collect::<Result<_, _>>()?,
            device,
            width: self.plan.width,
            threads: job.threads,
            compile: self.plan.compile,
        })
    }

    /// Does something with the Python that has the entry's class.
    fn with_python<T>(
        &mut self,
        entry: &Entry,
        work: impl FnOnce(&mut EagerProcess) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut python = match self.pythons.remove(&entry.source) {
            Some(python) => python,
            None => EagerProcess::start(&entry.source, &self.spec.versions)?,
        };
        let done = work(&mut python)?;
        // A process that failed is not asked again: what it still has to say is unknown.
        self.pythons.insert(entry.source.clone(), python);
        Ok(done)
    }
}
