//! `summarization`: an encoder reads a text, a decoder scores the next token of its summary.

use super::contract::*;

/// Summarisers (Pegasus and its kin).
pub struct Summarization;

impl Task for Summarization {
    const CONTRACT: Contract = Contract {
        name: "summarization",
        inputs: &[
            tokens("input_ids", &[BATCH, SEQUENCE]),
            mask("attention_mask", &[BATCH, SEQUENCE]),
            tokens("decoder_input_ids", &[BATCH, TARGET]),
        ],
        outputs: &[float("logits", &[BATCH, TARGET, VOCABULARY])],
        causal: Some("decoder_input_ids"),
        generation: Some(Generation {
            grows: "decoder_input_ids",
            mask: None,
            positions: None,
            logits: "logits",
        }),
    };
}
