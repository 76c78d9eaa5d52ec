//! A request that cannot be met: how far it came, why, and what to copy instead.
//!
//! In: a stage and its failure. Out: the lines that tell whoever wished.

use crate::spec::{Entry, Spec};
use std::fmt::Write;

/// Why there is no entry for a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// `find`, `config`, `build`, `run`, `spec`, `export` or `check`; of a model that is listed as missing, its own.
    pub stage: String,
    pub reason: String,
    pub details: Vec<String>,
    /// The entry whose code is nearest.
    pub copy: Option<String>,
}

impl Refusal {
    /// A refusal without details.
    pub fn new(stage: &str, reason: impl ToString) -> Self {
        Self { stage: stage.to_owned(), reason: reason.to_string(), details: Vec::new(), copy: None }
    }

    /// What to print: stage and reason, details, and the entry to copy.
    pub fn told(&self, asked: &str, spec: &Spec) -> String {
        let mut text = format!("'{asked}' cannot be added: stage {}: {}", self.stage, self.reason);
        for detail in &self.details {
            let _ = write!(text, "\n  | {detail}");
        }
        if let Some(entry) = self.example(asked, spec) {
            let _ = write!(text, "\n  an entry to copy: {} ({})", entry.name, entry.place);
        }
        text
    }

    /// The entry whose code is nearest, else the one whose name is.
    fn example<'a>(&self, asked: &str, spec: &'a Spec) -> Option<&'a Entry> {
        let coded = spec.entries.iter().find(|entry| Some(entry.name.as_str()) == self.copy.as_deref());
        coded.or_else(|| nearest(spec, asked))
    }
}

/// The entry whose name is nearest.
pub fn nearest<'a>(spec: &'a Spec, name: &str) -> Option<&'a Entry> {
    let near = |entry: &&Entry| (strsim::jaro_winkler(entry.name.as_str(), name) * 1e6) as u64;
    spec.entries.iter().max_by_key(near)
}
