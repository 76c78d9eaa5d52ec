//! The checks a model can be put to, and which of them suit which entry.
//!
//! In: an entry. Out: the checks to generate, and for every other one the reason why not.

use super::entry::{Axis, Entry};
use crate::task::{Dim, Dtype, Fill};
use serde::Serialize;

/// Why nothing is decoded.
const NO_TEXT: &str = "the task does not generate text";

/// A property that a generated module proves. What each one does is in `src/check/`, one file each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    Loads,
    OutputContract,
    MatchesReference,
    Generalises,
    Deterministic,
    BatchInvariant,
    PaddingInvariant,
    Causal,
    Responsive,
    EveryParameter,
    Reloads,
    Optimised,
    Half,
    Generates,
    Decodes,
    Exact,
}

impl Check {
    /// Every check, in the order in which they are generated and reported.
    pub const ALL: [Self; 16] = [
        Self::Loads,
        Self::OutputContract,
        Self::MatchesReference,
        Self::Generalises,
        Self::Deterministic,
        Self::BatchInvariant,
        Self::PaddingInvariant,
        Self::Causal,
        Self::Responsive,
        Self::EveryParameter,
        Self::Reloads,
        Self::Optimised,
        Self::Half,
        Self::Generates,
        Self::Decodes,
        Self::Exact,
    ];

    /// The name of its function in generated modules, and its key under `omit` and `tolerance`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loads => "loads",
            Self::OutputContract => "output_contract",
            Self::MatchesReference => "matches_reference",
            Self::Generalises => "generalises",
            Self::Deterministic => "deterministic",
            Self::BatchInvariant => "batch_invariant",
            Self::PaddingInvariant => "padding_invariant",
            Self::Causal => "causal",
            Self::Responsive => "responsive",
            Self::EveryParameter => "every_parameter",
            Self::Reloads => "reloads",
            Self::Optimised => "optimised",
            Self::Half => "half",
            Self::Generates => "generates",
            Self::Decodes => "decodes",
            Self::Exact => "exact",
        }
    }

    /// What it proves, as the README has it.
    pub fn proves(self) -> &'static str {
        match self {
            Self::Loads => {
                "class, task and names are those that were exported; weights are eager's, bit by bit"
            }
            Self::OutputContract => "outputs have the task's names, types, shapes and ranges, in every case",
            Self::MatchesReference => "outputs equal eager Python's, by the numerical rule",
            Self::Generalises => {
                "so they do at a second size of every dynamic axis: batch, sequence, image, frames"
            }
            Self::Deterministic => "two runs give the same bits",
            Self::BatchInvariant => "a row alone gives what it gives in a batch",
            Self::PaddingInvariant => "more padding changes nothing at real positions",
            Self::Causal => "a token changes nothing before it",
            Self::Responsive => {
                "every input that may have other values changes some output clearly; no output is constant"
            }
            Self::EveryParameter => "every parameter changes some output, or the entry says why not",
            Self::Reloads => "saved and loaded again, the program gives the same bits",
            Self::Optimised => {
                "what libtorch makes of the program in its first runs computes the same, at every size"
            }
            Self::Half => {
                "the program in half precision equals eager in that precision, three times in a row"
            }
            Self::Generates => "greedy decoding in Rust gives exactly the tokens of Python's generate",
            Self::Decodes => {
                "so it does with a cache that stays on the device, and every step's logits are those without one"
            }
            Self::Exact => {
                "the graph in float64 computes what eager does in float64, to 1e-12 of it: rounding hides nothing"
            }
        }
    }

    /// The check of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.name() == name)
    }

    /// Element type of the program that the check runs, where that half precision was asked for.
    pub fn dtype(self, half: Dtype) -> Dtype {
        match self {
            Self::Half => half,
            Self::Exact => Dtype::Float64,
            _ => Dtype::Float32,
        }
    }

    /// Whether the check runs programs of that element type.
    pub fn runs_in(self, dtype: Dtype) -> bool {
        match self {
            Self::Half => matches!(dtype, Dtype::Bfloat16 | Dtype::Float16),
            any => any.dtype(Dtype::Bfloat16) == dtype,
        }
    }

    /// Why the entry's task or its own words leave this check out; `None` when it applies.
    pub fn omitted(self, entry: &Entry) -> Option<String> {
        self.unsuited(entry).map(str::to_owned).or_else(|| entry.omit.get(&self).cloned())
    }

    /// Why the check makes no sense for the entry's inputs and outputs.
    pub fn unsuited(self, entry: &Entry) -> Option<&'static str> {
        match self {
            Self::Generalises => (!any_dynamic(entry)).then_some("no axis of the model is dynamic"),
            Self::BatchInvariant if one_row(entry) => Some("the batch is one row"),
            Self::BatchInvariant => (!has_rows(entry)).then_some("no input has rows"),
            Self::PaddingInvariant => (!has_mask(entry)).then_some("the task has no attention mask"),
            Self::Causal => entry.task.causal.is_none().then_some("the task reads in both directions"),
            Self::Generates => entry.task.generation.is_none().then_some(NO_TEXT),
            Self::Decodes if entry.omit.contains_key(&Self::Generates) => Some("generates is left out"),
            Self::Decodes => entry.task.generation.is_none().then_some(NO_TEXT),
            _ => None,
        }
    }
}

impl Entry {
    /// The checks that are due, in their order: those that nothing leaves out.
    pub fn due(&self) -> impl Iterator<Item = Check> {
        Check::ALL.into_iter().filter(|check| check.omitted(self).is_none())
    }

    /// The checks that would suit the entry and that it leaves out by its own words.
    pub fn left_out(&self) -> impl Iterator<Item = Check> {
        self.omit.keys().copied().filter(|check| check.unsuited(self).is_none())
    }
}

fn any_dynamic(entry: &Entry) -> bool {
    entry.axes.values().any(|axis| matches!(axis, Axis::Dynamic { .. }))
}

fn has_rows(entry: &Entry) -> bool {
    let batch = |dim: &Dim| matches!(dim, Dim::Named(name) if name == "batch");
    entry.inputs.iter().any(|input| input.shape.iter().any(batch))
}

/// Whether a row alone is what the batch always is.
fn one_row(entry: &Entry) -> bool {
    matches!(entry.axes.get("batch"), Some(Axis::Fixed { size: 1, .. }))
}

fn has_mask(entry: &Entry) -> bool {
    entry.inputs.iter().any(|input| input.fill == Fill::Mask)
}
