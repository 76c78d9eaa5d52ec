//! The results store: one JSON object a line, one line per model and check.
//!
//! In: outcomes, as tests finish. Out: `target/conformance/results.jsonl`. A line is appended in a single
//! write, so that concurrent tests do not mix and a killed run loses nothing that was already written.

use crate::check::Measure;
use crate::engine::Device;
use crate::failure::Stage;
use crate::model::Card;
use crate::spec::Check;
use crate::task::Contract;
use crate::verdict::Outcome;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
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
    pub max_abs: f64,
    pub relative_l2: f64,
    pub cosine: f64,
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
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    OpenOptions::new().create(true).append(true).open(path)?.write_all(&line)
}

/// The records of one run, in the order in which they ended; a torn line is left out.
pub fn read(run: &str) -> io::Result<Vec<Record>> {
    Ok(all()?.into_iter().filter(|record| record.run == run).collect())
}

/// The records of every run, in the order in which they ended; a torn line is left out.
pub fn all() -> io::Result<Vec<Record>> {
    let text = match fs::read(path()) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The last outcome of a model's check on libtorch: mock results never count.
pub fn last<'a>(records: &'a [Record], model: &str, check: Check) -> Option<&'a Record> {
    let meant = |record: &&Record| record.model == model && record.check == check.name();
    records.iter().rev().find(|record| meant(record) && record.status != "mock")
}
