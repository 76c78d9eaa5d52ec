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
    #[serde(default)]
    pub greedy: Greedy,
}

/// What `generation_config.json` asks of scores, whose largest is taken then.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Greedy {
    /// By how much the scores of tokens that were read before are divided.
    pub repetition_penalty: Option<f64>,
    /// No run of so many tokens comes twice.
    pub no_repeat_ngram_size: Option<usize>,
    /// So many tokens are written at least.
    pub min_new_tokens: Option<usize>,
    /// Tokens that are never written.
    pub suppress_tokens: Vec<usize>,
}

impl Greedy {
    /// Whether anything is asked for.
    pub fn is_any(&self) -> bool {
        let Self { repetition_penalty, no_repeat_ngram_size, min_new_tokens, suppress_tokens } = self;
        repetition_penalty.is_some()
            || no_repeat_ngram_size.is_some()
            || min_new_tokens.is_some()
            || !suppress_tokens.is_empty()
    }
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
    /// What was answered: the samples, and one with the tokenizer's own special tokens in it.
    pub samples: Vec<String>,
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
