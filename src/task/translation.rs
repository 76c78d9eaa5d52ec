//! `translation`: an encoder reads a text in one language, a decoder scores its next token in another.

use super::contract::*;

/// Translation models (Marian, M2M-100 and their kin).
pub struct Translation;

impl Task for Translation {
    const CONTRACT: Contract = Contract {
        name: "translation",
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
