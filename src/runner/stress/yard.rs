//! Where a trial takes place: a folder with artifacts and results, and what must hold of them afterwards.

use super::{Doing, YARD};
use crate::artifact::{self, Artifact, Format, Lane};
use crate::export::{self, Freshness};
use crate::model::RuntimeSpec;
use crate::report::{self, Record};
use crate::spec::{Entry, Spec};
use crate::verdict::Status;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

/// Bytes of a file that are damaged.
const DAMAGED: usize = 64;
/// How often processes are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Models, a program that exports and checks them, and whole artifacts to begin with.
pub struct Yard<'a> {
    spec: &'a Spec,
    entries: Vec<&'a Entry>,
    program: PathBuf,
    /// Artifacts of all models.
    good: PathBuf,
    /// How long an export of all models but the first takes by itself, and a run of their checks.
    alone: [Duration; 2],
    place: tempfile::TempDir,
    name: Vec<u8>,
}

impl<'a> Yard<'a> {
    /// A yard for models whose artifacts are in `good`; both kinds of runs are timed by themselves first.
    ///
    /// # Errors
    /// No folder can be made; a run fails by itself.
    pub fn new(spec: &'a Spec, entries: Vec<&'a Entry>, program: PathBuf, good: PathBuf) -> io::Result<Self> {
        let place = tempfile::tempdir()?;
        let mut yard =
            Self { spec, entries, program, good, alone: [Duration::ZERO; 2], place, name: YARD.to_vec() };
        for doing in [Doing::Export, Doing::Check] {
            let (fresh, started) = (yard.fresh(YARD, doing)?, Instant::now());
            let output = fresh.command(doing).output()?;
            super::worked(&output).and_then(|()| fresh.is_whole(doing)).map_err(io::Error::other)?;
            yard.alone[doing as usize] = started.elapsed();
        }
        Ok(yard)
    }

    /// How long such a run takes by itself.
    pub(super) fn alone(&self, doing: Doing) -> Duration {
        self.alone[doing as usize]
    }

    /// The model that is checked last.
    pub(super) fn last(&self) -> &str {
        self.entries.last().expect("a yard has models").name.as_str()
    }

    /// How many artifacts a fresh yard for an export lacks.
    pub(super) fn missing(&self) -> usize {
        self.entries.len() - 1
    }

    /// Another yard for the same models, its folder called `name`: with the first model's artifact for an export, with
    /// all for checks.
    pub(super) fn fresh(&self, name: &[u8], doing: Doing) -> io::Result<Self> {
        let fresh = Self {
            spec: self.spec,
            entries: self.entries.clone(),
            program: self.program.clone(),
            good: self.good.clone(),
            alone: self.alone,
            place: tempfile::tempdir()?,
            name: name.to_vec(),
        };
        let there = if doing == Doing::Export { 1 } else { fresh.entries.len() };
        fs::create_dir_all(fresh.artifacts())?;
        for entry in &fresh.entries[..there] {
            let to = fresh.artifacts().join(entry.name.as_str());
            fs::create_dir(&to)?;
            for file in fs::read_dir(self.good.join(entry.name.as_str()))? {
                let file = file?;
                fs::copy(file.path(), to.join(file.file_name()))?;
            }
        }
        Ok(fresh)
    }

    pub(super) fn root(&self) -> PathBuf {
        self.place.path().join(OsStr::from_bytes(&self.name))
    }

    fn artifacts(&self) -> PathBuf {
        self.root().join("artifacts")
    }

    pub(super) fn results(&self) -> PathBuf {
        self.root().join("results.jsonl")
    }

    /// The program that is put to stress.
    pub(super) fn program(&self) -> Command {
        Command::new(&self.program)
    }

    /// It, doing that here.
    pub(super) fn command(&self, doing: Doing) -> Command {
        let mut command = self.program();
        let names = self.entries.iter().map(|entry| entry.name.as_str());
        match doing {
            Doing::Export => command.arg("export").args(names),
            Doing::Check => command.arg("check").args(names),
        };
        command.env("HF_CONFORMANCE_DEVICE", "cpu");
        command.env("HF_CONFORMANCE_ARTIFACTS", self.artifacts());
        command.env("HF_CONFORMANCE_RESULTS", self.results());
        command
    }

    /// Whether no process works here any more, at the latest after so long.
    pub(super) fn is_quiet(&self, patience: Duration) -> Result<(), String> {
        let started = Instant::now();
        loop {
            match self.worker() {
                None => return Ok(()),
                Some(left) if started.elapsed() > patience => return Err(format!("{left} is left running")),
                Some(_) => std::thread::sleep(LOOK),
            }
        }
    }

    /// A process that has this yard in its environment.
    fn worker(&self) -> Option<String> {
        let found = Self::look();
        let process = found.processes().values().find(|process| self.is_here(process))?;
        Some(format!("{} ({})", process.name().to_string_lossy(), process.pid()))
    }

    /// Bytes of the process here that holds most.
    pub(super) fn largest(&self) -> u64 {
        let found = Self::look();
        let here = found.processes().values().filter(|process| self.is_here(process));
        here.map(sysinfo::Process::memory).max().unwrap_or(0)
    }

