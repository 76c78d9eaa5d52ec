//! Locks: every package that is installed, with the digests of its files on all platforms.
//!
//! In: the pins of `spec/versions.yaml`, and lists of tools (`*.in`). Out: a file for each set of packages that is installed
//! together, in pip's own format, with what the pinned packages depend on; pip takes no file of another digest
//! (`--require-hashes`). `just lock` has uv write them.

use super::environment::{Environment, EnvironmentError};
use super::pip;
use crate::spec::Versions;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the locks of `spec/versions.yaml`.
pub const FOLDER: &str = "spec/locked";
/// Lists of tools, locked beside themselves: what checks the exporter, and what continuous integration starts with.
const LISTS: [&str; 2] = ["src/export/requirements-tools.in", ".ci/just.in"];
/// The extras that have the program which writes locks.
const UV: &str = "uv";

/// Why packages cannot be held to their digests. Each says what helps.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{} cannot be read ({error}); put it back, or run: just lock", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{} and spec/versions.yaml disagree on {package}: {locked}, not {pinned}; run: just lock", path.display())]
    Other { path: PathBuf, package: String, locked: String, pinned: String },
    #[error("{} has no digest of {package}; run: just lock", path.display())]
    NoDigest { path: PathBuf, package: String },
    #[error("{package} of {} is not the file that was locked: its sha256 is {found}; it was not installed. It may have \
             been cut on its way: the same command fetches it again. Else, if the lock is as old as it should be, somebody has \
             changed the file: try another index", path.display())]
    Changed { path: PathBuf, package: String, found: String },
}

/// Packages that are installed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its lock.
    pub lock: PathBuf,
    /// What is asked for: `name==version`.
    pub pins: Vec<String>,
    /// Whether the lock has what these depend on, too; packages laid over others come alone.
    pub with_dependencies: bool,
}

/// The set of the environment itself.
#[must_use]
pub fn base(versions: &Versions) -> Set {
    Set { with_dependencies: true, ..of("python", &versions.python) }
}

/// The packages of a source that are laid over the environment.
#[must_use]
pub fn overlay(source: &str, packages: &BTreeMap<String, String>) -> Set {
    of(&format!("source-{source}"), packages)
}

/// What builds those.
#[must_use]
pub fn build(source: &str, packages: &BTreeMap<String, String>) -> Set {
    of(&format!("build-{source}"), packages)
}

/// What only some checkpoints ask for.
#[must_use]
pub fn extras(name: &str, packages: &BTreeMap<String, String>) -> Set {
    of(&format!("extras-{name}"), packages)
}

fn of(name: &str, packages: &BTreeMap<String, String>) -> Set {
    let pins = packages.iter().map(|(name, version)| format!("{name}=={version}")).collect();
    Set { lock: Path::new(FOLDER).join(format!("{name}.txt")), pins, with_dependencies: false }
}

/// Every set of `spec/versions.yaml`.
#[must_use]
pub fn sets(versions: &Versions) -> Vec<Set> {
    let mut sets = vec![base(versions)];
    for (name, source) in versions.sources.iter().filter(|(_, source)| source.path.is_none()) {
        sets.extend([overlay(name, &source.overlay), build(name, &source.build)]);
    }
    sets.extend(versions.extras.iter().map(|(name, packages)| extras(name, packages)));
    sets.retain(|set| !set.pins.is_empty());
    sets
}

/// A package of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Locked<'a> {
    /// As registries spell it.
    name: &'a str,
    version: &'a str,
    /// Digests of its files.
    digests: usize,
    /// Its lines.
    text: String,
}

/// What is in a lock.
fn packages(text: &str) -> Vec<Locked<'_>> {
    let mut packages: Vec<Locked> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        if let Some((name, rest)) = line.split_once("==").filter(|_| !line.starts_with(' ')) {
            let version = rest.split([' ', ';', '\\']).next().unwrap_or_default();
            packages.push(Locked { name, version, digests: 0, text: String::new() });
        }
        if let Some(last) = packages.last_mut() {
            last.digests += usize::from(line.contains("--hash=sha256:"));
            last.text += &format!("{line}\n");
        }
    }
    packages
}

