//! What was proved of a checkpoint, as a bundle tells it: `certificate.json`.

use super::found::Found;
use super::subject::Subject;
use crate::artifact::{Change, Manifest, Note};
use crate::export::{Embedding, Reference};
use crate::numerics::Measure;
use crate::report::Record;
use crate::runner::Ended;
use crate::spec::{Case, Check};
use crate::task::{Dtype, Input, Output};
use crate::verdict::Status;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The file of a bundle that tells of it.
pub const FILE: &str = "certificate.json";
/// The file beside it that has its sha256: it holds the digests of all others.
pub const SEAL: &str = "certificate.json.sha256";
/// The layout of a bundle.
pub const FORMAT: u32 = 3;

/// All that is known of a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    pub format: u32,
    pub name: String,
    /// When the last check ended, in UTC.
    pub date: String,
    pub class: String,
    pub model_type: String,
    pub task: String,
    /// Pooling and normalisation, where they are a part of the program.
    pub embedding: Option<Embedding>,
    /// Elements of all parameters, a shared one once.
    pub parameters: u64,
    pub checkpoint: Source,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// The most positions of a row; none where nothing limits them.
    pub positions: Option<usize>,
    /// Sizes that were compared with eager Python.
    pub sizes: Vec<Case>,
    /// Sizes and checks that were not due, each with its reason.
    pub left_out: BTreeMap<String, String>,
    pub checks: Vec<Checked>,
    /// The sides on which padding was added, and moved nothing.
    pub padded: Vec<String>,
    /// What makes the inputs of pictures or sounds, by its numbers, defaults included.
    pub preprocessor: Option<Value>,
    /// What the example was compared with Python on.
    pub example: Option<Example>,
    /// Where references in float64 came from: a copy of the model in bundles that do not say it.
    #[serde(default)]
    pub reference: Reference,
    /// Element types that it was proved in.
    pub dtypes: Vec<String>,
    /// What it was proved on.
    pub device: String,
    pub processor: String,
    /// Python, torch, transformers, and what proved it.
    pub versions: BTreeMap<String, String>,
    /// Patches that the program was traced under.
    pub adapters: Vec<Note>,
    /// What makes "eager" differ from the class's plain `forward`.
    pub differences: Vec<Note>,
    /// Why it is of this class and this task, and what else is worth knowing.
    pub reasons: Vec<String>,
    /// Every other file of the bundle → sha256.
    pub files: BTreeMap<String, String>,
}

/// Where the weights came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// As it was asked for; of a folder its name alone.
    pub name: String,
    /// The commit, where it is from a hub.
    pub revision: Option<String>,
    /// Weights that the class has no place for.
    pub unexpected: Vec<String>,
    /// File → sha256.
    pub files: BTreeMap<String, String>,
}

/// An input or an output of the programs, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    pub dtype: String,
    /// Symbols and sizes, outermost first.
    pub shape: Vec<String>,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    pub check: String,
    pub status: Status,
    pub seconds: f64,
    pub figures: Vec<Figure>,
}

/// What of an example was compared with Python.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// What goes in, where that is texts.
    pub texts: Option<Texts>,
    /// What it makes of pictures or sounds.
    pub processed: Vec<Processed>,
    pub answers: Vec<Answered>,
}

/// What texts become.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Texts {
    /// Texts are cut to so many tokens.
    pub max_length: usize,
    /// Which file wins, where files say different things.
    pub notes: Vec<String>,
    /// Whether a text is written with the program of a step and its cache.
    pub cached: bool,
    /// How many texts, and how many pairs of texts, become exactly Python's tokens.
    pub compared: usize,
    pub pairs: usize,
}

/// How far what an example makes of a picture or a sound is from what Python's processor makes of it: in levels from 0 to 255
/// of a picture, in what the model is given of a sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Processed {
    pub what: String,
    /// The rmse, and the most that is allowed.
    pub error: f64,
    pub limit: f64,
    pub max_abs: f64,
}

/// What the example answered as Python does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// A text, a question with its context, or the name of a picture or a sound.
    pub of: String,
    /// As far as a line holds it.
    pub answer: String,
    /// The rmse between the example's numbers and Python's, and the most that is allowed.
    pub error: f64,
    pub limit: f64,
}

/// How one output agreed with eager Python.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub situation: String,
    pub output: String,
    /// The program's rmse from float64, and the most that is allowed.
    pub error: f64,
    pub limit: f64,
    pub max_abs: f64,
    pub relative_l2: f64,
    pub cosine: f64,
}

