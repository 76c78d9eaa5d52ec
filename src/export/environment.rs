//! The Python environment that exports models and holds libtorch.
//!
//! In: the pins of `spec/versions.yaml`. Out: `.venv` with exactly those packages, `.venv/torch` (a link to
//! the torch package, where the build looks for libtorch), and an overlay folder per further source. What only some checkpoints ask for goes to
//! `target/extras`, when one does.
//!
//! `HF_CONFORMANCE_PYTHON` names an interpreter to use as it is; `HF_CONFORMANCE_TORCH_INDEX` an index that
//! has other builds of torch (CPU only, another CUDA).

use super::local;
use super::lock::{self, LockError, Set};
use super::pip::{self, finish, run};
use super::turn::Turn;
use crate::interpreter::{self, ENVIRONMENT, NoPython};
use crate::spec::{Source, Versions};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Written last: what has another lock in it, or none, is made again.
const STAMP: &str = "locked.txt";

/// Packages come as they were built by whoever published them.
const WHEELS: [&str; 2] = ["--only-binary", ":all:"];
/// The file by which one process at a time installs packages.
const INSTALLING: &str = "target/installing";
/// The package that everything here computes with.
pub const TORCH: &str = "torch";
/// What is compiled against torch, and goes with one version of it.
const BOUND_TO_TORCH: [&str; 1] = ["torchvision"];
/// Where the packages are that only some checkpoints ask for.
const EXTRAS: &str = "target/extras";

/// A ready interpreter.
#[derive(Debug)]
pub struct Environment {
    python: PathBuf,
    folder: PathBuf,
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    #[error(transparent)]
    NoPython(#[from] NoPython),
    #[error(
        "the Python environment is missing or has other versions than spec/versions.yaml; run: just setup"
    )]
    NotReady,
    #[error("`{command}` failed ({status}): {said}")]
    Command {
        command: String,
        status: String,
        /// The last lines.
        said: String,
        all: String,
    },
    #[error(
        "{what}: no package index answers, or it breaks off; is there a network? Where one is behind a proxy or a mirror: HTTPS_PROXY, PIP_INDEX_URL. The same command goes on from there"
    )]
    NoNetwork { what: String },
    #[error(
        "{what}: the disk is full; what was installed by then stays, and the same command goes on from there"
    )]
    NoSpace { what: String },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("there is no {wanted} for this Python; the newest is {newest}")]
    NoVersion { wanted: String, newest: String },
    #[error("versions.yaml has no source '{0}'")]
    NoSource(String),
    #[error(
        "the package {package} is gone: there is no folder or wheel at {}; put it back, or correct `path` in spec/versions.yaml",
        path.display()
    )]
    Gone { package: String, path: PathBuf },
    #[error("{} holds no package of its own name; it holds: {holds}", path.display())]
    Wheel { path: PathBuf, holds: String },
    #[error("versions.yaml has no extras '{0}'")]
    NoExtras(String),
}

impl Environment {
    /// The environment as it stands, if it has the pinned packages.
    pub fn ready(versions: &Versions) -> Result<Self, EnvironmentError> {
        if let Some(python) = std::env::var_os(interpreter::CHOSEN) {
            return Ok(Self { python: python.into(), folder: ENVIRONMENT.into() });
        }
        let environment = Self::at(Path::new(ENVIRONMENT));
        let lock = lock::base(versions).locked()?;
        match stamped(&environment.folder, &lock) && environment.torch().exists() {
            true => Ok(environment),
            false => Err(EnvironmentError::NotReady),
        }
    }

