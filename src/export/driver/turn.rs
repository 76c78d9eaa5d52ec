//! One export at a time into a folder of artifacts: two at once would make everything twice.
//!
//! In: the folder. Out: a [`Turn`], after whoever has it now. The lock ends with its process, however that ends.

use super::Progress;
use crate::failure::{At, Failure, Stage};
use crate::process::interrupted;
use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Read, Result, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// The file that is locked, in the folder of artifacts; it names whoever has the turn.
const FILE: &str = ".exporting";
/// How often a lock is tried: waiting for it must end with an interrupt.
const AGAIN: Duration = Duration::from_millis(200);

/// The right to export into a folder, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: File,
}

impl Turn {
    /// The next turn; `progress` hears whom it waits for.
    ///
    /// # Errors
    /// Stage `export`: the folder cannot be written, or somebody interrupted the waiting.
    pub fn next(root: &Path, progress: &dyn Progress) -> std::result::Result<Self, Failure> {
        let lock = std::fs::create_dir_all(root).and_then(|()| locked(&root.join(FILE), progress));
        lock.map(|lock| Self { _lock: lock }).at(Stage::Export, root.join(FILE).display())
    }
}

/// The file, once nobody else has locked it, with this process's name in it.
fn locked(path: &Path, progress: &dyn Progress) -> Result<File> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    if is_taken(&file)? {
        let mut holder = String::new();
        file.read_to_string(&mut holder)?;
        progress.waits(holder.trim());
        while is_taken(&file)? {
            if interrupted().is_some() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            std::thread::sleep(AGAIN);
        }
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    file.rewind()?;
    file.set_len(0)?;
    writeln!(file, "process {} ({})", std::process::id(), words.join(" "))?;
    Ok(file)
}

/// Whether another process has it; if not, this one has it now.
fn is_taken(file: &File) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
