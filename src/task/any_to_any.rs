//! `any-to-any`: a language model over texts, images and sounds that writes tokens of any kind.

use super::contract::*;

/// Models of several kinds of input and output (Chameleon, Janus and their kin).
pub struct AnyToAny;

impl Task for AnyToAny {
    const CONTRACT: Contract = Contract {
        name: "any-to-any",
        inputs: &[
            tokens("input_ids", &[BATCH, SEQUENCE]),
            mask("attention_mask", &[BATCH, SEQUENCE]),
            positions("position_ids", &[BATCH, SEQUENCE]),
            features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE]),
        ],
        outputs: &[float("logits", &[BATCH, SEQUENCE, VOCABULARY])],
        causal: Some("input_ids"),
        generation: Some(Generation {
            grows: "input_ids",
            mask: Some("attention_mask"),
            positions: Some("position_ids"),
            logits: "logits",
        }),
    };
}
