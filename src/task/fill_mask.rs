//! `fill-mask`: a score for every vocabulary entry at every position of a text, read in both directions.

use super::contract::*;

/// Masked language modelling (BERT and its kin).
pub struct FillMask;

impl Task for FillMask {
    const CONTRACT: Contract = Contract {
        name: "fill-mask",
        inputs: &[tokens("input_ids", &[BATCH, SEQUENCE]), mask("attention_mask", &[BATCH, SEQUENCE])],
        outputs: &[float("logits", &[BATCH, SEQUENCE, VOCABULARY])],
        causal: None,
        generation: None,
    };
}
