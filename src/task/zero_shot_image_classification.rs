//! `zero-shot-image-classification`: how well each of several texts describes each of several images.

use super::contract::*;

/// Texts that images are compared with in one call.
const TEXTS: Dim = named("texts");
/// Width of the space that texts and images share.
const PROJECTION: Dim = named("projection");

/// Dual encoders of images and texts (CLIP, SigLIP and their kin).
pub struct ZeroShotImageClassification;

impl Task for ZeroShotImageClassification {
    const CONTRACT: Contract = Contract {
        name: "zero-shot-image-classification",
        inputs: &[
            tokens("input_ids", &[TEXTS, SEQUENCE]),
            mask("attention_mask", &[TEXTS, SEQUENCE]),
            features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE]),
        ],
        outputs: &[
            float("logits_per_image", &[BATCH, TEXTS]),
            output("text_embeds", Dtype::Float32, &[TEXTS, PROJECTION], Range::Normalised),
            output("image_embeds", Dtype::Float32, &[BATCH, PROJECTION], Range::Normalised),
        ],
        causal: None,
        generation: None,
    };
}
