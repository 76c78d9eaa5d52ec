//! The results store: one JSON object a line, one line per model and check.
//!
//! In: outcomes, as tests finish. Out: `target/conformance/results.jsonl`. A line is appended in a single
//! write, so that concurrent tests do not mix and a killed run loses nothing that was already written.

use super::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// `HF_CONFORMANCE_RESULTS`, or `target/conformance/results.jsonl`.
pub fn path() -> PathBuf {
    let default = || PathBuf::from("target/conformance/results.jsonl");
    std::env::var_os("HF_CONFORMANCE_RESULTS").map_or_else(default, PathBuf::from)
}

/// Adds a line to the store.
///
/// # Errors
/// The file cannot be written.
pub fn append(record: &Record) -> io::Result<()> {
    append_to(&path(), record)
}

/// Adds a line to the file at `path`, in a single write.
///
/// # Errors
/// The file cannot be written.
pub fn append_to<T: Serialize>(path: &Path, line_of: &T) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut line = Vec::new();
    if is_torn(&mut file)? {
        line.push(b'\n');
    }
    serde_json::to_writer(&mut line, line_of)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// Whether the last line has no end: a run was killed while it wrote.
fn is_torn(file: &mut fs::File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// How long the store is, in bytes: a place to [`read_since`].
pub fn end() -> u64 {
    fs::metadata(path()).map_or(0, |file| file.len())
}

/// What a file of lines holds.
#[derive(Clone, Debug)]
pub struct Lines<T> {
    /// Oldest first.
    pub read: Vec<T>,
    /// Lines that say nothing: torn, since a run was killed while it wrote, or of another version of this project.
    pub unreadable: usize,
}

/// The records written behind a place in the store, oldest first; unreadable lines are left out.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read_since(place: u64) -> io::Result<Vec<Record>> {
    lines_since(&path(), place).map(|lines| lines.read)
}

/// Everything in the file at `path`; nothing when there is no such file.
///
/// # Errors
/// The file is there and cannot be read.
pub fn lines<T: DeserializeOwned>(path: &Path) -> io::Result<Lines<T>> {
    lines_since(path, 0)
}

fn lines_since<T: DeserializeOwned>(path: &Path, place: u64) -> io::Result<Lines<T>> {
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(mut file) => {
            file.seek(SeekFrom::Start(place))?;
            file.read_to_end(&mut bytes)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut lines = Lines { read: Vec::new(), unreadable: 0 };
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(read) => lines.read.push(read),
            Err(_) => lines.unreadable += 1,
        }
    }
    Ok(lines)
}

/// The records of several files, oldest first. The same run, model, check and device count once, with the last word
/// on them: a file that was copied, or merged before, adds nothing.
#[must_use]
pub fn merged(records: impl IntoIterator<Item = Record>) -> Vec<Record> {
    let key = |record: &Record| {
        (record.run.clone(), record.model.clone(), record.check.clone(), record.device.clone())
    };
    let mut latest: BTreeMap<_, Record> = BTreeMap::new();
    for record in records {
        match latest.entry(key(&record)) {
            std::collections::btree_map::Entry::Occupied(kept) if kept.get().time > record.time => {}
            std::collections::btree_map::Entry::Occupied(mut kept) => drop(kept.insert(record)),
            std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(record)),
        }
    }
    let mut records: Vec<Record> = latest.into_values().collect();
    records.sort_by(|a, b| a.time.cmp(&b.time));
    records
}

/// The last word on each model and check that a real engine spoke.
pub fn last_by_check(records: &[Record]) -> BTreeMap<(&str, &str), &Record> {
    let real = records.iter().filter(|record| record.is_real());
    real.map(|record| ((record.model.as_str(), record.check.as_str()), record)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_loses_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        // SAFETY: no other test reads this variable.
        unsafe { std::env::set_var("HF_CONFORMANCE_RESULTS", folder.path().join("deep/results.jsonl")) };
        let record = |check: &str| Record::sample("m", check);
        append(&record("loads")).unwrap();
        let place = end();
        append(&record("half")).unwrap();
        OpenOptions::new().append(true).open(path()).unwrap().write_all(b"{\"run\": \"1\", \"ti").unwrap();
        let checks = |place| -> Vec<String> {
            read_since(place).unwrap().into_iter().map(|record| record.check).collect()
        };
        assert_eq!(checks(0), ["loads", "half"]);
        assert_eq!(checks(place), ["half"]);
        append(&record("causal")).unwrap();
        assert_eq!(checks(place), ["half", "causal"]);
    }

    #[test]
    fn unreadable_lines_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        append_to(&path, &Record::sample("m", "loads")).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"run\": \"1\", \"ti").unwrap();
        let lines = lines::<Record>(&path).unwrap();
        assert_eq!((lines.read.len(), lines.unreadable), (1, 1));
        assert_eq!(super::lines::<Record>(&folder.path().join("none")).unwrap().read.len(), 0);
    }

    #[test]
    fn files_that_overlap_count_once_and_other_devices_count_too() {
        let at = |time: &str, status: &str| Record {
            time: time.to_owned(),
            status: status.to_owned(),
            ..Record::sample("m", "loads")
        };
        let gpu = Record { device: Some("cuda:0".to_owned()), ..at("3", "passed") };
        let merged = merged([at("2", "failed"), gpu, at("1", "passed"), at("2", "failed")]);
        let found: Vec<_> = merged.iter().map(|record| (&*record.time, &*record.status)).collect();
        assert_eq!(found, [("2", "failed"), ("3", "passed")]);
    }
}
