//! This program, built against another torch than the pinned one.
//!
//! In: a torch package, the version of the crate tch that is made for it, a folder. Out: the program ([`Built`]). The folder
//! gets a manifest and a lock of its own, in which tch is that version, links to everything else of the project, and a
//! target folder: two versions of tch cannot stand in one lock, since only one crate of a build may link libtorch.

use super::environment::{Environment, EnvironmentError};
use super::local::link;
use crate::process;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a build needs beside its manifest and lock.
const PARTS: [&str; 5] = ["benches", "build.rs", "generated", "spec", "src"];
const MANIFEST: &str = "Cargo.toml";
const LOCK: &str = "Cargo.lock";
/// The crates that are made for one torch, and have one version.
const CRATES: [&str; 2] = ["tch", "torch-sys"];
/// So many of cargo's last lines say why a build failed.
const LINES: usize = 20;

/// Why there is no program for another torch. Each says what helps.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(
        "no tch is known for torch {torch}; known are those for torch {}. Where one is published, add it to `tch` in spec/versions.yaml",
        known.join(", ")
    )]
    NoTch { torch: String, known: Vec<String> },
    #[error("Cargo.toml has no line `{0} = {{ version = \"=…\"`: put it back")]
    Manifest(&'static str),
    #[error("this project does not build with tch {tch} and torch {torch}; cargo's last lines:\n{said}")]
    Cargo { tch: String, torch: String, said: String },
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}

/// A torch that this program can be built against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torch {
    pub version: String,
    /// The version of tch that is made for it.
    pub tch: String,
    /// The folder of its package.
    pub package: PathBuf,
}

/// The program that was built, and where it finds what its torch itself is linked to.
#[derive(Clone, Debug)]
pub struct Built {
    program: PathBuf,
    libraries: OsString,
}

impl Built {
    /// Builds this program below `folder`, or does nothing where nothing has changed.
    ///
    /// # Errors
    /// cargo fails; a folder that cannot be written.
    pub fn make(torch: &Torch, folder: &Path, environment: &Environment) -> Result<Self, BuildError> {
        let folder = std::path::absolute(folder).map_err(at(folder))?;
        let (crate_, target) = (folder.join("crate"), folder.join("target"));
        lay(&crate_, &torch.tch)?;
        let libraries = search_path(environment.libraries()?)?;
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["build", "--features", "libtorch", "--bin", env!("CARGO_PKG_NAME")]);
        command.arg("--target-dir").arg(&target).current_dir(&crate_);
        command.env("LIBTORCH", &torch.package).env(SEARCHED, &libraries);
        let output = process::output(&mut command).map_err(at(&crate_))?;
        match output.status.success() {
            true => {
                let program = format!("{}{}", env!("CARGO_PKG_NAME"), std::env::consts::EXE_SUFFIX);
                Ok(Self { program: target.join("debug").join(program), libraries })
            }
            false => Err(BuildError::Cargo {
                tch: torch.tch.clone(),
                torch: torch.version.clone(),
                said: last_lines(&String::from_utf8_lossy(&output.stderr)),
            }),
        }
    }

    /// The program, to be given arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env(SEARCHED, &self.libraries);
        command
    }
}

/// Where the system looks for libraries that say no better.
const SEARCHED: &str = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };

/// These folders, before those that are searched anyhow.
fn search_path(folders: Vec<PathBuf>) -> Result<OsString, BuildError> {
    let own = std::env::var_os(SEARCHED).unwrap_or_default();
    let own = std::env::split_paths(&own).filter(|path| !path.as_os_str().is_empty());
    std::env::join_paths(folders.into_iter().chain(own))
        .map_err(|error| at(Path::new(SEARCHED))(std::io::Error::other(error)))
}

