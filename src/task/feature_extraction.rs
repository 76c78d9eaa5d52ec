//! `feature-extraction`: a vector for every position of a text or of a sound.

use super::contract::*;

/// Width of a position's vector.
const HIDDEN: Dim = named("hidden");

/// Base models without a head (BERT's trunk, Wav2Vec2's trunk).
pub struct FeatureExtraction;

impl Task for FeatureExtraction {
    const CONTRACT: Contract = Contract {
        name: "feature-extraction",
        inputs: &[tokens("input_ids", &[BATCH, SEQUENCE]), mask("attention_mask", &[BATCH, SEQUENCE])],
        outputs: &[float("last_hidden_state", &[BATCH, SEQUENCE, HIDDEN])],
        causal: None,
        generation: None,
    };
}
