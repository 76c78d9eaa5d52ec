//! What a process is doing: which checks have begun, and which of them are over.
//!
//! In: marks, one before and one after each check. Out: a [`Journal`], for the process that watches: one that crashes
//! says nothing any more, so everything must have been said before. The file is named by `HF_CONFORMANCE_JOURNAL`; where
//! that is not set nobody watches.

use super::{RUN, run};
use crate::process::Process;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const VARIABLE: &str = "HF_CONFORMANCE_JOURNAL";

/// A check of a model, by their names.
pub type Item = (String, String);

/// Says that a check begins, until this is dropped.
#[must_use]
pub struct Begun<'a> {
    model: &'a str,
    check: &'a str,
}

/// A check of a model begins in this process.
pub fn begin<'a>(model: &'a str, check: &'a str) -> Begun<'a> {
    mark('+', model, check);
    Begun { model, check }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        mark('-', self.model, self.check);
    }
}

/// One write a line, so that those of several threads do not mix.
fn mark(sign: char, model: &str, check: &str) {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let path = std::env::var_os(VARIABLE)?;
        OpenOptions::new().append(true).open(path).ok()
    });
    if let Some(mut file) = file.as_ref() {
        // Whoever watches learns less; what is being checked is no worse for it.
        let _ = file.write_all(format!("{sign}\t{model}\t{check}\n").as_bytes());
    }
}

/// What one child says of itself.
pub struct Journal {
    file: tempfile::NamedTempFile,
    reader: File,
    /// A line that has no end yet.
    rest: Vec<u8>,
    /// What has begun and is not over, since when.
    pub running: BTreeMap<Item, Instant>,
    /// What is over, and how long it took; in no order.
    pub over: BTreeMap<Item, Duration>,
    /// When the child last said something.
    pub heard: Instant,
}

impl Journal {
    /// An empty one.
    ///
    /// # Errors
    /// There is no room for temporary files.
    pub fn new() -> io::Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        let reader = file.reopen()?;
        let (running, over) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { file, reader, rest: Vec::new(), running, over, heard: Instant::now() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Starts a child that keeps it, prints to pipes, and is of this run; `request` is what it reads.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self, command: &mut Command, request: &impl Serialize) -> io::Result<Process> {
        command.env(RUN, run()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Process::spawn(self.of(command))?;
        if let Some(mut stdin) = child.stdin() {
            // What a child that died said of itself is told by whoever watches it.
            let _ = stdin.write_all(&serde_json::to_vec(request)?);
        }
        Ok(child)
    }

    /// Has a child keep it.
    pub fn of<'c>(&self, child: &'c mut Command) -> &'c mut Command {
        child.env(VARIABLE, self.path())
    }

    /// Takes in what was said since the last time.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&mut self) -> io::Result<()> {
        self.reader.read_to_end(&mut self.rest)?;
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines: Vec<u8> = self.rest.drain(..end).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            self.line(line);
        }
        Ok(())
    }

    fn line(&mut self, line: &str) {
        let [sign, model, check] = line.split('\t').collect::<Vec<_>>()[..] else { return };
        let item = (model.to_owned(), check.to_owned());
        self.heard = Instant::now();
        match sign {
            "+" => drop(self.running.insert(item, self.heard)),
            _ => {
                let begun = self.running.remove(&item).unwrap_or(self.heard);
                self.over.insert(item, begun.elapsed());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_begun_runs_until_it_is_over_and_half_a_line_says_nothing() {
        let mut journal = Journal::new().unwrap();
        let mut write = OpenOptions::new().append(true).open(journal.path()).unwrap();
        write.write_all(b"+\tbert\tloads\n+\tt5\thalf\n-\tbert\tloads\n+\tbe").unwrap();
        journal.read().unwrap();
        let item = |model: &str, check: &str| (model.to_owned(), check.to_owned());
        assert_eq!(Vec::from_iter(journal.running.keys().cloned()), [item("t5", "half")]);
        assert_eq!(Vec::from_iter(journal.over.keys().cloned()), [item("bert", "loads")]);
        write.write_all(b"rt\thalf\n").unwrap();
        journal.read().unwrap();
        assert_eq!(journal.running.len(), 2);
    }
}
