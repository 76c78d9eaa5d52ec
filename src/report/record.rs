//! One outcome of one check on one model, as the results store keeps it.
//!
//! In: an outcome, its measures and the manifest of the artifact that was used. Out: [`Record`]. What does not change
//! while a process runs (host, commit) is found out once per process, so that no test waits for it.

use super::machine::{self, Host};
use crate::artifact::{Format, Lane, Manifest};
use crate::failure::Stage;
use crate::model::ModelSpec;
use crate::numerics::Measure;
use crate::numerics::rule::nan_max;
use crate::spec::Check;
use crate::task::Contract;
use crate::verdict::{Outcome, Status};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

/// What the engine is called that runs no model.
const MOCK: &str = "mock";

/// An engine's name; TorchScript's was `libtorch` while it was the only one.
fn engine<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    Ok(if name == "libtorch" { Format::TorchScript.name().to_owned() } else { name })
}

/// One line of the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Identifies the run, see [`run`].
    pub run: String,
    /// When the check ended, in UTC.
    pub time: String,
    pub model: String,
    pub family: String,
    pub task: String,
    pub class: String,
    /// transformers' `model_type`, as the artifact says; none where there is no artifact.
    #[serde(default)]
    pub architecture: Option<String>,
    pub check: String,
    /// Digest of the entry: an outcome of an older entry proves nothing about this one.
    pub entry: String,
    /// `cpu`, `cuda:0`, `mps`; none for the mock engine.
    pub device: Option<String>,
    /// `torchscript`, `pt2`, `aot` or `mock`.
    #[serde(deserialize_with = "engine")]
    pub engine: String,
    /// Element type of the program: `float32`, `bfloat16`.
    #[serde(default)]
    pub dtype: String,
    /// `random`, or `checkpoint`.
    #[serde(default)]
    pub weights: String,
    pub status: Status,
    /// Where it failed, or what stopped it.
    pub stage: Option<Stage>,
    /// Why it failed or was not run: one line.
    pub reason: Option<String>,
    /// Further lines on a failure.
    #[serde(default)]
    pub details: Vec<String>,
    pub seconds: f64,
    /// What was compared with eager Python, also where that failed.
    #[serde(default)]
    pub metrics: Vec<Measure>,
    /// The attention of the program that ran, `sdpa` or `eager`; none of lines from before they said so.
    #[serde(default)]
    pub attention: Option<String>,
    /// What the artifact was exported with: Python, torch and the class's package.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    #[serde(default)]
    pub host: Host,
    /// The project's commit, `-dirty` where the working tree differs from it.
    #[serde(default)]
    pub commit: Option<String>,
}

/// What an outcome is about.
#[derive(Clone, Copy)]
pub struct About<'a> {
    pub model: &'a ModelSpec<'a>,
    pub contract: &'a Contract,
    pub check: Check,
    /// The engine's name; none for the mock engine.
    pub lane: Option<Lane>,
    /// Of the artifact that was used; none where it could not be opened.
    pub manifest: Option<&'a Manifest>,
}

impl Record {
    /// The line for one outcome, found by measures that took so long.
    pub fn new(about: &About, outcome: &Outcome, measures: &[Measure], took: Duration) -> Self {
        let About { model, contract, check, lane, manifest } = *about;
        let device = lane.map(|lane| lane.device);
        let failure = outcome.failure();
        Self {
            run: run().to_owned(),
            time: jiff::Timestamp::now().to_string(),
            model: model.name.to_owned(),
            family: model.family.to_owned(),
            task: contract.name.to_owned(),
            class: model.class.to_owned(),
            architecture: manifest.and_then(|manifest| manifest.model_type.clone()),
            check: check.name().to_owned(),
            entry: model.digest.to_owned(),
            device: device.map(|device| device.to_string()),
            engine: lane.map_or(MOCK, |lane| lane.format.name()).to_owned(),
            dtype: check.dtype(lane.unwrap_or_default().half).name().to_owned(),
            weights: manifest.map(|manifest| manifest.weights.clone()).unwrap_or_default(),
            status: outcome.status(),
            stage: failure.map(|failure| failure.stage),
            reason: failure.map(|failure| failure.message.clone()),
            details: failure.map(|failure| failure.details.clone()).unwrap_or_default(),
            seconds: took.as_secs_f64(),
            metrics: measures.to_vec(),
            attention: manifest.and_then(|manifest| manifest.attention.first().cloned()),
            versions: manifest.map(|manifest| manifest.versions.clone()).unwrap_or_default(),
            host: Host::of(device),
            commit: machine::commit().map(str::to_owned),
        }
    }

    /// The largest share of the allowed error that any output took; none where nothing was compared.
    pub fn share(&self) -> Option<f64> {
        self.metrics.iter().map(|metric| metric.agreement.share()).reduce(nan_max)
    }

    /// Whether a model ran: the mock engine proves nothing.
    pub fn is_real(&self) -> bool {
        self.engine != MOCK
    }

    /// A record for tests: passed, on the CPU.
    #[cfg(test)]
    pub(crate) fn sample(model: &str, check: &str) -> Self {
        serde_json::from_value(serde_json::json!({
            "run": "1", "time": "", "model": model, "family": "text", "task": "fill-mask", "class": "A",
            "check": check, "entry": "0", "device": "cpu", "engine": "torchscript", "dtype": "float32",
            "status": "passed", "stage": null, "reason": null, "seconds": 0.0,
        }))
        .unwrap()
    }
}

/// The variable by which a process tells its children what run they are of.
pub const RUN: &str = "HF_CONFORMANCE_RUN";

/// What all results of this process are filed under: `HF_CONFORMANCE_RUN`, where another process began the run, else its
/// first millisecond and the process's number, so that no two runs share it when their files are merged.
pub fn run() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    let own = || format!("{}-{}", jiff::Timestamp::now().as_millisecond(), std::process::id());
    ID.get_or_init(|| std::env::var(RUN).unwrap_or_else(|_| own()))
}
