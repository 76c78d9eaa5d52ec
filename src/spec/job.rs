//! What the exporter is told about an entry, and how an unchanged entry is recognised.
//!
//! In: an [`Entry`]. Out: a [`Job`] (the exporter's JSON) and the entry's digest.

use super::checks::Check;
use super::entry::{Case, DimSource, Entry, Padding, Versions, followers};
use crate::task::{Generation, Input, Output};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Tokens that the exporter generates for the `generates` check.
pub const NEW_TOKENS: usize = 16;
/// The same for the `decodes` check: the first comes from the prompt, forty from a step each.
const DECODED_TOKENS: usize = 41;
/// Element types of the extra programs for the `half` check.
const HALF: &[&str] = &["bfloat16"];

/// One entry in the exporter's words. The driver adds `key`, `directory` and `fault`.
#[derive(Clone, Debug, Serialize)]
pub struct Job<'a> {
    pub model: &'a str,
    pub family: &'a str,
    pub task: &'a str,
    pub class: &'a str,
    pub source: &'a str,
    pub checkpoint: Option<&'a str>,
    /// `random`, or `checkpoint` to load the published weights.
    pub weights: &'a str,
    pub config: &'a Map<String, Value>,
    pub seed: u64,
    pub padding: Padding,
    /// The one attention of references and program; absent where the program has what the class chooses.
    pub attention: Option<&'a str>,
    pub dims: &'a BTreeMap<String, DimSource>,
    pub cases: Vec<Case>,
    pub inputs: &'a [Input],
    pub placeholders: &'a BTreeMap<String, usize>,
    pub outputs: &'a [Output],
    /// Axis → its slices for one row of the batch; empty when the `batch_invariant` check does not apply.
    pub rows: BTreeMap<&'a str, usize>,
    /// Whether the `padding_invariant` check applies.
    pub pads: bool,
    /// The input of the `causal` check, where that applies.
    pub causal: Option<&'a str>,
    /// Absent when the `generates` check does not apply.
    pub generation: Option<Generation>,
    pub new_tokens: usize,
    /// Tokens that are generated for the `decodes` check; 0 when it does not apply.
    pub decoded_tokens: usize,
    /// Empty when the `half` check does not apply.
    pub half: &'a [&'a str],
}

impl Entry {
    /// The entry as the exporter reads it, with random weights.
    pub fn job(&self) -> Job<'_> {
        let applies = |check: Check| check.omitted(self).is_none();
        Job {
            model: self.name.as_str(),
            family: self.family.as_str(),
            task: self.task.name,
            class: &self.class,
            source: &self.source,
            checkpoint: self.checkpoint.as_deref(),
            weights: "random",
            config: &self.config,
            seed: self.seed,
            padding: self.padding,
            attention: self.attention.as_ref().map(|attention| attention.name.as_str()),
            dims: &self.dims,
            cases: self.cases(),
            inputs: &self.inputs,
            placeholders: &self.placeholders,
            outputs: &self.outputs,
            rows: if applies(Check::BatchInvariant) { self.rows() } else { BTreeMap::new() },
            pads: applies(Check::PaddingInvariant),
            causal: self.task.causal.filter(|_| applies(Check::Causal)),
            generation: self.generation().filter(|_| applies(Check::Generates)),
            new_tokens: NEW_TOKENS,
            decoded_tokens: if applies(Check::Decodes) { DECODED_TOKENS } else { 0 },
            half: if applies(Check::Half) { HALF } else { &[] },
        }
    }

    /// Axis → its slices for one row of the batch.
    fn rows(&self) -> BTreeMap<&str, usize> {
        followers(self.axes.iter().map(|(name, axis)| (name.as_str(), axis)), "batch")
    }

    /// The task's generation, without the optional inputs that the entry drops.
    fn generation(&self) -> Option<Generation> {
        let kept = |name: &&str| self.inputs.iter().any(|input| input.name == *name);
        self.task.generation.map(|generation| Generation {
            mask: generation.mask.filter(kept),
            positions: generation.positions.filter(kept),
            ..generation
        })
    }

    /// 16 hexadecimal digits that change when, and only when, the entry's job does.
    /// The pins that its source runs under are part of it.
    pub fn digest(&self, versions: &Versions) -> String {
        let source = versions.sources.get(&self.source);
        let mut packages = versions.python.clone();
        // What an overlay has hides the environment's own.
        packages.extend(source.iter().flat_map(|source| source.overlay.clone()));
        let pins = (packages, source);
        let job = serde_json::to_vec(&(self.job(), pins)).expect("a job is plain data with text keys");
        let digest = Sha256::digest(job);
        format!("{digest:x}")[..16].to_owned()
    }
}
