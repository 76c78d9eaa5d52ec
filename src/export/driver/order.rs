//! What is asked of the exporter.
//!
//! In: entries of the spec. Out: [`Order`]s, and each in the exporter's words.

use crate::artifact::{self, Beside, Lane, key};
use crate::failure::{At, Failure, Stage};
use crate::spec::{Case, Entry, Spec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What to export, and how.
pub struct ExportPlan<'a> {
    pub spec: &'a Spec,
    pub orders: Vec<Order<'a>>,
    /// How the programs are to be run.
    pub lane: Lane,
    pub anew: Anew,
    /// The folder of artifacts.
    pub root: PathBuf,
}

/// What is made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anew {
    /// What is missing, stale, or made elsewhere.
    #[default]
    Due,
    /// Even what is up to date; where programs of another format are wanted, only those.
    All,
    /// What is missing or stale: what was made elsewhere is taken as it is, from now on.
    Trusting,
}

/// One artifact to make.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    pub entry: &'a Entry,
    /// A fault to plant in the program; none but when the checks themselves are on trial.
    pub fault: Option<String>,
    /// Published weights instead of random ones.
    pub weights: Option<Weights>,
}

/// Weights that someone trained.
#[derive(Clone, Debug)]
pub struct Weights {
    /// A hub id or a folder, as `from_pretrained` takes it.
    pub checkpoint: String,
    /// Sizes of axes that the checkpoint's own config asks for, in place of the entry's.
    pub sizes: BTreeMap<String, usize>,
    /// What more is wanted where the checkpoint is to be certified.
    pub certified: Option<Certified>,
}

/// What the export of a checkpoint holds that is to be certified.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Runs beside those of the entry's own axes.
    pub cases: Vec<Case>,
    /// What becomes of hidden states, where that is a part of the program.
    pub embedding: Option<Embedding>,
    /// Seconds of a processor's time that it may take: real weights may be of any size.
    pub timeout_seconds: u32,
    pub reference: Reference,
}

/// Where references in float64 come from; their numbers are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reference {
    /// A copy of the model in float64.
    #[default]
    Copied,
    /// The model in float32, each weight widened where an operator computes with it and dropped afterwards
    /// (`exporter/streamed.py`).
    Streamed,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copied => "in float64, by a copy of the model",
            Self::Streamed => "in float64, a weight at a time: there was no room for a copy of the model",
        })
    }
}

/// How an embedding is made of hidden states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedding {
    /// `mean`, `cls` or `max`.
    pub pooling: String,
    /// Whether it has length 1.
    pub normalised: bool,
    /// The most tokens that texts are cut to; none where nothing says so.
    pub max_length: Option<usize>,
}

impl<'a> Order<'a> {
    /// The healthy entry with random weights.
    pub fn plain(entry: &'a Entry) -> Self {
        Self { entry, fault: None, weights: None }
    }

    /// What more is wanted of it, where it is a checkpoint that is to be certified.
    pub(super) fn certified(&self) -> Option<&Certified> {
        self.weights.as_ref()?.certified.as_ref()
    }

    /// The list of its artifact's files below `root`, or of what is put beside them.
    pub(super) fn list(&self, root: &Path, made: Option<Beside>) -> PathBuf {
        self.folder(root).join(made.map_or_else(|| artifact::MANIFEST.to_owned(), Beside::list))
    }

    /// Where its artifact goes below `root`; only a plain order's folder has the model's own name.
    pub fn folder(&self, root: &Path) -> PathBuf {
        let model = self.entry.name.as_str();
        match (&self.fault, &self.weights) {
            (Some(fault), _) => root.join(".faults").join(model).join(fault.replace(':', "-")),
            (None, Some(_)) => root.join(".checkpoints").join(model),
            (None, None) => root.join(model),
        }
    }
}

/// The exporter's words for an order: the entry's job, and where its artifact goes.
pub(in crate::export) fn job(spec: &Spec, root: &Path, order: &Order) -> Result<Value, Failure> {
    let entry = order.entry;
    let folder = order.folder(root);
    let mut job = entry.job();
    if let Some(weights) = &order.weights {
        job.weights = "checkpoint";
        job.checkpoint = Some(&weights.checkpoint);
        for case in &mut job.cases {
            case.sizes.extend(weights.sizes.clone());
        }
        job.cases.extend(weights.certified.iter().flat_map(|certified| certified.cases.clone()));
    }
    let mut job = serde_json::to_value(job).at(Stage::Export, &entry.name)?;
    // The exporter asks where the classes are; only the spec knows sources by name.
    job["source"] = json!(spec.versions.sources.get(&entry.source));
    job["key"] = json!(key::asked(&entry.digest(&spec.versions)));
    job["code"] = json!(key::digests());
    job["directory"] = json!(in_words(&std::path::absolute(&folder).at(Stage::Export, folder.display())?)?);
    job["rule"] = key::rule();
    job["fault"] = json!(order.fault);
    if let Some(certified) = order.certified() {
        job["embedding"] = json!(certified.embedding);
        job["streamed"] = json!(certified.reference == Reference::Streamed);
    }
    Ok(job)
}

/// A path as the exporter is told it, which is in JSON.
fn in_words(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| {
        let failure = Failure::new(Stage::Export, format!("{} is no UTF-8", path.display()));
        failure.with("name another folder in HF_CONFORMANCE_ARTIFACTS")
    })
}
