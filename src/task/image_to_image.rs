//! `image-to-image`: another image of the same scene.

use super::contract::*;

/// Rows of the new image; the model decides how many.
const HEIGHT: Dim = named("height");
/// Columns of the new image.
const WIDTH: Dim = named("width");

/// Restorers and upscalers (Swin2SR).
pub struct ImageToImage;

impl Task for ImageToImage {
    const CONTRACT: Contract = Contract {
        name: "image-to-image",
        inputs: &[features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE])],
        outputs: &[float("reconstruction", &[BATCH, CHANNELS, HEIGHT, WIDTH])],
        causal: None,
        generation: None,
    };
}
