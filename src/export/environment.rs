//! The Python environment that exports models and holds libtorch.
//!
//! In: the pins of `spec/versions.yaml`. Out: `.venv` with exactly those packages, `.venv/torch` (a link to
//! the torch package, where the build looks for libtorch), and an overlay folder per further source. What only some checkpoints ask for goes to
//! `target/extras`, when one does.
//!
//! `HF_CONFORMANCE_PYTHON` names an interpreter to use as it is; `HF_CONFORMANCE_TORCH_INDEX` an index that
//! has other builds of torch (CPU only, another CUDA).

use super::local;
use crate::process::{Process, collect, collected};
use crate::spec::{Source, Versions};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Oldest Python that the pinned packages support.
const OLDEST: (u32, u32) = (3, 10);
/// Written last: an environment without it, or with other pins in it, is made again.
const STAMP: &str = "pins.txt";

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
    #[error(
        "no Python {}.{} or later found (tried {tried}); install one, or name it in HF_CONFORMANCE_PYTHON",
        OLDEST.0,
        OLDEST.1
    )]
    NoPython { tried: String },
    #[error(
        "the Python environment is missing or has other versions than spec/versions.yaml; run: just setup"
    )]
    NotReady,
    #[error("`{command}` failed ({status}): {said}")]
    Command { command: String, status: String, said: String },
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
        if let Some(python) = std::env::var_os("HF_CONFORMANCE_PYTHON") {
            return Ok(Self { python: python.into(), folder: ".venv".into() });
        }
        let environment = Self::at(Path::new(".venv"));
        match stamped(&environment.folder, &versions.python) && environment.torch().exists() {
            true => Ok(environment),
            false => Err(EnvironmentError::NotReady),
        }
    }

    /// Makes the environment, or leaves it alone when it is ready.
    pub fn set_up(versions: &Versions) -> Result<Self, EnvironmentError> {
        if let Ok(environment) = Self::ready(versions) {
            return Ok(environment);
        }
        let environment = Self::at(Path::new(".venv"));
        if !environment.python.exists() {
            let system = system_python()?;
            run(&format!("creating .venv with {system}"), &system, ["-m", "venv", ".venv"])?;
        }
        environment.install(&versions.python)?;
        environment.link_torch()?;
        write(&environment.folder.join(STAMP), &stamp(&versions.python))?;
        Ok(environment)
    }

    /// An interpreter for what needs no package: that of the environment, whatever it has, or the system's.
    pub fn plain_python() -> Result<PathBuf, EnvironmentError> {
        if let Some(python) = std::env::var_os("HF_CONFORMANCE_PYTHON") {
            return Ok(python.into());
        }
        let environment = Self::at(Path::new(".venv"));
        match environment.python.exists() {
            true => Ok(environment.python),
            false => system_python().map(PathBuf::from),
        }
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
        let folder = self.folder.join("overlays").join(source);
        if let Some(path) = path {
            local::lay(&self.python, &folder, wanted, path)?;
        } else if overlay.is_empty() {
            return Ok(None);
        } else if !stamped(&folder, overlay) {
            emptied(&folder)?;
            let tools = self.folder.join("build").join(source);
            let mut pip = self.pip(&folder, overlay);
            if !build.is_empty() {
                finish(&format!("installing what builds {source}"), &mut self.pip(&tools, build))?;
                pip.arg("--no-build-isolation").envs(building_with(&tools)?);
            }
            finish(&format!("installing {source}"), &mut pip)?;
            write(&folder.join(STAMP), &stamp(overlay))?;
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
        let folder = Path::new(EXTRAS).join(name);
        if !stamped(&folder, packages) {
            emptied(&folder)?;
            finish(&format!("installing what {name} takes"), &mut self.pip(&folder, packages))?;
            write(&folder.join(STAMP), &stamp(packages))?;
        }
        std::path::absolute(&folder).map_err(|error| EnvironmentError::Io { path: folder, error })
    }

    /// What pip would install for a version of a package, or for its newest, so that torch stays as it is: the package
    /// and whatever it needs in another version than the base environment has. Nothing is installed.
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
        command.args(pins(&versions.python).iter().filter(|pin| pin.starts_with("torch==")));
        let said = finish(&format!("looking for {wanted}"), &mut command).map_err(|error| match &error {
            EnvironmentError::Command { said, .. } => newest(said)
                .map_or(error, |newest| EnvironmentError::NoVersion { wanted: wanted.clone(), newest }),
            _ => error,
        })?;
        let report: Report = serde_json::from_str(&said).map_err(|error| EnvironmentError::Command {
            command: format!("pip install --dry-run {wanted}"),
            status: "its report cannot be read".to_owned(),
            said: error.to_string(),
        })?;
        let installed = report.install.into_iter().map(|one| one.metadata);
        Ok(installed.map(|one| (one.name.to_lowercase(), one.version)).collect())
    }

    /// Installs packages, and none that they depend on, into a folder.
    fn pip(&self, folder: &Path, packages: &BTreeMap<String, String>) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-m", "pip", "install", "--no-deps", "--upgrade", "--target"]).arg(folder);
        command.args(pins(packages));
        command
    }

    fn at(folder: &Path) -> Self {
        let python = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
        Self { python: folder.join(python), folder: folder.to_owned() }
    }

    fn torch(&self) -> PathBuf {
        self.folder.join("torch")
    }

    fn install(&self, packages: &BTreeMap<String, String>) -> Result<(), EnvironmentError> {
        let pins = pins(packages);
        let (torch, rest): (Vec<_>, Vec<_>) = pins.iter().partition(|pin| pin.starts_with("torch=="));
        // Set and empty counts as not set: continuous integration has no other way to leave it out.
        if let Some(index) =
            std::env::var("HF_CONFORMANCE_TORCH_INDEX").ok().filter(|index| !index.is_empty())
        {
            let fixed = ["-m", "pip", "install", "--index-url", index.as_str()];
            let arguments = fixed.into_iter().chain(torch.iter().map(|pin| pin.as_str()));
            run("installing torch", &self.python, arguments)?;
        }
        let all = torch.iter().chain(&rest).map(|pin| pin.as_str());
        run("installing packages", &self.python, ["-m", "pip", "install"].into_iter().chain(all)).map(drop)
    }

    /// `.venv/torch` → the torch package: one path for every Python version, known to `.cargo/config.toml`.
    fn link_torch(&self) -> Result<(), EnvironmentError> {
        let print = "import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec('torch').origin).parent)";
        let torch = run("looking for torch", &self.python, ["-c", print])?;
        let link = self.torch();
        let io = |error| EnvironmentError::Io { path: self.torch(), error };
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link).map_err(io)?;
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(torch.trim(), &link).map_err(io)?;
        #[cfg(windows)]
        std::os::windows::fs::symlink_dir(torch.trim(), &link).map_err(io)?;
        Ok(())
    }
}

