//! How fast a model is on libtorch and in Python, as `just bench` keeps it.
//!
//! In: measurements. Out: [`Speed`], one line of `target/conformance/bench.jsonl`, and over many of them a [`Mean`].

use super::machine::Host;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What was measured, where and when: what every line of measurements begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    pub run: String,
    /// When the measurement ended, in UTC.
    pub time: String,
    pub model: String,
    pub family: String,
    /// Digest of the entry at that width.
    pub entry: String,
    pub device: String,
    /// How large the model is: `tiny` or `realistic`.
    pub width: String,
    /// Threads that share an operator, on both sides.
    pub threads: usize,
    /// How the program computes attention.
    pub attention: String,
    pub host: Host,
    pub commit: Option<String>,
    pub versions: BTreeMap<String, String>,
}

/// One model on one device and engine, measured in turns with Python, and with the other engines that were asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Speed {
    #[serde(flatten)]
    pub about: Measurement,
    pub task: String,
    pub engine: String,
    pub dtype: String,
    pub weights: String,
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
    /// Milliseconds to load the program (Rust), or the model by `from_pretrained` (Python), from a folder.
    pub load_ms: f64,
    pub first_ms: f64,
    /// How far the process's memory rose above where it was before the model, in MiB, while it served all batch sizes;
    /// none where the system does not say.
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
    /// How many times as fast as Python Rust is, by their medians.
    pub fn speedup(&self) -> f64 {
        self.python.p50_ms / self.rust.p50_ms
    }

    /// The same of torch.compile's median.
    pub fn speedup_over_compiled(&self) -> Option<f64> {
        self.compiled.map(|compiled| compiled.p50_ms / self.rust.p50_ms)
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

/// What was measured beside the model itself: device, engine, width, threads.
pub type Setting = (String, String, String, usize);

impl Speed {
    /// How many times as fast as Python at the smallest batch.
    pub fn speedup(&self) -> Option<f64> {
        self.batches.first().map(Batch::speedup)
    }

    /// How it was measured.
    pub fn setting(&self) -> Setting {
        let Measurement { device, width, threads, .. } = &self.about;
        (device.clone(), self.engine.clone(), width.clone(), *threads)
    }
}

/// `bench.jsonl` beside the results store.
pub fn path() -> PathBuf {
    super::path().with_file_name("bench.jsonl")
}

/// The last word on each model in each setting.
#[must_use]
pub fn latest(mut speeds: Vec<Speed>) -> Vec<Speed> {
    speeds.sort_by(|a, b| a.about.time.cmp(&b.about.time));
    let key = |speed: &Speed| (speed.about.model.clone(), speed.setting());
    let latest: BTreeMap<_, _> = speeds.into_iter().map(|speed| (key(&speed), speed)).collect();
    latest.into_values().collect()
}

/// How many times as fast as Python models are in one setting at one batch size: the geometric mean, in which twice as fast
/// and half as fast make one.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean {
    pub setting: Setting,
    pub rows: usize,
    /// A family; none for all models.
    pub family: Option<String>,
    pub models: usize,
    pub over_eager: f64,
    /// The same over torch.compile, of the models that were measured under it.
    pub over_compiled: Option<f64>,
}

/// The means of all models, and of each family, in every setting.
#[must_use]
pub fn means(speeds: &[Speed]) -> Vec<Mean> {
    let mut groups: BTreeMap<(Setting, usize, Option<String>), Vec<&Batch>> = BTreeMap::new();
    for speed in speeds {
        for batch in &speed.batches {
            for family in [None, Some(speed.about.family.clone())] {
                groups.entry((speed.setting(), batch.rows, family)).or_default().push(batch);
            }
        }
    }
    let mean = |((setting, rows, family), batches): ((Setting, usize, Option<String>), Vec<&Batch>)| {
        let over_eager = batches.iter().map(|batch| batch.speedup());
        let compiled: Vec<f64> = batches.iter().filter_map(|batch| batch.speedup_over_compiled()).collect();
        Mean {
            setting,
            rows,
            family,
            models: batches.len(),
            over_eager: geometric(over_eager),
            over_compiled: (!compiled.is_empty()).then(|| geometric(compiled.into_iter())),
        }
    };
    groups.into_iter().map(mean).collect()
}

