//! `any-to-any`: a language model over texts, images and sounds that writes tokens of any kind.

use super::TextGeneration;
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
        ..TextGeneration::CONTRACT
    };
}

impl Causal for AnyToAny {}

impl Generates for AnyToAny {}