impl Certificate {
    /// What a run proved; the digests of the bundle's files are for whoever writes it.
    pub fn of(subject: &Subject, found: &Found, ended: &Ended, manifest: &Manifest) -> Self {
        let entry = subject.entry();
        let last = ended.records.iter().max_by(|a, b| a.time.cmp(&b.time));
        let own = [("hf-conformance".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
        Self {
            format: FORMAT,
            name: entry.name.to_string(),
            date: last.map(|record| record.time.clone()).unwrap_or_default(),
            class: found.class_name.clone(),
            model_type: found.model_type.clone(),
            task: found.task.clone(),
            embedding: found.embedding.clone(),
            parameters: found.parameters,
            checkpoint: source(found),
            inputs: entry.inputs.iter().map(Port::from).collect(),
            outputs: entry.outputs.iter().map(Port::from).collect(),
            positions: found.positions,
            sizes: manifest.cases.clone(),
            left_out: left_out(subject, ended, manifest),
            checks: ended.records.iter().map(Checked::from).collect(),
            padded: padded(manifest),
            preprocessor: found.preprocessor.clone(),
            example: None,
            reference: subject.reference,
            dtypes: dtypes(ended),
            device: ended.run.lane.device.to_string(),
            processor: last.map(|record| record.host.processor.clone()).unwrap_or_default(),
            versions: manifest.versions.clone().into_iter().chain(own).collect(),
            adapters: manifest.adapters.clone(),
            differences: manifest.differences.clone(),
            reasons: found.reasons.clone(),
            files: BTreeMap::new(),
        }
    }
}

fn source(found: &Found) -> Source {
    Source {
        name: found.local_name().unwrap_or_else(|| found.checkpoint.clone()),
        revision: found.revision.clone(),
        unexpected: found.unexpected.clone(),
        files: found.files.clone(),
    }
}

/// float32, and the half precision of the check that is about one, where it was due.
fn dtypes(ended: &Ended) -> Vec<String> {
    let half = ended.records.iter().any(|record| record.check == Check::Half.name());
    let half = half.then_some(ended.run.lane.half);
    std::iter::once(Dtype::Float32).chain(half).map(|dtype| dtype.name().to_owned()).collect()
}

fn left_out(subject: &Subject, ended: &Ended, manifest: &Manifest) -> BTreeMap<String, String> {
    let entry = subject.entry();
    let checks = ended.run.checks.iter();
    let checks =
        checks.filter_map(|check| Some((check.name().to_owned(), ended.run.omitted(entry, *check)?)));
    let sizes = subject.left_out.iter().map(|(case, why)| (case.name.clone(), why.clone()));
    let padding =
        unpadded(&padded(manifest)).map(|side| (format!("padding on the {side}"), MOVED.to_owned()));
    checks.chain(sizes).chain(padding).collect()
}

/// Why padding is added on one side alone.
const MOVED: &str = "it moves what eager Python returns, too: pad on the other side";

/// The side that alone has no padding.
fn unpadded(padded: &[String]) -> Option<&'static str> {
    match padded {
        [side] if side == "left" => Some("right"),
        [side] if side == "right" => Some("left"),
        _ => None,
    }
}

/// The sides on which situations have more padding.
fn padded(manifest: &Manifest) -> Vec<String> {
    let sides = manifest.situations.iter().flat_map(|situation| match situation.change {
        Change::Padding { before, after, .. } => {
            [(before > 0).then_some("left"), (after > 0).then_some("right")]
        }
        _ => [None, None],
    });
    let sides: BTreeSet<&str> = sides.flatten().collect();
    sides.into_iter().map(str::to_owned).collect()
}

fn port(name: &str, dtype: Dtype, shape: crate::task::Shape) -> Port {
    Port {
        name: name.to_owned(),
        dtype: dtype.name().to_owned(),
        shape: shape.iter().map(ToString::to_string).collect(),
    }
}

impl From<&Input> for Port {
    fn from(input: &Input) -> Self {
        port(&input.name, input.dtype, input.shape)
    }
}

impl From<&Output> for Port {
    fn from(output: &Output) -> Self {
        port(&output.name, output.dtype, output.shape)
    }
}

impl From<&Record> for Checked {
    fn from(record: &Record) -> Self {
        Self {
            check: record.check.clone(),
            status: record.status,
            seconds: record.seconds,
            figures: record.metrics.iter().map(Figure::from).collect(),
        }
    }
}

impl From<&Measure> for Figure {
    fn from(measure: &Measure) -> Self {
        let agreement = &measure.agreement;
        Self {
            situation: measure.situation.clone(),
            output: measure.output.clone(),
            error: agreement.error,
            limit: agreement.limit,
            max_abs: agreement.max_abs,
            relative_l2: agreement.relative_l2,
            cosine: agreement.cosine,
        }
    }
}

/// A certificate of one check.
#[cfg(test)]
pub(crate) fn sample() -> Certificate {
    let certificate = serde_json::json!({
        "format": FORMAT, "name": "mine", "date": "", "class": "BertModel", "model_type": "bert",
        "task": "feature-extraction", "embedding": null, "parameters": 7, "positions": 512,
        "checkpoint": {"name": "model", "revision": null, "unexpected": [], "files": {}},
        "inputs": [], "outputs": [], "sizes": [], "left_out": {}, "padded": [], "preprocessor": null, "example": null, "dtypes": ["float32"], "device": "cpu", "processor": "",
        "checks": [{"check": "loads", "status": "passed", "seconds": 0.1, "figures": []}],
        "versions": {"torch": "2.11.0+cu130"}, "adapters": [], "differences": [], "reasons": [], "files": {},
    });
    serde_json::from_value(certificate).unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_that_cannot_be_padded_is_told() {
        let sides = |sides: &[&str]| unpadded(&sides.iter().map(|&side| side.to_owned()).collect::<Vec<_>>());
        assert_eq!(sides(&["right"]), Some("left"));
        assert_eq!(sides(&["left"]), Some("right"));
        assert_eq!(sides(&["left", "right"]), None);
        assert_eq!(sides(&[]), None, "nothing is padded");
    }
}