fn geometric(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    (values.map(f64::ln).sum::<f64>() / count).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(p50_ms: f64) -> Times {
        Times { p50_ms, p95_ms: p50_ms, forwards: 20, spread: 0.0 }
    }

    fn speed(model: &str, family: &str, engine: &str, time: &str, rust: f64, compiled: Option<f64>) -> Speed {
        let rows =
            |rows| Batch { rows, rust: times(rust), python: times(8.0), compiled: compiled.map(times) };
        let about = Measurement {
            run: String::new(),
            time: time.to_owned(),
            model: model.to_owned(),
            family: family.to_owned(),
            entry: String::new(),
            device: "cpu".to_owned(),
            width: "tiny".to_owned(),
            threads: 1,
            attention: "sdpa".to_owned(),
            host: Host::of(None),
            commit: None,
            versions: BTreeMap::new(),
        };
        Speed {
            about,
            task: String::new(),
            engine: engine.to_owned(),
            dtype: "float32".to_owned(),
            weights: "random".to_owned(),
            rust: Side::default(),
            python: Side::default(),
            batches: vec![rows(1)],
            left_out: Vec::new(),
        }
    }

    #[test]
    fn twice_as_fast_and_half_as_fast_make_one_in_the_mean() {
        let speeds = [
            speed("a", "vision", "pt2", "1", 4.0, Some(2.0)),
            speed("b", "text", "pt2", "1", 16.0, None),
            speed("b", "text", "torchscript", "1", 1.0, None),
        ];
        let found = means(&speeds);
        let of = |engine: &str, family: Option<&str>| {
            found.iter().find(|mean| mean.setting.1 == engine && mean.family.as_deref() == family).unwrap()
        };
        assert_eq!((of("pt2", None).models, of("pt2", None).over_eager), (2, 1.0));
        assert_eq!(of("pt2", Some("vision")).over_eager, 2.0);
        assert_eq!(of("pt2", None).over_compiled, Some(0.5), "of the one that was compiled");
        assert_eq!((of("torchscript", None).models, of("torchscript", None).over_compiled), (1, None));
    }

    #[test]
    fn a_line_of_an_earlier_version_is_read_and_written_with_the_same_keys() {
        let line = serde_json::json!({
            "run": "r", "time": "t", "model": "m", "family": "f", "task": "k", "entry": "e", "device": "cpu", "engine": "pt2",
            "width": "tiny", "threads": 1, "attention": "sdpa", "dtype": "float32", "weights": "random",
            "host": {"os": "linux", "arch": "x86_64", "processor": "p"}, "commit": null, "versions": {"torch": "2"},
            "rust": {"load_ms": 1.0, "first_ms": 2.0, "peak_mib": null, "peak_gpu_mib": null},
            "python": {"load_ms": 1.0, "first_ms": 2.0, "peak_mib": 3.5, "peak_gpu_mib": null},
            "batches": [], "left_out": ["why"],
        });
        let read: Speed = serde_json::from_str(&line.to_string()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), line);
    }

    #[test]
    fn a_model_has_a_last_word_in_every_setting() {
        let old = speed("a", "f", "pt2", "1", 1.0, None);
        let but = |change: fn(&mut Measurement)| {
            let mut other = old.clone();
            change(&mut other.about);
            other
        };
        let new = but(|about| about.time = "2".to_owned());
        let wide = but(|about| about.width = "realistic".to_owned());
        let threads = but(|about| about.threads = 2);
        let found = latest(vec![new, old, wide, threads]);
        let words: Vec<_> =
            found.iter().map(|Speed { about, .. }| (&*about.width, about.threads, &*about.time)).collect();
        assert_eq!(words, [("realistic", 1, "1"), ("tiny", 1, "2"), ("tiny", 2, "1")]);
    }
}
