//! What the exporter says of the files that it wrote.
//!
//! In: `manifest.json`, and the lists of what is put beside an artifact. Out: what they say.

use super::Beside;
use super::decoding::Decoding;
use super::files::read;
use crate::failure::Failure;
use crate::spec::{Case, Check};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// [`Beside::list`]: files that are made after the artifact and only where they are asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileList {
    /// [`key::beside`](super::key::beside) of the artifact that this was made beside.
    pub key: String,
    /// How long the export took.
    pub seconds: f64,
    /// File name → sha256, in hexadecimal.
    pub files: BTreeMap<String, String>,
    /// File name → why it could not be made, of programs that decode.
    #[serde(default)]
    pub refused: BTreeMap<String, String>,
    /// Parameter or buffer → sha256 of its bytes, of programs in a precision of which the manifest has none.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
}

/// `manifest.json`: everything about an artifact but its numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// [`key::of`](super::key::of) of the entry this was made from and of the model type.
    pub key: String,
    pub model: String,
    pub task: String,
    /// Name of the class whose object was traced, as Python reports it.
    pub class: String,
    /// Python module of that class.
    pub module: String,
    /// The config's `model_type`: transformers' word for the architecture; a class of another package has its
    /// own name there.
    pub model_type: Option<String>,
    /// The same of it and of all models inside it: towers, backbones, decoders.
    pub model_types: Vec<String>,
    pub checkpoint: Option<String>,
    /// `random`, or `checkpoint` for real weights.
    pub weights: String,
    pub seed: u64,
    /// Python, torch and the class's package.
    pub versions: BTreeMap<String, String>,
    /// Config symbol → size.
    pub dims: BTreeMap<String, usize>,
    /// Names of inputs and outputs in the program's order.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// How programs compute attention: as `from_pretrained` chooses for the class, then in other ways.
    pub attention: Vec<String>,
    /// Modules in lists of modules, in order of execution.
    pub layers: Vec<String>,
    pub cases: Vec<Case>,
    /// What checks do to the traced case.
    pub situations: Vec<Situation>,
    pub parameters: Parameters,
    /// Precision → parameter or buffer → sha256 of its bytes in the eager model.
    pub digests: BTreeMap<String, BTreeMap<String, String>>,
    /// Parameters that move no output beyond the rule, by their name in the eager model.
    pub idle: Vec<String>,
    /// How long the export took.
    pub seconds: f64,
    pub generation: Option<GenerationSettings>,
    /// The program that decodes with a cache; `None` where the `decodes` check is left out.
    pub decoding: Option<Decoding>,
    /// The adapters that changed something about the trace of some program, by name.
    pub adapters: Vec<Note>,
    /// What makes "eager" differ from the class's plain `forward`.
    pub differences: Vec<Note>,
    /// File name → sha256, in hexadecimal.
    pub files: BTreeMap<String, String>,
}

impl Manifest {
    /// `2 adapters: lists_of_sizes, rope_by_length`; `just show` tells what they are for.
    pub fn traced_with(&self) -> String {
        let names: Vec<&str> = self.adapters.iter().map(|adapter| &*adapter.what).collect();
        match names.len() {
            0 => "no adapter".to_owned(),
            1 => format!("1 adapter: {}", names[0]),
            count => format!("{count} adapters: {}", names.join(", ")),
        }
    }
}

/// Something that was done to a model, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub what: String,
    pub why: String,
}

/// The parameters of the float32 program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parameters {
    /// Elements in all of them.
    pub count: usize,
    /// Name → shape.
    pub tensors: BTreeMap<String, Vec<usize>>,
}

/// The traced case with one thing changed: its inputs are stored under its name, and by how much eager is off there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Situation {
    pub name: String,
    #[serde(flatten)]
    pub change: Change,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "change")]
pub enum Change {
    /// One row is alone.
    Row { row: usize },
    /// So many masked positions were added along an axis, by the name of the mask.
    Padding { mask: String, axis: String, before: usize, after: usize },
    /// The last real token of every row of an input is another.
    Token { input: String },
}

impl Change {
    /// The check that it is made for.
    pub fn check(&self) -> Check {
        match self {
            Self::Row { .. } => Check::BatchInvariant,
            Self::Padding { .. } => Check::PaddingInvariant,
            Self::Token { .. } => Check::Causal,
        }
    }
}

/// How Python's `generate` began, ended and filled up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerationSettings {
    /// Ends a row.
    pub eos: Option<i64>,
    /// Fills rows that have ended.
    pub pad: i64,
    /// First decoder token of an encoder-decoder model.
    pub start: Option<i64>,
    /// The most tokens that were generated.
    pub new_tokens: usize,
}

/// The manifest in `folder`; `None` when there is none.
pub fn manifest(folder: &Path) -> Result<Option<Manifest>, Failure> {
    read(&folder.join(super::MANIFEST))
}

/// The list of what is put beside the artifact in `folder`; `None` when there is none.
pub fn listed(folder: &Path, what: Beside) -> Result<Option<FileList>, Failure> {
    read(&folder.join(what.list()))
}
