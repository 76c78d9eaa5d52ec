//! Brings a folder into the state of a plan: the only place of code generation that touches files.

use super::Plan;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A generated file that could not be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct SyncError {
    path: PathBuf,
    source: io::Error,
}

/// Makes `folder` hold exactly the files of `plan`: writes those that differ, removes all others.
///
/// Files keep their time stamp when their text is right, so that nothing is compiled again in vain.
pub fn sync(plan: &Plan, folder: &Path) -> Result<(), SyncError> {
    // Cargo reruns the build script for anything under generated/ newer than the script's own start;
    // what the script itself writes is dated before that, or the next build would run it once more.
    let started = SystemTime::now() - std::time::Duration::from_secs(1);
    for stale in files_below(folder)?.into_iter().filter(|path| !plan.contains_key(path)) {
        let path = folder.join(stale);
        fs::remove_file(&path).or_else(at(&path))?;
        date(path.parent().expect("a file has a folder"), started)?;
    }
    for (relative, text) in plan {
        let path = folder.join(relative);
        if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            continue;
        }
        let parent = path.parent().expect("a plan's path has a file name");
        fs::create_dir_all(parent).or_else(at(parent))?;
        fs::write(&path, text).or_else(at(&path))?;
        for written in [path.as_path(), parent, folder] {
            date(written, started)?;
        }
    }
    remove_empty_folders(folder, started)
}

/// Paths of all files below `folder`, relative to it; none when it does not exist.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, SyncError> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let path = folder.join(&below);
        if !path.exists() {
            continue;
        }
        for item in fs::read_dir(&path).or_else(at(&path))? {
            let item = item.or_else(at(&path))?;
            let relative = below.join(item.file_name());
            if item.file_type().or_else(at(&path))?.is_dir() {
                open.push(relative);
            } else {
                found.push(relative);
            }
        }
    }
    Ok(found)
}

/// A family without entries leaves no folder behind.
fn remove_empty_folders(folder: &Path, dated: SystemTime) -> Result<(), SyncError> {
    for item in fs::read_dir(folder).or_else(at(folder))? {
        let path = item.or_else(at(folder))?.path();
        if path.is_dir() && fs::read_dir(&path).or_else(at(&path))?.next().is_none() {
            fs::remove_dir(&path).or_else(at(&path))?;
            date(folder, dated)?;
        }
    }
    Ok(())
}

fn date(path: &Path, time: SystemTime) -> Result<(), SyncError> {
    fs::File::open(path).and_then(|file| file.set_modified(time)).or_else(at(path))
}

/// Names the file in an I/O error.
fn at<T>(path: &Path) -> impl FnOnce(io::Error) -> Result<T, SyncError> {
    let path = path.to_owned();
    move |source| Err(SyncError { path, source })
}
