//! The results store: one JSON object a line, one line per model and check.
//!
//! In: outcomes, as tests finish. Out: `target/conformance/results.jsonl`. A line is appended in a single
//! write, so that concurrent tests do not mix and a killed run loses nothing that was already written. Every line
//! begins with the number of its format.

use super::Record;
use flate2::read::MultiGzDecoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The format of lines written now. It grows when a reader of older lines would misunderstand newer ones; what lines
/// only have more of is optional to readers. Lines from before formats had numbers are of format 0.
pub const FORMAT: u32 = 1;

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
    let begin = if is_torn(&mut file)? { "\n" } else { "" };
    file.write_all(format!("{begin}{}\n", line(line_of)?).as_bytes())
}

/// A line as it stands in the file, without its end.
///
/// # Errors
/// The value is no JSON object.
pub fn line<T: Serialize>(of: &T) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Line<'a, T> {
        format: u32,
        #[serde(flatten)]
        of: &'a T,
    }
    serde_json::to_string(&Line { format: FORMAT, of })
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

/// How long the file at `path` is, in bytes: a place to [`read_since`].
pub fn end(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// What a file of lines holds.
#[derive(Clone, Debug)]
pub struct Lines<T> {
    /// Oldest first.
    pub read: Vec<T>,
    /// Lines that say nothing here, by the reason.
    pub left_out: BTreeMap<Unreadable, usize>,
}

/// Why a line says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreadable {
    /// It ends in the middle: a run was killed while it wrote.
    Torn,
    /// It is of that older format, and lacks what this build needs to know.
    Older(u32),
    /// It is of that newer format.
    Newer(u32),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn => f.write_str("torn (a run was killed while it wrote)"),
            Self::Older(0) => f.write_str("from before lines had a format (run the checks again)"),
            Self::Older(format) => {
                write!(f, "of format {format}, this build reads {FORMAT} (run the checks again)")
            }
            Self::Newer(format) => {
                write!(f, "of format {format}, this build reads {FORMAT} (use a newer build)")
            }
        }
    }
}

impl<T> Lines<T> {
    /// `lines left out: 378 from before lines had a format (…)`, a clause a reason; none where every line was read.
    pub fn complaint(&self) -> Option<String> {
        let clauses = self.left_out.iter().map(|(why, count)| format!("{count} {why}"));
        (!self.left_out.is_empty()).then(|| format!("lines left out: {}", Vec::from_iter(clauses).join(", ")))
    }
}

/// The records written behind a place in the file at `path`, oldest first; unreadable lines are left out.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read_since(path: &Path, place: u64) -> io::Result<Vec<Record>> {
    lines_since(path, place).map(|lines| lines.read)
}

/// Everything in the file at `path`, packed where its name ends in `.gz`; nothing when there is no such file.
///
/// # Errors
/// The file is there and cannot be read.
pub fn lines<T: DeserializeOwned>(path: &Path) -> io::Result<Lines<T>> {
    lines_since(path, 0)
}

/// What was written behind a place in such a file.
///
/// # Errors
/// As [`lines`].
pub fn lines_since<T: DeserializeOwned>(path: &Path, place: u64) -> io::Result<Lines<T>> {
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(mut file) => {
            file.seek(SeekFrom::Start(place))?;
            match path.extension().is_some_and(|extension| extension == "gz") {
                true => MultiGzDecoder::new(file).read_to_end(&mut bytes)?,
                false => file.read_to_end(&mut bytes)?,
            };
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(lines_in(&bytes))
}

/// What lines hold.
pub(crate) fn lines_in<T: DeserializeOwned>(bytes: &[u8]) -> Lines<T> {
    let mut lines = Lines { read: Vec::new(), left_out: BTreeMap::new() };
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match parse(line) {
            Ok(read) => lines.read.push(read),
            Err(why) => *lines.left_out.entry(why).or_default() += 1,
        }
    }
    lines
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, Unreadable> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        format: u32,
    }
    let Head { format } = serde_json::from_slice(line).map_err(|_| Unreadable::Torn)?;
    match format > FORMAT {
        true => Err(Unreadable::Newer(format)),
        false => serde_json::from_slice(line).map_err(|_| Unreadable::Older(format)),
    }
}