    /// Makes the environment, or leaves it alone when it is ready.
    pub fn set_up(versions: &Versions) -> Result<Self, EnvironmentError> {
        match Self::ready(versions) {
            Err(EnvironmentError::NotReady) => {}
            known => return known,
        }
        let _turn = turn()?;
        // Whoever had the turn before may have made it.
        match Self::ready(versions) {
            Err(EnvironmentError::NotReady) => {}
            known => return known,
        }
        let environment = Self::at(Path::new(ENVIRONMENT));
        let set = lock::base(versions);
        let lock = set.locked()?;
        let stamp = environment.folder.join(STAMP);
        if !stamp.exists() {
            let system = interpreter::system()?;
            // One that was ended before it had pip is no beginning.
            run(&format!("creating .venv with {system}"), &system, ["-m", "venv", "--clear", ENVIRONMENT])?;
        }
        // Until it is whole it says so: pip takes half a package for one.
        let was_whole = std::fs::read(&stamp).is_ok_and(|lock| !lock.is_empty());
        write(&stamp, "")?;
        environment.install(&set, &lock, !was_whole)?;
        environment.link_torch()?;
        write(&stamp, &lock)?;
        Ok(environment)
    }

    /// The interpreter as [`interpreter::plain`] finds it: enough to install what stands apart.
    pub(super) fn bare() -> Result<Self, EnvironmentError> {
        Ok(Self { python: interpreter::plain()?, folder: ENVIRONMENT.into() })
    }

    /// The interpreter.
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// The folder to put first on PYTHONPATH for a source's classes; `None` for the base environment's own.
    /// Its packages are installed without dependencies: torch stays the base environment's. What must be compiled
    /// is compiled against that torch, by the source's own build packages, for CPUs: references are taken there.
    pub fn overlay(&self, source: &str, versions: &Versions) -> Result<Option<PathBuf>, EnvironmentError> {
        let wanted =
            versions.sources.get(source).ok_or_else(|| EnvironmentError::NoSource(source.to_owned()))?;
        let Source { overlay, build, path, .. } = wanted;
        let folder = self.folder.join("overlays").join(wanted.tried.as_deref().unwrap_or(source));
        if let Some(path) = path {
            local::lay(&self.python, &folder, wanted, path)?;
        } else if overlay.is_empty() {
            return Ok(None);
        } else if wanted.tried.is_some() {
            self.lay_unlocked(source, &folder, &lock::overlay(source, overlay).pins)?;
        } else {
            let tools = self.folder.join("build").join(source);
            if !build.is_empty() {
                self.lay(&format!("what builds {source}"), &tools, &lock::build(source, build), None)?;
            }
            let tools = Some(tools.as_path()).filter(|_| !build.is_empty());
            self.lay(source, &folder, &lock::overlay(source, overlay), tools)?;
        }
        std::path::absolute(&folder).map(Some).map_err(|error| EnvironmentError::Io { path: folder, error })
    }

    /// The folder of packages that stand behind the environment's own: what only some checkpoints ask for, installed when
    /// one does.
    ///
    /// # Errors
    /// No such extras, or pip cannot install them.
    pub fn extras(&self, name: &str, versions: &Versions) -> Result<PathBuf, EnvironmentError> {
        let packages =
            versions.extras.get(name).ok_or_else(|| EnvironmentError::NoExtras(name.to_owned()))?;
        self.lay_extras(name, &lock::extras(name, packages))
    }

    pub(super) fn lay_extras(&self, name: &str, set: &Set) -> Result<PathBuf, EnvironmentError> {
        let folder = Path::new(EXTRAS).join(name);
        self.lay(&format!("what {name} takes"), &folder, set, None)?;
        std::path::absolute(&folder).map_err(|error| EnvironmentError::Io { path: folder, error })
    }