impl Set {
    /// The text of the lock, if it has these very pins and a digest for each of its packages.
    ///
    /// # Errors
    /// There is no lock, or it is another's.
    pub fn locked(&self) -> Result<String, LockError> {
        let io = |error| LockError::Io { path: self.lock.clone(), error };
        let text = std::fs::read_to_string(&self.lock).map_err(io)?;
        let packages = packages(&text);
        let other = |package: &str, locked: Option<&str>, pinned: Option<&str>| LockError::Other {
            path: self.lock.clone(),
            package: package.to_owned(),
            locked: locked.unwrap_or("absent").to_owned(),
            pinned: pinned.unwrap_or("absent").to_owned(),
        };
        let mut pinned = BTreeSet::new();
        for (name, version) in self.pins.iter().filter_map(|pin| pin.split_once("==")) {
            let name = spelled(name);
            let found = packages.iter().find(|package| package.name == name).map(|package| package.version);
            if found != Some(version) {
                return Err(other(&name, found, Some(version)));
            }
            pinned.insert(name);
        }
        for package in &packages {
            if !self.with_dependencies && !pinned.contains(package.name) {
                return Err(other(package.name, Some(package.version), None));
            }
            if package.digests == 0 {
                return Err(LockError::NoDigest {
                    path: self.lock.clone(),
                    package: package.name.to_owned(),
                });
            }
        }
        Ok(text)
    }

    /// Writes the lock, with what it has already where that still goes with the pins.
    fn write(&self, uv: &Path) -> Result<(), EnvironmentError> {
        let io = |error| EnvironmentError::Io { path: self.lock.clone(), error };
        let mut list = tempfile::NamedTempFile::new().map_err(io)?;
        list.write_all(self.pins.join("\n").as_bytes()).map_err(io)?;
        let mut command = Command::new(uv);
        command.args(["pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-annotate"]);
        command.args(["--python-version", &crate::interpreter::oldest()]);
        command
            .args(["--custom-compile-command", "just lock", "--output-file"])
            .arg(&self.lock)
            .arg(list.path());
        if !self.with_dependencies {
            command.arg("--no-deps");
        }
        pip::finish(&format!("locking {}", self.lock.display()), &mut command).map(drop)
    }
}

