//! `text-to-image`: a model that turns tokens of a text into those of an image.

use super::contract::*;

/// Image generators that work on tokens.
pub struct TextToImage;

impl Task for TextToImage {
    const CONTRACT: Contract = Contract {
        name: "text-to-image",
        inputs: &[tokens("input_ids", &[BATCH, SEQUENCE]), mask("attention_mask", &[BATCH, SEQUENCE])],
        outputs: &[float("logits", &[BATCH, SEQUENCE, VOCABULARY])],
        causal: None,
        generation: None,
    };
}