    /// What pip would install for a version of a package, or for its newest: the package and whatever it needs in another
    /// version than the base environment has. Torch stays as it is, unless it is what is asked for. Nothing is installed.
    ///
    /// # Errors
    /// pip knows no such version, or none that goes with the pinned torch.
    pub fn resolve(
        &self,
        package: &str,
        version: Option<&str>,
        versions: &Versions,
    ) -> Result<BTreeMap<String, String>, EnvironmentError> {
        #[derive(Deserialize)]
        struct Report {
            install: Vec<Installed>,
        }
        #[derive(Deserialize)]
        struct Installed {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            name: String,
            version: String,
        }
        let wanted = version.map_or(package.to_owned(), |version| format!("{package}=={version}"));
        let mut command = Command::new(&self.python);
        command.args(["-m", "pip", "install", "--dry-run", "--quiet", "--upgrade", "--report", "-", &wanted]);
        if package == TORCH {
            other_builds(&mut command).args(BOUND_TO_TORCH);
        } else {
            command.args(lock::base(versions).pins.iter().filter(|pin| pin.starts_with("torch==")));
        }
        let said = finish(&format!("looking for {wanted}"), &mut command).map_err(|error| match &error {
            EnvironmentError::Command { all, .. } => pip::newest(all)
                .map_or(error, |newest| EnvironmentError::NoVersion { wanted: wanted.clone(), newest }),
            _ => error,
        })?;
        let report: Report = serde_json::from_str(&said).map_err(|error| EnvironmentError::Command {
            command: format!("pip install --dry-run {wanted}"),
            status: "its report cannot be read".to_owned(),
            said: error.to_string(),
            all: said,
        })?;
        let installed = report.install.into_iter().map(|one| one.metadata);
        Ok(installed.map(|one| (one.name.to_lowercase(), one.version)).collect())
    }

    /// Installs what a set's lock lists into a folder of its own, unless it is there. With `tools` what is published as
    /// source alone is compiled by what is in that folder; without, nothing is compiled: whatever builds a package runs, and
    /// pip would fetch it unlocked.
    fn lay(
        &self,
        what: &str,
        folder: &Path,
        set: &Set,
        tools: Option<&Path>,
    ) -> Result<(), EnvironmentError> {
        let lock = set.locked()?;
        if stamped(folder, &lock) {
            return Ok(());
        }
        let _turn = turn()?;
        if stamped(folder, &lock) {
            return Ok(());
        }
        emptied(folder)?;
        let mut pip = pip::locked(&self.python, &set.lock, &lock)?;
        pip.command.arg("--target").arg(folder);
        match tools {
            Some(tools) => pip.command.arg("--no-build-isolation").envs(building_with(tools)?),
            None => pip.command.args(WHEELS),
        };
        pip.run(&format!("installing {what}"))?;
        write(&folder.join(STAMP), &lock)
    }

    /// The same for a version that is only tried: nobody has its digests yet.
    fn lay_unlocked(&self, what: &str, folder: &Path, pins: &[String]) -> Result<(), EnvironmentError> {
        let wanted = pins.join("\n");
        if stamped(folder, &wanted) {
            return Ok(());
        }
        let _turn = turn()?;
        if stamped(folder, &wanted) {
            return Ok(());
        }
        emptied(folder)?;
        let mut command = Command::new(&self.python);
        command.args(["-m", "pip", "install", "--no-deps", "--target"]).arg(folder).args(pins);
        if pins.iter().any(|pin| pin.starts_with("torch==")) {
            other_builds(&mut command);
        }
        finish(&format!("installing {what}"), &mut command)?;
        write(&folder.join(STAMP), &wanted)
    }

    fn at(folder: &Path) -> Self {
        Self { python: interpreter::of(folder), folder: folder.to_owned() }
    }

    fn torch(&self) -> PathBuf {
        self.folder.join("torch")
    }

    /// Installs the environment's own packages. An index of other builds of torch answers for these by itself: the lock has
    /// the digests of those on PyPI.
    fn install(&self, set: &Set, lock: &str, anew: bool) -> Result<(), EnvironmentError> {
        let anew = anew.then_some("--force-reinstall");
        let index = torch_index();
        let rest = index.as_ref().map(|_| lock::without_torch(lock));
        let mut pip = pip::locked(&self.python, &set.lock, rest.as_deref().unwrap_or(lock))?;
        pip.command.args(WHEELS).args(anew);
        pip.run("installing packages")?;
        let Some(index) = index else { return Ok(()) };
        let torch = set.pins.iter().filter(|pin| pin.starts_with("torch==")).map(String::as_str);
        let fixed = ["-m", "pip", "install", "--index-url", index.as_str()];
        run("installing torch", &self.python, fixed.into_iter().chain(anew).chain(torch)).map(drop)
    }