/// The records of several files, oldest first. The same run, model, check, engine and device count once, with the last
/// word on them: a file that was copied, or merged before, adds nothing.
#[must_use]
pub fn merged(records: impl IntoIterator<Item = Record>) -> Vec<Record> {
    let key = |record: &Record| {
        let Record { run, model, check, engine, device, .. } = record.clone();
        (run, model, check, engine, device)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Status;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    #[test]
    fn a_packed_file_is_read_as_the_file_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl.gz");
        let mut packed = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::fast());
        writeln!(packed, "{}", line(&Record::sample("m", "loads")).unwrap()).unwrap();
        packed.finish().unwrap();
        assert_eq!(lines::<Record>(&path).unwrap().read.len(), 1);
        fs::write(&path, "no gzip").unwrap();
        assert!(lines::<Record>(&path).is_err());
    }

    #[test]
    fn a_torn_last_line_loses_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/results.jsonl");
        let append = |check: &str| append_to(&path, &Record::sample("m", check));
        append("loads").unwrap();
        let place = end(&path);
        append("half").unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"run\": \"1\", \"ti").unwrap();
        let checks = |place| -> Vec<String> {
            read_since(&path, place).unwrap().into_iter().map(|record| record.check).collect()
        };
        assert_eq!(checks(0), ["loads", "half"]);
        assert_eq!(checks(place), ["half"]);
        append("causal").unwrap();
        assert_eq!(checks(place), ["half", "causal"]);
    }

    #[test]
    fn unreadable_lines_are_counted_by_their_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let record = line(&Record::sample("m", "loads")).unwrap();
        let older = "{\"run\": \"1\", \"status\": \"passed\"}";
        let newer = record.replacen("1", "7", 1);
        std::fs::write(&path, [record.as_str(), older, older, &newer, &record[..40]].join("\n")).unwrap();
        let lines = lines::<Record>(&path).unwrap();
        assert_eq!(lines.read.len(), 1);
        assert_eq!(
            lines.complaint().unwrap(),
            "lines left out: 1 torn (a run was killed while it wrote), 2 from before lines had a format (run the \
             checks again), 1 of format 7, this build reads 1 (use a newer build)"
        );
        assert_eq!(super::lines::<Record>(&folder.path().join("none")).unwrap().complaint(), None);
    }

    #[test]
    fn many_writers_at_once_lose_and_mix_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        // Longer than a page, so that a line written in parts would be torn apart.
        let long = |writer: usize| Record {
            details: vec![writer.to_string().repeat(9000)],
            ..Record::sample(&writer.to_string(), "loads")
        };
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || (0..100).for_each(|_| append_to(path, &long(writer)).unwrap()));
            }
        });
        let lines = lines::<Record>(&path).unwrap();
        assert_eq!((lines.read.len(), lines.complaint()), (800, None));
        assert!(
            lines.read.iter().all(|record| record.details == long(record.model.parse().unwrap()).details)
        );
    }

    #[test]
    fn files_that_overlap_count_once_and_other_devices_count_too() {
        let at =
            |time: &str, status| Record { time: time.to_owned(), status, ..Record::sample("m", "loads") };
        let gpu = Record { device: Some("cuda:0".to_owned()), ..at("3", Status::Passed) };
        let merged = merged([at("2", Status::Failed), gpu, at("1", Status::Passed), at("2", Status::Failed)]);
        let found: Vec<_> = merged.iter().map(|record| (&*record.time, record.status)).collect();
        assert_eq!(found, [("2", Status::Failed), ("3", Status::Passed)]);
    }
}
