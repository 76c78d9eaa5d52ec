//! `image-text-to-text`: a language model that continues a text holding placeholders for images.

use super::TextGeneration;
use super::contract::*;

/// Pictures in one call, all rows together, in the order of their placeholders.
const IMAGES: Dim = named("images");

/// Vision-language models (LLaVA and its kin).
pub struct ImageTextToText;

impl Task for ImageTextToText {
    const CONTRACT: Contract = Contract {
        name: "image-text-to-text",
        inputs: &[
            tokens("input_ids", &[BATCH, SEQUENCE]),
            mask("attention_mask", &[BATCH, SEQUENCE]),
            positions("position_ids", &[BATCH, SEQUENCE]),
            features("pixel_values", &[IMAGES, CHANNELS, IMAGE, IMAGE]),
        ],
        ..TextGeneration::CONTRACT
    };
}

impl Causal for ImageTextToText {}

impl Generates for ImageTextToText {}