    /// Folders of the libraries that the base environment's torch is linked to, and that another laid over it finds
    /// nowhere else: those of CUDA, where its build has them.
    ///
    /// # Errors
    /// There is no torch.
    pub fn libraries(&self) -> Result<Vec<PathBuf>, EnvironmentError> {
        let torch = PathBuf::from(self.installed_torch()?);
        let packages = torch.parent().unwrap_or(&torch).join("nvidia");
        let items = std::fs::read_dir(packages).into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = items.map(|item| item.path().join("lib")).collect();
        folders.retain(|folder| folder.is_dir());
        folders.sort();
        Ok(folders)
    }

    /// Where the torch package is.
    fn installed_torch(&self) -> Result<String, EnvironmentError> {
        let print = "import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec('torch').origin).parent)";
        run("looking for torch", &self.python, ["-c", print]).map(|said| said.trim().to_owned())
    }

    /// `.venv/torch` → the torch package: one path for every Python version, known to `.cargo/config.toml`.
    fn link_torch(&self) -> Result<(), EnvironmentError> {
        let torch = self.installed_torch()?;
        let link = self.torch();
        let io = |error| EnvironmentError::Io { path: self.torch(), error };
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link).map_err(io)?;
        }
        local::link(Path::new(&torch), &link).map_err(io)
    }
}

/// This process's turn to install something, and that of what it starts: pip does not hear that who started it was killed.
fn turn() -> Result<Turn, EnvironmentError> {
    let told = |holder: &str| eprintln!("waiting for {holder}, which installs packages here");
    let turn = Turn::next(Path::new(INSTALLING), &told).and_then(Turn::with_children);
    turn.map_err(|error| EnvironmentError::Io { path: INSTALLING.into(), error })
}

/// The index of other builds of torch, where one is named. Set and empty counts as not set: continuous integration has no
/// other way to leave it out.
fn torch_index() -> Option<String> {
    std::env::var("HF_CONFORMANCE_TORCH_INDEX").ok().filter(|index| !index.is_empty())
}

/// Has pip look at that index, too: its builds say what they are built for (`2.13.0+cpu`), and so go before those of PyPI.
fn other_builds(command: &mut Command) -> &mut Command {
    command.args(torch_index().into_iter().flat_map(|index| ["--extra-index-url".to_owned(), index]))
}

/// Whether what is in a folder was installed from this lock.
fn stamped(folder: &Path, lock: &str) -> bool {
    std::fs::read_to_string(folder.join(STAMP)).is_ok_and(|text| text == lock)
}

/// Takes a folder away: what only other versions of the same packages have would stay.
fn emptied(folder: &Path) -> Result<(), EnvironmentError> {
    match folder.exists() {
        true => std::fs::remove_dir_all(folder)
            .map_err(|error| EnvironmentError::Io { path: folder.to_owned(), error }),
        false => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), EnvironmentError> {
    std::fs::write(path, text).map_err(|error| EnvironmentError::Io { path: path.to_owned(), error })
}

/// Variables under which Python and the shell find the build packages in `tools`, and no GPU is built for.
fn building_with(tools: &Path) -> Result<[(&'static str, OsString); 3], EnvironmentError> {
    let io = |error| EnvironmentError::Io { path: tools.to_owned(), error };
    let tools = std::path::absolute(tools).map_err(io)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path));
    let programs = std::env::join_paths(programs).map_err(|error| io(std::io::Error::other(error)))?;
    Ok([("PYTHONPATH", tools.into()), ("PATH", programs), ("CUDA_VISIBLE_DEVICES", OsString::new())])
}