/// A name as registries spell it: `huggingface-hub`, not `huggingface_hub`.
fn spelled(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

/// A lock without what depends on the build of torch: torch, and the libraries of CUDA that its build on PyPI needs.
#[must_use]
pub(super) fn without_torch(text: &str) -> String {
    let is_of_torch = |name: &str| {
        ["torch", "triton"].contains(&name)
            || ["nvidia-", "cuda-"].iter().any(|begin| name.starts_with(begin))
    };
    packages(text)
        .into_iter()
        .filter(|package| !is_of_torch(package.name))
        .map(|package| package.text)
        .collect()
}

/// Writes the locks of all sets and of the tools, and takes away those of no set.
///
/// # Errors
/// uv cannot be installed, or finds no packages that go together.
pub fn write(versions: &Versions) -> Result<(), EnvironmentError> {
    let uv = uv()?;
    let lists = LISTS.iter().map(|list| tools(Path::new(list))).collect::<Result<Vec<_>, _>>()?;
    sets(versions).iter().chain(&lists).try_for_each(|set| set.write(&uv))?;
    prune(versions)
}

/// Writes the lock of one set.
///
/// # Errors
/// As [`write()`].
pub fn write_one(set: &Set) -> Result<(), EnvironmentError> {
    set.write(&uv()?)
}

/// Takes away locks of no set.
///
/// # Errors
/// A file cannot be removed.
pub fn prune(versions: &Versions) -> Result<(), EnvironmentError> {
    let io = |error| EnvironmentError::Io { path: FOLDER.into(), error };
    let known: Vec<PathBuf> = sets(versions).into_iter().map(|set| set.lock).collect();
    for file in std::fs::read_dir(FOLDER).map_err(io)? {
        let path = file.map_err(io)?.path();
        if !known.contains(&path) {
            std::fs::remove_file(&path).map_err(|error| EnvironmentError::Io { path, error })?;
        }
    }
    Ok(())
}

/// uv's program.
fn uv() -> Result<PathBuf, EnvironmentError> {
    // In the version that is locked, which may not be the one that is pinned now.
    let locked = Set { pins: Vec::new(), with_dependencies: true, ..extras(UV, &BTreeMap::new()) };
    let folder = Environment::bare()?.lay_extras(UV, &locked)?;
    Ok(folder.join("bin").join(UV))
}

/// The set that a list of tools asks for; its lock stands beside it.
fn tools(list: &Path) -> Result<Set, LockError> {
    let text =
        std::fs::read_to_string(list).map_err(|error| LockError::Io { path: list.to_owned(), error })?;
    let pins = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pins = pins.map(str::to_owned).collect();
    Ok(Set { lock: list.with_extension("txt"), pins, with_dependencies: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# This file was autogenerated by uv.\na-b==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:0 \\\n    \
                        --hash=sha256:1\nc==2.0 \\\n    --hash=sha256:2\n";

    /// A set of these pins with that lock.
    fn set(pins: &[&str], lock: &str, folder: &tempfile::TempDir) -> Set {
        let path = folder.path().join("lock.txt");
        std::fs::write(&path, lock).unwrap();
        let pins = pins.iter().map(|pin| (*pin).to_owned()).collect();
        Set { lock: path, pins, with_dependencies: false }
    }

    fn told(pins: &[&str], lock: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let error = set(pins, lock, &folder).locked().unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "")
    }

    #[test]
    fn every_set_is_locked_as_the_spec_pins_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let versions = crate::spec::load(root).unwrap().versions;
        let lists = LISTS.iter().map(|list| tools(&root.join(list)).unwrap());
        let own = |set: Set| Set { lock: root.join(&set.lock), ..set };
        let sets: Vec<Set> = sets(&versions).into_iter().map(own).chain(lists).collect();
        for set in &sets {
            set.locked().unwrap();
        }
        for file in std::fs::read_dir(root.join(FOLDER)).unwrap() {
            let path = file.unwrap().path();
            assert!(sets.iter().any(|set| set.lock == path), "{} is the lock of no set", path.display());
        }
    }

    #[test]
    fn a_lock_holds_the_pins_and_nothing_else_each_with_a_digest() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(set(&["A_b==1.0", "c==2.0"], TEXT, &folder).locked().unwrap(), TEXT);
        let dependent = Set { with_dependencies: true, ..set(&["c==2.0"], TEXT, &folder) };
        assert!(dependent.locked().is_ok());
    }

    #[test]
    fn a_lock_of_other_pins_or_without_digests_says_what_helps() {
        let differ = "/lock.txt and spec/versions.yaml disagree on";
        let lock = "run: just lock";
        assert_eq!(told(&["a-b==1.0", "c==2.1"], TEXT), format!("{differ} c: 2.0, not 2.1; {lock}"));
        assert_eq!(told(&["a-b==1.0", "c==2.0", "d==1"], TEXT), format!("{differ} d: absent, not 1; {lock}"));
        assert_eq!(told(&["c==2.0"], TEXT), format!("{differ} a-b: 1.0, not absent; {lock}"));
        let cut = TEXT.replace("    --hash=sha256:2\n", "");
        assert_eq!(told(&["a-b==1.0", "c==2.0"], &cut), format!("/lock.txt has no digest of c; {lock}"));
    }

    #[test]
    fn what_depends_on_the_build_of_torch_is_left_to_its_index() {
        let text = "torch==1 \\\n    --hash=sha256:0\ntorchvision==1 \\\n    --hash=sha256:1\nnvidia-x==1 \\\n    \
                    --hash=sha256:2\ntriton==3 \\\n    --hash=sha256:3\n";
        assert_eq!(without_torch(text), "torchvision==1 \\\n    --hash=sha256:1\n");
    }
}
