//! `image-classification`: a score for every label of an image.

use super::contract::*;

/// Image classification (ViT, ResNet and their kin).
pub struct ImageClassification;

impl Task for ImageClassification {
    const CONTRACT: Contract = Contract {
        name: "image-classification",
        inputs: &[features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE])],
        outputs: &[float("logits", &[BATCH, LABELS])],
        causal: None,
        generation: None,
    };
}