/// The first interpreter on the PATH that is recent enough.
fn system_python() -> Result<String, EnvironmentError> {
    let candidates = ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python"];
    let recent = format!("import sys; sys.exit(sys.version_info < {OLDEST:?})");
    let works = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", &recent]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let found = candidates.iter().find(|python| works(python));
    found
        .map(|python| (*python).to_owned())
        .ok_or_else(|| EnvironmentError::NoPython { tried: candidates.join(", ") })
}

/// The last of the versions that pip lists where it does not find the one it was asked for.
fn newest(said: &str) -> Option<String> {
    let (listed, _) = said.split_once("(from versions: ")?.1.split_once(')')?;
    listed.rsplit(", ").next().map(str::to_owned)
}

/// `name==version` for every package.
fn pins(packages: &BTreeMap<String, String>) -> Vec<String> {
    packages.iter().map(|(name, version)| format!("{name}=={version}")).collect()
}

fn stamp(packages: &BTreeMap<String, String>) -> String {
    pins(packages).join("\n")
}

fn stamped(folder: &Path, packages: &BTreeMap<String, String>) -> bool {
    std::fs::read_to_string(folder.join(STAMP)).is_ok_and(|text| text == stamp(packages))
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

/// `finish` for a program and its arguments.
fn run<'a>(
    what: &str,
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<String, EnvironmentError> {
    finish(what, Command::new(program.as_ref()).args(arguments))
}

/// Runs a command under a spinner that shows its latest line; its standard output on success.
pub(super) fn finish(what: &str, command: &mut Command) -> Result<String, EnvironmentError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let shown = format!("{command:?}").replace('"', "");
    let program = PathBuf::from(command.get_program());
    let io = |error| EnvironmentError::Io { path: program.clone(), error };
    let mut child = Process::spawn(command).map_err(io)?;
    let spinner = ProgressBar::new_spinner().with_prefix(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(200));
    let stderr = collect(child.stderr());
    let mut printed = Vec::new();
    for line in child.stdout().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        let line = line.map_err(io)?;
        spinner.set_message(line.clone());
        printed.push(line);
    }
    let status = child.wait().map_err(io)?;
    spinner.finish_and_clear();
    match status.success() {
        true => Ok(printed.join("\n")),
        false => {
            let errors = collected(stderr);
            let errors = String::from_utf8_lossy(&errors);
            let errors: Vec<&str> = errors.lines().collect();
            let last = errors.len().saturating_sub(5);
            let said = errors[last..].join("; ");
            Err(EnvironmentError::Command { command: shown, status: status.to_string(), said })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_read_from_what_pip_lists() {
        let said = "ERROR: Could not find a version that satisfies the requirement a==9 (from versions: 1.0, 1.10rc1, 2.0); \
                    ERROR: No matching distribution found for a==9";
        assert_eq!(newest(said).as_deref(), Some("2.0"));
        assert_eq!(newest("ERROR: no network"), None);
    }
}
