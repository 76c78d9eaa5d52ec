//! What Python makes of texts, as `exporter/answers.py` says.

use super::corpus::{SAMPLES, corpus, pairs};
use crate::certify::found::Found;
use crate::export::Python;
use crate::failure::{At, Failure, Stage};
use crate::spec::{NEW_TOKENS, Spec};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// How texts become rows of tokens, and what outputs mean.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Rules {
    /// The most tokens of a row.
    pub max_length: usize,
    pub pad_id: u32,
    pub pad_type_id: u32,
    pub pad_token: String,
    pub pads_left: bool,
    pub cuts_left: bool,
    /// What the tokenizer gives a model, by the names of its inputs.
    pub names: Vec<String>,
    /// Which file wins, where files say different things.
    pub notes: Vec<String>,
    /// Names of labels, in order.
    pub labels: Vec<String>,
    /// Whether each label has a score of its own: they do not exclude each other.
    pub scored_alone: bool,
    /// Tokens that end a text.
    pub ends: Vec<i64>,
}

/// Input → rows.
pub type Rows = BTreeMap<String, Vec<Vec<i64>>>;

/// What the model says of a sample: what of it there is depends on the task.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub sentence_embedding: Vec<f64>,
    pub label: String,
    pub scores: Vec<f64>,
    pub text: String,
    pub tokens: Vec<i64>,
}

/// Everything that the example is compared with.
#[derive(Clone, Debug, Deserialize)]
pub struct Answers {
    pub rules: Rules,
    pub corpus: Rows,
    pub pairs: Rows,
    pub answers: Vec<Answer>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    None { none: String },
    Answers(Box<Answers>),
}

/// Asks Python; the inner error says why a checkpoint has no tokenizer that Rust could read.
///
/// # Errors
/// Stage `export`: no environment, or Python cannot answer.
pub fn ask(spec: &Spec, found: &Found) -> Result<Result<Answers, String>, Failure> {
    let corpus = corpus();
    let request = json!({
        "root": found.root,
        "folder": found.folder,
        "class": found.class_name,
        "task": found.task,
        "embedding": found.embedding,
        "positions": found.positions,
        "pairs": pairs(&corpus),
        "corpus": corpus,
        "samples": SAMPLES,
        "new_tokens": NEW_TOKENS,
    });
    let mut said = String::new();
    let extras = found.embedding.as_ref().map(|_| "sentence-transformers");
    let python = Python::ready(&spec.versions, "transformers")?.with_extras(&spec.versions, extras)?;
    python.converse("exporter.answers", &request, |line| {
        said.push_str(line);
        Ok(())
    })?;
    match serde_json::from_str(&said).at(Stage::Export, "what Python answers")? {
        Said::None { none } => Ok(Err(none)),
        Said::Answers(answers) => Ok(Ok(*answers)),
    }
}