    fn look() -> System {
        let mut system = System::new();
        let what =
            ProcessRefreshKind::nothing().with_environ(UpdateKind::Always).with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        system
    }

    fn is_here(&self, process: &sysinfo::Process) -> bool {
        let mark = self.place.path().as_os_str().as_bytes();
        let holds = |one: &std::ffi::OsString| one.as_bytes().windows(mark.len()).any(|part| part == mark);
        process.environ().iter().any(holds)
    }

    /// Damages the program of every artifact at that part of its file, and makes its digests and signature right again.
    pub(super) fn forge(&self, part: f64) -> io::Result<()> {
        let digest = |bytes: &[u8]| format!("{:x}", Sha256::digest(bytes));
        for entry in &self.entries {
            let folder = self.artifacts().join(entry.name.as_str());
            let (program, manifest) = (folder.join("program.pt"), folder.join("manifest.json"));
            let mut bytes = fs::read(&program)?;
            let before = digest(&bytes);
            let place = (bytes.len() as f64 * part) as usize;
            bytes[place..].iter_mut().take(DAMAGED).for_each(|byte| *byte ^= 0x5a);
            fs::write(&program, &bytes)?;
            let list = fs::read_to_string(&manifest)?.replace(&before, &digest(&bytes));
            fs::write(folder.join("manifest.json.sha256"), digest(list.as_bytes()))?;
            fs::write(&manifest, list)?;
            artifact::sign(&manifest).map_err(|failure| io::Error::other(failure.message))?;
        }
        Ok(())
    }

    /// Whether every check has a result, whatever it is.
    pub(super) fn is_told(&self) -> Result<(), String> {
        self.are(&self.records()?, |_, _| true)
    }

    /// Whether every artifact is whole or not there, that of the first model is there, and every line of the results but
    /// the last can be read.
    pub(super) fn is_valid(&self, doing: Doing) -> Result<(), String> {
        let must = if doing == Doing::Export { 1 } else { self.entries.len() };
        for (place, entry) in self.entries.iter().enumerate() {
            let folder = self.artifacts().join(entry.name.as_str());
            let state = export::state(entry, &self.spec.versions, &self.artifacts());
            // An exporter that was killed has not signed its last one, which the next run makes anew.
            if folder.exists() && state != Freshness::Foreign || place < must {
                self.opens(entry)?;
            }
        }
        let lines = report::lines::<Record>(&self.results()).map_err(|error| error.to_string())?;
        match lines.left_out.values().sum() {
            0 | 1 => Ok(()),
            count @ 2_usize.. => Err(format!("{count} lines of the results are torn")),
        }
    }

    /// Whether everything is there: all artifacts and nothing beside them, and after checks a good result of each.
    pub(super) fn is_whole(&self, doing: Doing) -> Result<(), String> {
        self.entries.iter().try_for_each(|entry| self.opens(entry))?;
        // What begins with a dot is no artifact.
        let is_shown = |file: &fs::DirEntry| !file.file_name().as_bytes().starts_with(b".");
        let folders = fs::read_dir(self.artifacts()).map_err(|error| error.to_string())?;
        let listed = folders.flatten().filter(is_shown).count();
        if listed != self.entries.len() {
            return Err(format!("{listed} folders of artifacts, not {}", self.entries.len()));
        }
        if doing == Doing::Export {
            return Ok(());
        }
        self.are(&self.records()?, |_, status| status == Status::Passed)
    }

    /// Whether the model's checks that were tried came to `told`, and all checks of the others passed.
    pub(super) fn is_only(&self, model: &str, told: Status) -> Result<(), String> {
        self.are(&self.records()?, |name, status| match name == model {
            true => status == told || status == Status::NotRun,
            false => status == Status::Passed,
        })
    }

    fn records(&self) -> Result<Vec<Record>, String> {
        Ok(report::lines::<Record>(&self.results()).map_err(|error| error.to_string())?.read)
    }

    /// Whether the last outcome of every check that is due is what it should be of its model.
    fn are(&self, records: &[Record], should: impl Fn(&str, Status) -> bool) -> Result<(), String> {
        for entry in &self.entries {
            let name = entry.name.as_str();
            for check in Format::default().due(entry) {
                let own = |record: &&Record| record.model == name && record.check == check.name();
                match records.iter().rev().find(own).map(|record| record.status) {
                    Some(status) if should(name, status) => {}
                    Some(status) => return Err(format!("{name} · {} is {status}", check.name())),
                    None => return Err(format!("{name} · {} has no result", check.name())),
                }
            }
        }
        Ok(())
    }

    fn opens(&self, entry: &Entry) -> Result<(), String> {
        let runtime = RuntimeSpec::new(entry, &self.spec.versions);
        let folder: &Path = &self.artifacts().join(entry.name.as_str());
        Artifact::open(folder, &runtime.model(), Lane::default())
            .map(drop)
            .map_err(|failure| failure.to_string())
    }
}
