//! `text2text-generation`: an encoder reads one text, a decoder scores the next token of another.

use super::contract::*;

/// Sequence-to-sequence language modelling (T5, BART and their kin).
pub struct Text2textGeneration;

impl Task for Text2textGeneration {
    const CONTRACT: Contract = Contract {
        name: "text2text-generation",
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

impl Causal for Text2textGeneration {}

impl Generates for Text2textGeneration {}
