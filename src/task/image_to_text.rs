//! `image-to-text`: a decoder scores the next token of a text about an image.

use super::Text2textGeneration;
use super::contract::*;

/// Captioning and reading models (BLIP, TrOCR and their kin).
pub struct ImageToText;

impl Task for ImageToText {
    const CONTRACT: Contract = Contract {
        name: "image-to-text",
        inputs: &[
            features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE]),
            tokens("decoder_input_ids", &[BATCH, TARGET]),
        ],
        ..Text2textGeneration::CONTRACT
    };
}

impl Causal for ImageToText {}

impl Generates for ImageToText {}
