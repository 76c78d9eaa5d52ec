//! The spec: YAML files to checked entries.
//!
//! In: `spec/*.yaml`. Out: a [`Spec`], or every [`Problem`] there is, each with its file, line and column.
//! The way of a file: `tree` (bytes to a located tree) → `family` and `layer` (every key checked on its own)
//! → `resolve` (defaults and `like` laid over each other) → `assemble` (what depends on several keys).
//!
//! This module and `task` are also compiled into the build script, so they use nothing else of the crate.

mod assemble;
mod checks;
mod date;
mod debt;
mod decode;
mod entry;
mod family;
mod files;
mod job;
mod layer;
mod layers;
mod measure;
mod name;
mod plug;
mod ports;
mod problem;
mod resolve;
mod scalar;
mod sizes;
mod tree;
mod versions;

pub use checks::Check;
pub use date::Date;
pub use entry::*;
pub use job::Job;
pub use name::{Name, NameError};
pub use problem::Problem;

use problem::Problems;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The one spec file that is not a family.
const VERSIONS: &str = "versions.yaml";

/// Reads and checks the spec below the project's root.
///
/// # Errors
/// Every problem found, sorted by place; a file that cannot be read is one of them.
pub fn load(root: &Path) -> Result<Spec, Vec<Problem>> {
    let files = files::read(root).map_err(|problem| vec![problem])?;
    parse(&files, Date::today())
}

/// Checks the files of a spec, given as paths (which messages repeat) and contents.
///
/// # Errors
/// Every problem found, sorted by place.
pub fn parse(files: &[(PathBuf, Vec<u8>)], today: Date) -> Result<Spec, Vec<Problem>> {
    let mut problems = Problems::default();
    let is_versions = |path: &Path| path.file_name() == Some(OsStr::new(VERSIONS));
    let (versions, families): (Vec<_>, Vec<_>) = files.iter().partition(|(path, _)| is_versions(path));
    let versions = read_versions(versions.first().copied(), &mut problems);
    let families: Vec<_> = families.into_iter().map(|file| read_family(file, today, &mut problems)).collect();
    let entries = resolve::resolve(&families, versions.as_ref(), &mut problems);
    let missing = resolve::missing(&families, &mut problems);
    match versions {
        Some(versions) if problems.count() == 0 => Ok(Spec { entries, missing, versions }),
        _ => Err(problems.sorted()),
    }
}

fn read_versions(file: Option<&(PathBuf, Vec<u8>)>, problems: &mut Problems) -> Option<Versions> {
    let Some((path, bytes)) = file else {
        problems.add(&Place::start(&Path::new(files::FOLDER).join(VERSIONS)), "there is no such file");
        return None;
    };
    let root = tree::parse(path, bytes, problems)?;
    versions::versions(&root, problems)
}

fn read_family(
    (path, bytes): &(PathBuf, Vec<u8>),
    today: Date,
    problems: &mut Problems,
) -> Option<family::Family> {
    let root = tree::parse(path, bytes, problems)?;
    family::family(path, &root, today, problems)
}

#[cfg(test)]
mod tests;
