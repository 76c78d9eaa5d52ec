//! `image-feature-extraction`: a vector for every patch of an image.

use super::contract::*;

/// Patches of an image, special tokens included; the model decides how many.
const PATCHES: Dim = named("patches");
/// Width of a patch's vector.
const HIDDEN: Dim = named("hidden");

/// Vision trunks without a head (ViT's trunk, DINOv2).
pub struct ImageFeatureExtraction;

impl Task for ImageFeatureExtraction {
    const CONTRACT: Contract = Contract {
        name: "image-feature-extraction",
        inputs: &[features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE])],
        outputs: &[float("last_hidden_state", &[BATCH, PATCHES, HIDDEN])],
        causal: None,
        generation: None,
    };
}
