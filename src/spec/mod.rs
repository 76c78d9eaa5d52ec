//! The spec: YAML files to checked entries.
//!
//! In: `spec/*.yaml`. Out: a [`Spec`], or every [`Problem`] there is, each with its file, line and column.
//! The way of a file: `tree` (bytes to a located tree) → `family` and `layer` (every key checked on its own)
//! → `resolve` (defaults and `like` laid over each other) → `assemble` (what depends on several keys).
//!
//! This module and `task` are also compiled into the build script, so they use nothing else of the crate.

mod assemble;
mod base;
mod checks;
mod decode;
mod edit;
mod entry;
mod explain;
mod family;
mod files;
mod job;
mod layer;
mod layers;
mod measure;
mod name;
pub mod package;
mod plug;
mod ports;
mod problem;
mod resolve;
mod scalar;
mod sizes;
mod synthetic;
mod tree;
mod versions;
mod waiver;

pub use base::{Base, bases};
pub use checks::Check;
pub use edit::{EditError, insert, remove};
pub use entry::*;
pub use explain::{Origin, explain};
pub use jiff::civil::Date;
pub use job::{Job, NEW_TOKENS};
pub use layer::{ATTENTIONS, NEVER_OMITTED};
pub use name::{NAME_MAX, Name, NameError};
pub use problem::Problem;
pub use synthetic::synthetic;
pub use waiver::K_MAX;

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
    parse(&read(root)?, today())
}

/// Today, in UTC: the day on which `until` is judged.
pub fn today() -> Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// A spec file: its path, relative to the project's root, and its bytes.
pub type File = (PathBuf, Vec<u8>);

/// The files of the spec below the project's root, sorted by name.
///
/// # Errors
/// The first file that cannot be read.
pub fn read(root: &Path) -> Result<Vec<File>, Vec<Problem>> {
    files::read(root).map_err(|problem| vec![problem])
}

/// Checks the files of a spec, given as paths (which messages repeat) and contents.
///
/// # Errors
/// Every problem found, sorted by place. What would be a warning of a spec without errors is among them: whoever
/// repairs the files sees all there is to repair.
pub fn parse(files: &[File], today: Date) -> Result<Spec, Vec<Problem>> {
    let mut problems = Problems::default();
    let (versions, families): (Vec<_>, Vec<_>) = files.iter().partition(|(path, _)| is_versions(path));
    let versions = read_versions(versions.first().copied(), &mut problems);
    let families: Vec<_> = families.into_iter().map(|file| read_family(file, today, &mut problems)).collect();
    let entries = resolve::resolve(&families, versions.as_ref(), &mut problems);
    let missing = resolve::missing(&families, &mut problems);
    match versions {
        Some(versions) if problems.count() == 0 => {
            Ok(Spec { entries, missing, versions, warnings: problems.sorted() })
        }
        _ => Err(problems.sorted()),
    }
}

/// A YAML file that is no spec, under the same rules: its value.
///
/// # Errors
/// Every problem of the file, sorted by place.
pub fn value(path: &Path, bytes: &[u8]) -> Result<serde_json::Value, Vec<Problem>> {
    let mut problems = Problems::default();
    let root = tree::parse(path, bytes, &mut problems);
    match root.and_then(|root| layer::json(&root, &mut problems)) {
        Some(value) if problems.count() == 0 => Ok(value),
        _ => Err(problems.sorted()),
    }
}

/// Keys of an item of `models`.
pub fn model_keys() -> Vec<&'static str> {
    family::MODEL_KEYS.into_iter().chain(layer::DEFAULTS_KEYS).collect()
}

/// Keys of `defaults`.
pub fn defaults_keys() -> Vec<&'static str> {
    layer::DEFAULTS_KEYS.to_vec()
}

/// Whether the file is not a family but the pins.
fn is_versions(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new(VERSIONS))
}

fn read_versions(file: Option<&File>, problems: &mut Problems) -> Option<Versions> {
    let Some((path, bytes)) = file else {
        problems.add(&Place::start(&Path::new(files::FOLDER).join(VERSIONS)), "there is no such file");
        return None;
    };
    let root = tree::parse(path, bytes, problems)?;
    versions::versions(&root, problems)
}

fn read_family((path, bytes): &File, today: Date, problems: &mut Problems) -> Option<family::Family> {
    let root = tree::parse(path, bytes, problems)?;
    family::family(path, &root, today, problems)
}

#[cfg(test)]
mod tests;
