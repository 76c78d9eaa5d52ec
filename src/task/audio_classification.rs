//! `audio-classification`: a score for every label of a sound.

use super::contract::*;

/// Samples of a sound, 16 000 a second.
const SAMPLES: Dim = named("samples");

/// Sound classifiers (AST, Wav2Vec2 heads and their kin).
pub struct AudioClassification;

impl Task for AudioClassification {
    const CONTRACT: Contract = Contract {
        name: "audio-classification",
        inputs: &[features("input_values", &[BATCH, SAMPLES])],
        outputs: &[float("logits", &[BATCH, LABELS])],
        causal: None,
        generation: None,
    };
}
