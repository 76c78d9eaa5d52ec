//! One process at a time makes a folder: two at once would make everything twice, or half.
//!
//! In: a file to lock. Out: a [`Turn`], after whoever has it now. The lock ends with its process, however that ends.

use crate::process::interrupted;
use std::fs::{File, TryLockError};
use std::io::{Error, ErrorKind, Read, Result, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// How often a lock is tried: waiting for it must end with an interrupt.
const AGAIN: Duration = Duration::from_millis(200);

/// The right to make what a file stands for, until it is dropped.
#[derive(Debug)]
pub struct Turn(File);

impl Turn {
    /// The next turn, with this process named in the file; `waits` hears whom it waits for.
    ///
    /// # Errors
    /// The file or its folder cannot be written, or somebody interrupted the waiting.
    pub fn next(path: &Path, waits: &dyn Fn(&str)) -> Result<Self> {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if is_taken(&file)? {
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            waits(holder.trim());
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
        Ok(Self(file))
    }

    /// The same turn, which what this process starts has, too: programs that cannot know that it was killed go on.
    ///
    /// # Errors
    /// The system refuses.
    pub fn with_children(self) -> Result<Self> {
        #[cfg(unix)]
        rustix::io::fcntl_setfd(&self.0, rustix::io::FdFlags::empty())?;
        Ok(self)
    }
}

/// Whether another process has it; if not, this one has it now.
fn is_taken(file: &File) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_says_whom_it_waits_for_and_then_has_its_turn() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["made", "other"].map(|name| folder.path().join(name));
        let (waits, heard) = std::sync::mpsc::channel();
        let hear = move |holder: &str| waits.send(holder.to_owned()).unwrap();
        let first = Turn::next(&path, &hear).unwrap();
        Turn::next(&other, &hear).unwrap();
        assert!(heard.try_recv().is_err(), "nobody has waited yet");
        let second = std::thread::spawn(move || Turn::next(&path, &hear).map(drop));
        let holder = heard.recv().unwrap();
        assert!(holder.starts_with(&format!("process {} (", std::process::id())), "{holder}");
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap().unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_turn_with_children_lasts_as_long_as_they_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made");
        let turn = Turn::next(&path, &|_| ()).unwrap().with_children().unwrap();
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        drop(turn);
        let (waits, heard) = std::sync::mpsc::channel();
        let second = std::thread::spawn(move || {
            Turn::next(&path, &|holder| waits.send(holder.to_owned()).unwrap()).map(drop)
        });
        heard.recv().unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        second.join().unwrap().unwrap();
    }
}
