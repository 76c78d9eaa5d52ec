//! `text-classification`: a score for every label of a text.

use super::contract::*;

/// Classifiers of texts.
pub struct TextClassification;

impl Task for TextClassification {
    const CONTRACT: Contract = Contract {
        name: "text-classification",
        inputs: &[tokens("input_ids", &[BATCH, SEQUENCE]), mask("attention_mask", &[BATCH, SEQUENCE])],
        outputs: &[float("logits", &[BATCH, LABELS])],
        causal: None,
        generation: None,
    };
}
