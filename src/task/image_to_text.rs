//! `image-to-text`: a decoder scores the next token of a text about an image.

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
