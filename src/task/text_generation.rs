//! `text-generation`: a score for every vocabulary entry as the next token, at every position.

use super::contract::*;

/// Causal language modelling (GPT-2, Llama and their kin).
pub struct TextGeneration;

/// How a text is continued.
const GENERATION: Generation = Generation {
    grows: "input_ids",
    mask: Some("attention_mask"),
    positions: Some("position_ids"),
    logits: "logits",
};

impl Task for TextGeneration {
    const CONTRACT: Contract = Contract {
        name: "text-generation",
        inputs: &[
            tokens("input_ids", &[BATCH, SEQUENCE]),
            mask("attention_mask", &[BATCH, SEQUENCE]),
            positions("position_ids", &[BATCH, SEQUENCE]),
        ],
        outputs: &[float("logits", &[BATCH, SEQUENCE, VOCABULARY])],
        causal: Some("input_ids"),
        generation: Some(GENERATION),
    };
}

impl Causal for TextGeneration {}

impl Generates for TextGeneration {}
