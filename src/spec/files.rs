//! The spec's files.
//!
//! In: the project's root. Out: every `spec/*.yaml` with its path (relative, as messages show it) and bytes.

use super::entry::Place;
use super::problem::Problem;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Folder of the spec files, below the project's root.
pub(super) const FOLDER: &str = "spec";

/// Reads the files, sorted by name.
pub(super) fn read(root: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Problem> {
    let mut files = Vec::new();
    for path in paths(root).map_err(|error| unreadable(Path::new(FOLDER), &error))? {
        match path.extension().and_then(OsStr::to_str) {
            Some("yaml") => {
                let bytes = fs::read(root.join(&path)).map_err(|error| unreadable(&path, &error))?;
                files.push((path, bytes));
            }
            Some("yml") => return Err(problem(&path, "spec files end in .yaml: rename this one".to_owned())),
            _ => {}
        }
    }
    Ok(files)
}

fn paths(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(root.join(FOLDER))?
        .map(|item| Ok(PathBuf::from(format!("{FOLDER}/{}", item?.file_name().to_string_lossy()))))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    problem(path, format!("cannot be read: {error}"))
}

fn problem(path: &Path, message: String) -> Problem {
    Problem { place: Place::start(path), message, also: None }
}
