//! How fast a model is on libtorch and in Python, as `just bench` keeps it.
//!
//! In: measurements. Out: [`Speed`], one line of `target/conformance/bench.jsonl`.

use super::machine::Host;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One model on one device, all ways measured in turns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Speed {
    pub run: String,
    /// When the measurement ended, in UTC.
    pub time: String,
    pub model: String,
    pub family: String,
    pub task: String,
    /// Digest of the entry.
    pub entry: String,
    pub device: String,
    pub engine: String,
    pub dtype: String,
    pub weights: String,
    pub host: Host,
    pub commit: Option<String>,
    pub versions: BTreeMap<String, String>,
    pub rust: Side,
    pub python: Side,
    /// By batch size, ascending; one of them at the traced batch where rows cannot be repeated.
    pub batches: Vec<Batch>,
    /// Batch sizes that one side refused, and torch.compile where it failed, each with its words.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// Loading and starting, on one side.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Side {
    /// Milliseconds to load the program (Rust) or to build the model (Python).
    pub load_ms: f64,
    pub first_ms: f64,
    /// How far the process's memory rose above where it was before the model, in MiB; none where the system does not say.
    pub peak_mib: Option<f64>,
    /// The same of the GPU's memory, as torch's allocator counts it; in Python only: tch has no call for it.
    #[serde(default)]
    pub peak_gpu_mib: Option<f64>,
}

/// Forwards at one batch size.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Batch {
    pub rows: usize,
    pub rust: Times,
    pub python: Times,
    /// Under torch.compile, where that was asked for and did not fail.
    #[serde(default)]
    pub compiled: Option<Times>,
}

/// Steady forwards.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Times {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub forwards: usize,
    /// Standard error of the rounds' medians, as a share of their median.
    pub spread: f64,
}

impl Batch {
    /// Rust's median latency as a share of Python's: below 1, Rust is faster.
    pub fn ratio(&self) -> f64 {
        self.rust.p50_ms / self.python.p50_ms
    }

    /// The same of torch.compile's median.
    pub fn ratio_to_compiled(&self) -> Option<f64> {
        self.compiled.map(|compiled| self.rust.p50_ms / compiled.p50_ms)
    }

    /// Standard error of the median, as a share, of the side that is less at rest.
    pub fn spread(&self) -> f64 {
        self.rust.spread.max(self.python.spread)
    }

    /// Rows a second at the median, in Rust.
    pub fn throughput(&self) -> f64 {
        self.rows as f64 / self.rust.p50_ms * 1e3
    }
}

impl Speed {
    /// The latency ratio at the smallest batch.
    pub fn ratio(&self) -> Option<f64> {
        self.batches.first().map(Batch::ratio)
    }
}

/// `bench.jsonl` beside the results store.
pub fn path() -> PathBuf {
    super::path().with_file_name("bench.jsonl")
}

/// The last word on each model and device.
#[must_use]
pub fn latest(mut speeds: Vec<Speed>) -> Vec<Speed> {
    speeds.sort_by(|a, b| a.time.cmp(&b.time));
    let key = |speed: &Speed| (speed.model.clone(), speed.device.clone());
    let latest: BTreeMap<_, _> = speeds.into_iter().map(|speed| (key(&speed), speed)).collect();
    latest.into_values().collect()
}