/// Puts the project with another tch into a folder. A lock that cargo has brought in step with the manifest stays, until the
/// project's own manifest or lock is another.
fn lay(folder: &Path, tch: &str) -> Result<(), BuildError> {
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    for part in PARTS {
        let (own, there) = (std::path::absolute(part).map_err(at(Path::new(part)))?, folder.join(part));
        if there.symlink_metadata().is_err() {
            link(&own, &there).map_err(at(&there))?;
        }
    }
    let [manifest, lock] = [MANIFEST, LOCK].map(|file| read(Path::new(file)));
    let (manifest, lock) = (with_tch(&manifest?, tch)?, lock?);
    let (stamp, made_of) = (folder.join("made-of.txt"), format!("{manifest}\n{lock}"));
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == made_of) {
        return Ok(());
    }
    for (file, text) in [(MANIFEST, &manifest), (LOCK, &lock), ("made-of.txt", &made_of)] {
        std::fs::write(folder.join(file), text).map_err(at(&folder.join(file)))?;
    }
    Ok(())
}

/// A manifest in which tch and what belongs to it have that version.
fn with_tch(manifest: &str, tch: &str) -> Result<String, BuildError> {
    let mut lines: Vec<String> = manifest.lines().map(str::to_owned).collect();
    for name in CRATES {
        let begin = format!("{name} = {{ version = \"=");
        let line = lines.iter_mut().find(|line| line.starts_with(&begin));
        let line = line.ok_or(BuildError::Manifest(name))?;
        let rest = line[begin.len()..].split_once('"').map(|(_, rest)| rest.to_owned());
        *line = format!("{begin}{tch}\"{}", rest.ok_or(BuildError::Manifest(name))?);
    }
    Ok(lines.join("\n") + "\n")
}

/// The last lines of what cargo says, without its counting of crates.
fn last_lines(said: &str) -> String {
    let counts = |line: &str| {
        ["Compiling ", "Downloaded ", "Downloading ", "Checking "]
            .iter()
            .any(|begin| line.trim_start().starts_with(begin))
    };
    let lines: Vec<&str> = said.lines().filter(|line| !counts(line) && !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

fn read(path: &Path) -> Result<String, BuildError> {
    std::fs::read_to_string(path).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> BuildError {
    let path = path.to_owned();
    move |error| BuildError::Io { path: path.clone(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn only_tch_and_what_belongs_to_it_have_another_version() {
        let own = "[dependencies]\nhalf = \"2\"\ntch = { version = \"=0.24.0\", optional = true }\n\
                   torch-sys = { version = \"=0.24.0\", optional = true }\nzip = { version = \"=0.24.0\" }\n";
        let other = with_tch(own, "0.26.0").unwrap();
        assert_eq!(
            other,
            "[dependencies]\nhalf = \"2\"\ntch = { version = \"=0.26.0\", optional = true }\n\
             torch-sys = { version = \"=0.26.0\", optional = true }\nzip = { version = \"=0.24.0\" }\n"
        );
        let without = with_tch(&own.replace("torch-sys", "torch"), "0.26.0").unwrap_err();
        assert_eq!(
            without.to_string(),
            "Cargo.toml has no line `torch-sys = { version = \"=…\"`: put it back"
        );
    }

    #[test]
    fn the_pinned_tch_is_the_one_that_is_made_for_the_pinned_torch() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let versions = crate::spec::load(root).unwrap().versions;
        let tch =
            versions.tch_of(&versions.python["torch"]).expect("`tch` in versions.yaml has the pinned torch");
        let manifest = std::fs::read_to_string(root.join(MANIFEST)).unwrap();
        assert_eq!(with_tch(&manifest, tch).unwrap(), manifest);
    }

    #[test]
    fn a_tch_is_known_for_a_release_whatever_it_was_built_for() {
        let mut versions = crate::report::samples::spec().versions;
        versions.tch = BTreeMap::from([("2.13.0".to_owned(), "0.26.0".to_owned())]);
        assert_eq!(versions.tch_of("2.13.0+cpu"), Some("0.26.0"));
        assert_eq!(versions.tch_of("2.13.1"), None);
    }

    #[test]
    fn what_cargo_counts_is_left_out_of_its_last_words() {
        let said = "   Compiling a v1.0.0\nerror[E0425]: no `x`\n  --> src/a.rs:1:1\n\n   Compiling b v1.0.0\nerror: could not compile `c`\n";
        assert_eq!(
            last_lines(said),
            "error[E0425]: no `x`\n  --> src/a.rs:1:1\nerror: could not compile `c`"
        );
        let long: Vec<String> = (0..50).map(|line| line.to_string()).collect();
        assert_eq!(last_lines(&long.join("\n")).lines().next(), Some("30"));
    }
}
