//! What a checkpoint is, as `exporter/checkpoint.py` finds out.

use crate::export::{Embedding, Python};
use crate::failure::{At, Failure, Stage};
use crate::spec::{Entry, Spec};
use crate::task::CONFIG_DIMS;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The source whose classes checkpoints are of, unless it has none of the name and another source of the spec does.
const SOURCE: &str = "transformers";

/// A checkpoint to look at.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// A hub id, a folder, or a GGUF file.
    pub checkpoint: &'a str,
    /// A hub id's branch, tag or commit.
    pub revision: Option<&'a str>,
    /// GiB that a hub id's files may take.
    pub budget: Option<f64>,
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
    /// What makes the inputs of pictures or sounds, by its numbers.
    pub preprocessor: Option<Value>,
    /// Elements of all parameters, a shared one once.
    pub parameters: u64,
    /// Elements of the largest one.
    pub largest: u64,
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
    let source = source_of(spec, &classes(request.checkpoint));
    let entries = spec.entries.iter().filter(|entry| entry.source == source);
    let dims = CONFIG_DIMS.iter().map(|(name, paths)| ((*name).to_owned(), json!(paths)));
    let asked = json!({
        "checkpoint": request.checkpoint,
        "revision": request.revision,
        "budget": request.budget,
        "task": request.task,
        "source": spec.versions.sources.get(source),
        "scratch": request.scratch,
        "dims": dims.collect::<Map<_, _>>(),
        "entries": entries.map(told).collect::<Vec<_>>(),
    });
    let mut said = String::new();
    let extras = is_packed(request.checkpoint).then_some("gguf");
    let python = Python::ready(&spec.versions, source)?.with_extras(&spec.versions, extras)?;
    python.converse("exporter.checkpoint", &asked, |line| {
        said.push_str(line);
        Ok(())
    })?;
    match serde_json::from_str(&said).at(Stage::Load, format!("the exporter said '{said}'"))? {
        Answer::Found { found } => Ok(*found),
        Answer::Refused { refused, advice } => Err(Failure::new(Stage::Load, refused).with(advice)),
    }
}

/// The classes that a folder's own config names; those of a hub id are transformers'.
fn classes(checkpoint: &str) -> Vec<String> {
    #[derive(Default, Deserialize)]
    struct Config {
        #[serde(default)]
        architectures: Vec<String>,
    }
    let bytes = std::fs::read(Path::new(checkpoint).join("config.json")).unwrap_or_default();
    serde_json::from_slice::<Config>(&bytes).unwrap_or_default().architectures
}

/// The source that has the first of these classes.
fn source_of<'a>(spec: &'a Spec, classes: &[String]) -> &'a str {
    let has = |entry: &&Entry| classes.first().is_some_and(|class| *class == entry.class);
    let sources: Vec<&str> = spec.entries.iter().filter(has).map(|entry| &*entry.source).collect();
    if sources.contains(&SOURCE) { SOURCE } else { sources.first().copied().unwrap_or(SOURCE) }
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
        preprocessor: None,
        parameters: 22_713_216,
        largest: 11_720_448,
        unexpected: Vec::new(),
        reasons: Vec::new(),
        files: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_of_another_package_alone_is_looked_for_there() {
        let mut spec = crate::report::samples::spec();
        let class = spec.entries[0].class.clone();
        assert_eq!(source_of(&spec, std::slice::from_ref(&class)), SOURCE);
        assert_eq!(source_of(&spec, &[]), SOURCE);
        for entry in &mut spec.entries {
            entry.source = "acme".to_owned();
        }
        assert_eq!(source_of(&spec, &[class]), "acme");
        assert_eq!(source_of(&spec, &["Unknown".to_owned()]), SOURCE);
    }

    #[test]
    fn what_python_says_is_a_finding_or_a_refusal() {
        let found = serde_json::to_string(&json!({"found": sample()})).unwrap();
        assert!(matches!(serde_json::from_str(&found), Ok(Answer::Found { .. })));
        let refused = r#"{"refused": "no weights", "advice": "save the model"}"#;
        assert!(matches!(serde_json::from_str(refused), Ok(Answer::Refused { .. })));
    }
}
