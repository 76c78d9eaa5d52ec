//! What Python makes of texts, as `exporter/answers.py` says, and of pictures and sounds, as `exporter/processed.py` does.

use super::corpus::{corpus, pairs};
use crate::certify::found::Found;
use crate::export::Python;
use crate::failure::{At, Failure, Stage};
use crate::spec::{NEW_TOKENS, Spec};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

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
    #[serde(flatten)]
    pub meanings: Meanings,
    /// What stands for what the vocabulary has not.
    pub unk_id: Option<i64>,
    /// What stands in the place of a word.
    pub mask_id: Option<i64>,
    /// Tokens that end a text.
    pub ends: Vec<i64>,
    #[serde(default)]
    pub greedy: Greedy,
}

/// What a config says of logits.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Meanings {
    /// Names of labels, in order.
    pub labels: Vec<String>,
    pub scoring: Scoring,
}

/// What scores are made of logits by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scoring {
    /// The labels exclude each other.
    #[default]
    Softmax,
    /// Each label has a score of its own.
    Sigmoid,
    /// They are numbers, and no labels.
    None,
}

/// What `generation_config.json` asks of scores, whose largest is taken then.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
    /// Tokens that are not written first.
    pub begin_suppress_tokens: Vec<usize>,
}

impl Greedy {
    /// Whether anything is asked for.
    pub fn is_any(&self) -> bool {
        let Self { repetition_penalty, no_repeat_ngram_size, min_new_tokens, .. } = self;
        repetition_penalty.is_some()
            || no_repeat_ngram_size.is_some()
            || min_new_tokens.is_some()
            || !(self.suppress_tokens.is_empty() && self.begin_suppress_tokens.is_empty())
    }
}

/// Input → rows.
pub type Rows = BTreeMap<String, Vec<Vec<i64>>>;

/// What a processor does to a picture or a sound, one after the other.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "takes", rename_all = "lowercase")]
pub enum Steps {
    Picture {
        resize: Option<Resize>,
        /// By the name in the crate `fast_image_resize`.
        filter: Option<String>,
        /// Height and width of what is taken from the middle.
        crop: Option<[u32; 2]>,
        /// In levels from 0 to 255.
        mean: [f32; 3],
        std: [f32; 3],
    },
    Sound {
        /// Hz.
        sampling_rate: u32,
        /// Whether samples get the mean 0 and the deviation 1.
        normalised: bool,
        /// What each output stands for in a text, where a text comes out.
        letters: Vec<String>,
        /// Whether that text has small letters alone.
        lowers: bool,
    },
    /// A sound whose text is written token by token, as Whisper's.
    Speech(Speech),
}

impl Steps {
    /// How what comes out is written.
    pub fn rules(&self) -> Rules {
        match self {
            Self::Speech(speech) => {
                Rules { greedy: speech.greedy.clone(), ends: speech.ends.clone(), ..Rules::default() }
            }
            _ => Rules::default(),
        }
    }
}

/// What becomes of a sound: a log-mel spectrogram; and of what is written of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Speech {
    /// Hz.
    pub sampling_rate: u32,
    /// Samples that each frame looks at, and from one to the next.
    pub window: i64,
    pub hop: i64,
    /// Bands of frequencies.
    pub mels: usize,
    /// A sound is cut, or goes on in silence, to so many samples.
    pub samples: usize,
    /// Tokens that every text begins with.
    pub prompt: Vec<i64>,
    /// The languages, where the second of those is the one that is heard.
    pub languages: Vec<i64>,
    pub greedy: Greedy,
    /// Tokens that end a text.
    pub ends: Vec<i64>,
}

/// What a picture is resized to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Resize {
    /// The shorter side; the longer one follows.
    Shortest {
        shortest_edge: u32,
    },
    Whole {
        height: u32,
        width: u32,
    },
}

/// What Python makes of pictures or sounds.
#[derive(Clone, Debug, Deserialize)]
pub struct Processed {
    pub meanings: Meanings,
    pub steps: Steps,
    /// Paths.
    pub samples: Vec<Vec<String>>,
    /// In the words of the example.
    pub answers: Vec<Value>,
}

/// Everything that the example of a text is compared with.
#[derive(Clone, Debug, Deserialize)]
pub struct Answers {
    pub rules: Rules,
    pub corpus: Rows,
    pub pairs: Rows,
    /// What was answered: the samples, and one with the tokenizer's own special tokens in it.
    pub samples: Vec<Vec<String>>,
    /// In the words of the example.
    pub answers: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said<T> {
    None { none: String },
    Answers(Box<T>),
}

/// Asks Python; the inner error says why a checkpoint has no tokenizer that Rust could read.
///
/// # Errors
/// Stage `export`: no environment, or Python cannot answer.
pub fn ask(spec: &Spec, found: &Found, samples: &[Vec<&str>]) -> Result<Result<Answers, String>, Failure> {
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
        "samples": samples,
        "new_tokens": NEW_TOKENS,
    });
    let extras = found.embedding.as_ref().map(|_| "sentence-transformers");
    said(spec, "exporter.answers", &request, extras)
}

/// Asks Python, which writes its samples and what its processor makes of them to a folder; the inner error says what of that
/// no example does.
///
/// # Errors
/// As [`ask`].
pub fn processed(spec: &Spec, found: &Found, scratch: &Path) -> Result<Result<Processed, String>, Failure> {
    let request = json!({
        "folder": found.folder,
        "class": found.class_name,
        "task": found.task,
        "scratch": scratch,
    });
    said(spec, "exporter.processed", &request, None)
}

fn said<T: DeserializeOwned>(
    spec: &Spec,
    module: &str,
    request: &Value,
    extras: Option<&str>,
) -> Result<Result<T, String>, Failure> {
    let mut said = String::new();
    let python = Python::ready(&spec.versions, "transformers")?.with_extras(&spec.versions, extras)?;
    python.converse(module, request, |line| {
        said.push_str(line);
        Ok(())
    })?;
    match serde_json::from_str(&said).at(Stage::Export, "what Python answers")? {
        Said::None { none } => Ok(Err(none)),
        Said::Answers(answers) => Ok(Ok(*answers)),
    }
}
