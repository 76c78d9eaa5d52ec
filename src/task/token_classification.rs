//! `token-classification`: a score for every label at every position of a text.

use super::contract::*;

/// Taggers of tokens.
pub struct TokenClassification;

impl Task for TokenClassification {
    const CONTRACT: Contract = Contract {
        name: "token-classification",
        inputs: &[tokens("input_ids", &[BATCH, SEQUENCE]), mask("attention_mask", &[BATCH, SEQUENCE])],
        outputs: &[float("logits", &[BATCH, SEQUENCE, LABELS])],
        causal: None,
        generation: None,
    };
}
