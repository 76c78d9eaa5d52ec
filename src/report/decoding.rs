//! How fast a model decodes on libtorch and in Python, as `just bench --decode` keeps it.
//!
//! In: measurements. Out: [`DecodeSpeed`], one line of `target/conformance/decoding.jsonl`.

use super::speed::{Measurement, Times};
use crate::artifact::Format;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One model on one device and engine, its step program measured in turns with Python's `generate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DecodeSpeed {
    #[serde(flatten)]
    pub about: Measurement,
    #[serde(default = "torchscript")]
    pub engine: String,
    pub cases: Vec<DecodeCase>,
    /// Cases that one side refused, with its words.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// Greedy decoding after prompts of one length.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DecodeCase {
    /// Tokens of every prompt.
    pub prompt: usize,
    pub rows: usize,
    /// Tokens that are written after every prompt.
    pub new_tokens: usize,
    /// Prompt and new tokens by the step program, from Rust.
    pub cached: Times,
    /// Time of a step in the last quarter over that in the first one.
    pub growth: f64,
    /// The program without a cache, which reads the whole row for every token: as many as the next field says.
    pub uncached: Times,
    pub uncached_tokens: usize,
    /// Python's `generate` with its default cache, by attention.
    pub python: BTreeMap<String, Times>,
    /// Rows in which Python writes the very same tokens, under the program's attention.
    pub alike: usize,
}

/// The engine of lines that name none.
fn torchscript() -> String {
    Format::TorchScript.name().to_owned()
}

impl DecodeCase {
    /// New tokens a second, over all rows, of the step program.
    pub fn cached_rate(&self) -> f64 {
        rate(self.rows * self.new_tokens, self.cached)
    }

    /// The same without a cache.
    pub fn uncached_rate(&self) -> f64 {
        rate(self.rows * self.uncached_tokens, self.uncached)
    }

    /// The same of Python's `generate`, by attention.
    pub fn python_rates(&self) -> impl Iterator<Item = (&str, f64)> {
        self.python.iter().map(|(name, times)| (name.as_str(), rate(self.rows * self.new_tokens, *times)))
    }

    /// How many times as fast as Python under that attention the step program is.
    pub fn speedup(&self, attention: &str) -> Option<f64> {
        self.python.get(attention).map(|python| python.p50_ms / self.cached.p50_ms)
    }
}

fn rate(tokens: usize, times: Times) -> f64 {
    tokens as f64 / times.p50_ms * 1e3
}

/// `decoding.jsonl` beside the results store.
pub fn path() -> PathBuf {
    super::path().with_file_name("decoding.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_earlier_version_is_one_of_torchscript() {
        let mut line = serde_json::json!({
            "run": "r", "time": "t", "model": "m", "family": "f", "entry": "e", "device": "cpu", "width": "tiny", "threads": 1,
            "attention": "sdpa", "host": {"os": "linux", "arch": "x86_64", "processor": "p"}, "commit": "c", "versions": {},
            "cases": [], "left_out": [],
        });
        let read: DecodeSpeed = serde_json::from_str(&line.to_string()).unwrap();
        line["engine"] = "torchscript".into();
        assert_eq!(serde_json::to_value(&read).unwrap(), line);
    }

    #[test]
    fn rates_count_the_tokens_of_all_rows_and_a_speedup_compares_whole_texts() {
        let times = |p50_ms| Times { p50_ms, p95_ms: p50_ms, forwards: 5, spread: 0.0 };
        let case = DecodeCase {
            prompt: 32,
            rows: 8,
            new_tokens: 64,
            cached: times(100.0),
            growth: 1.0,
            uncached: times(50.0),
            uncached_tokens: 4,
            python: BTreeMap::from([("sdpa".to_owned(), times(250.0))]),
            alike: 8,
        };
        assert_eq!((case.cached_rate(), case.uncached_rate()), (5120.0, 640.0));
        assert_eq!(case.python_rates().collect::<Vec<_>>(), [("sdpa", 2048.0)]);
        assert_eq!((case.speedup("sdpa"), case.speedup("eager")), (Some(2.5), None));
    }
}
