//! The results store: one JSON object a line, one line per model and check.
//!
//! In: outcomes, as tests finish. Out: `target/conformance/results.jsonl`. A line is appended in a single
//! write, so that concurrent tests do not mix and a killed run loses nothing that was already written.

use crate::check::{Measure, rule};
use crate::engine::Device;
use crate::failure::Stage;
use crate::model::Card;
use crate::spec::Check;
use crate::task::Contract;
use crate::verdict::Outcome;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

/// One line of the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Identifies the run; `HF_CONFORMANCE_RUN`, or the process's own number.
    pub run: String,
    /// When the check ended, in UTC.
    pub time: String,
    pub model: String,
    pub family: String,
    pub task: String,
    pub class: String,
    pub check: String,
    /// Digest of the entry: an outcome of an older entry proves nothing about this one.
    pub entry: String,
    /// `cpu`, `cuda:0`, `mps`; none for the mock engine.
    pub device: Option<String>,
    /// `libtorch` or `mock`.
    pub engine: String,
    /// `passed`, `failed`, `skipped`, `not-run` or `mock`.
    pub status: String,
    /// Where it failed.
    pub stage: Option<Stage>,
    /// Why it failed, was skipped or was not run: one line.
    pub reason: Option<String>,
    /// Further lines on a failure.
    #[serde(default)]
    pub details: Vec<String>,
    pub seconds: f64,
    #[serde(default)]
    pub metrics: Vec<Metric>,
}

/// How an output agreed with its reference.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metric {
    pub situation: String,
    pub output: String,
    pub error: f64,
    pub eager_error: f64,
    pub limit: f64,
    /// rms of the reference.
    pub scale: f64,
    pub max_abs: f64,
    pub relative_l2: f64,
    pub cosine: f64,
}

impl Metric {
    /// Whether the rule would hold with the factor that every precision has by itself.
    pub fn holds_without_debt(&self) -> bool {
        self.error <= rule::K * self.eager_error + rule::FLOOR * self.scale
    }
}

impl Record {
    /// The line for one outcome.
    pub fn new(
        card: &Card,
        contract: &Contract,
        check: Check,
        device: Option<Device>,
        outcome: &Outcome,
        measures: &[Measure],
        took: Duration,
    ) -> Self {
        let (status, stage, reason, details) = match outcome {
            Outcome::Passed => ("passed", None, None, Vec::new()),
            Outcome::Mock => ("mock", None, None, Vec::new()),
            Outcome::Failed(failure) => {
                ("failed", Some(failure.stage), Some(failure.message.clone()), failure.details.clone())
            }
            Outcome::Skipped { reason } => ("skipped", None, Some(reason.clone()), Vec::new()),
            Outcome::NotRun { reason } => ("not-run", None, Some(reason.clone()), Vec::new()),
        };
        Self {
            run: run(),
            time: jiff::Timestamp::now().to_string(),
            model: card.name.to_owned(),
            family: card.family.to_owned(),
            task: contract.name.to_owned(),
            class: card.class.to_owned(),
            check: check.name().to_owned(),
            entry: card.digest.to_owned(),
            device: device.map(|device| device.to_string()),
            engine: crate::engine::real().map_or("mock", |engine| engine.name()).to_owned(),
            status: status.to_owned(),
            stage,
            reason,
            details,
            seconds: took.as_secs_f64(),
            metrics: measures.iter().map(Metric::from).collect(),
        }
    }
}

impl From<&Measure> for Metric {
    fn from(measure: &Measure) -> Self {
        let agreement = &measure.agreement;
        Self {
            situation: measure.situation.clone(),
            output: measure.output.clone(),
            error: agreement.error,
            eager_error: agreement.eager_error,
            limit: agreement.limit,
            scale: agreement.scale,
            max_abs: agreement.max_abs,
            relative_l2: agreement.relative_l2,
            cosine: agreement.cosine,
        }
    }
}

fn run() -> String {
    std::env::var("HF_CONFORMANCE_RUN").unwrap_or_else(|_| format!("process-{}", std::process::id()))
}

/// `HF_CONFORMANCE_RESULTS`, or `target/conformance/results.jsonl`.
pub fn path() -> PathBuf {
    let default = || PathBuf::from("target/conformance/results.jsonl");
    std::env::var_os("HF_CONFORMANCE_RESULTS").map_or_else(default, PathBuf::from)
}

/// Adds a line to the store.
pub fn append(record: &Record) -> io::Result<()> {
    let path = path();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut line = Vec::new();
    if is_torn(&mut file)? {
        line.push(b'\n');
    }
    serde_json::to_writer(&mut line, record)?;
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

/// The records written behind a place in the store, oldest first. A torn line (a run was killed while it wrote) and
/// a line of another version of this project are left out.
pub fn read_since(place: u64) -> io::Result<Vec<Record>> {
    let mut bytes = Vec::new();
    match fs::File::open(path()) {
        Ok(mut file) => {
            file.seek(SeekFrom::Start(place))?;
            file.read_to_end(&mut bytes)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_loses_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        // SAFETY: no other test reads this variable.
        unsafe { std::env::set_var("HF_CONFORMANCE_RESULTS", folder.path().join("deep/results.jsonl")) };
        let record = |check: &str| -> Record {
            serde_json::from_value(serde_json::json!({
                "run": "1", "time": "", "model": "m", "family": "f", "task": "t", "class": "C", "check": check,
                "entry": "0", "device": null, "engine": "mock", "status": "mock", "stage": null, "reason": null,
                "seconds": 0.0,
            }))
            .unwrap()
        };
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
}
