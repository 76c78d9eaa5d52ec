//! What a checkpoint is, as `exporter/checkpoint.py` finds out.

use crate::export::{Embedding, Python};
use crate::failure::{At, Failure, Stage};
use crate::spec::{Entry, Spec};
use crate::task::CONFIG_DIMS;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The source whose classes checkpoints are of.
const SOURCE: &str = "transformers";

/// A checkpoint to look at.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// A hub id, a folder, or a GGUF file.
    pub checkpoint: &'a str,
    /// A hub id's branch, tag or commit.
    pub revision: Option<&'a str>,
    /// What it is for, where its config leaves that open.
    pub task: Option<&'a str>,
    /// Where a GGUF file is unpacked: a folder that is there as long as the checkpoint is looked at.
    pub scratch: &'a Path,
}

/// A checkpoint whose weights fit the class that its config names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// As it was asked for.
    pub checkpoint: String,
    /// Where all its files are.
    pub root: PathBuf,
    /// Where those of the model itself are: there, or in a folder of it.
    pub folder: PathBuf,
    /// The commit, where it is from a hub.
    pub revision: Option<String>,
    pub model_type: String,
    pub class_name: String,
    pub task: String,
    /// The entry whose inputs it takes over.
    pub near: String,
    /// Keywords of the class's forward.
    pub takes: Vec<String>,
    /// Config symbol → size.
    pub dims: BTreeMap<String, usize>,
    /// The most positions of a row; none where nothing limits them.
    pub positions: Option<usize>,
    /// Height and width of a picture.
    pub image: Option<usize>,
    /// Pooling and normalisation of a sentence-transformers folder.
    pub embedding: Option<Embedding>,
    /// Elements of all parameters, a shared one once.
    pub parameters: u64,
    /// Weights that the class has no place for.
    pub unexpected: Vec<String>,
    /// One line for every choice.
    pub reasons: Vec<String>,
    /// File below the root → sha256, weights and what describes them.
    pub files: BTreeMap<String, String>,
}

impl Found {
    /// The name of the folder or file, where it is on this machine: its path says nothing of the weights.
    pub fn local_name(&self) -> Option<String> {
        let path = if is_packed(&self.checkpoint) { Path::new(&self.checkpoint) } else { &self.root };
        let name = path.file_name().filter(|_| self.revision.is_none());
        name.map(|name| name.to_string_lossy().into_owned())
    }
}

/// What Python says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Found { found: Box<Found> },
    Refused { refused: String, advice: String },
}

/// Finds out what a checkpoint is; loads its weights once.
///
/// # Errors
/// Stage `load`, in one line with the next step: nothing can be proved of it. Stage `export`: no environment.
pub fn examine(spec: &Spec, request: &Request) -> Result<Found, Failure> {
    let entries = spec.entries.iter().filter(|entry| entry.source == SOURCE);
    let dims = CONFIG_DIMS.iter().map(|(name, paths)| ((*name).to_owned(), json!(paths)));
    let asked = json!({
        "checkpoint": request.checkpoint,
        "revision": request.revision,
        "task": request.task,
        "scratch": request.scratch,
        "dims": dims.collect::<Map<_, _>>(),
        "entries": entries.map(told).collect::<Vec<_>>(),
    });
    let mut said = String::new();
    let extras = is_packed(request.checkpoint).then_some("gguf");
    let python = Python::ready(&spec.versions, SOURCE)?.with_extras(&spec.versions, extras)?;
    python.converse("exporter.checkpoint", &asked, |line| {
        said.push_str(line);
        Ok(())
    })?;
    match serde_json::from_str(&said).at(Stage::Load, format!("the exporter said '{said}'"))? {
        Answer::Found { found } => Ok(*found),
        Answer::Refused { refused, advice } => Err(Failure::new(Stage::Load, refused).with(advice)),
    }
}

/// Whether a checkpoint is one file with everything in it.
fn is_packed(checkpoint: &str) -> bool {
    Path::new(checkpoint).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

fn told(entry: &Entry) -> Value {
    json!({"name": entry.name, "class": entry.class, "task": entry.task.name})
}

/// A trunk of BERT, for tests.
#[cfg(test)]
pub(crate) fn sample() -> Found {
    let text = str::to_owned;
    Found {
        checkpoint: text("some/folder"),
        root: "some/folder".into(),
        folder: "some/folder".into(),
        revision: None,
        model_type: text("bert"),
        class_name: text("BertModel"),
        task: text("feature-extraction"),
        near: text("gte"),
        takes: ["input_ids", "attention_mask", "token_type_ids"].map(text).to_vec(),
        dims: BTreeMap::from([("vocabulary".to_owned(), 30522), ("hidden".to_owned(), 384)]),
        positions: Some(512),
        image: None,
        embedding: None,
        parameters: 22_713_216,
        unexpected: Vec::new(),
        reasons: Vec::new(),
        files: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_says_is_a_finding_or_a_refusal() {
        let found = serde_json::to_string(&json!({"found": sample()})).unwrap();
        assert!(matches!(serde_json::from_str(&found), Ok(Answer::Found { .. })));
        let refused = r#"{"refused": "no weights", "advice": "save the model"}"#;
        assert!(matches!(serde_json::from_str(refused), Ok(Answer::Refused { .. })));
    }
}
