//! `image-segmentation`: a score for every label at every place of an image.

use super::contract::*;

/// Rows of the score map; the model decides how many.
const HEIGHT: Dim = named("height");
/// Columns of the score map.
const WIDTH: Dim = named("width");

/// Segmenters (SegFormer, UperNet and their kin).
pub struct ImageSegmentation;

impl Task for ImageSegmentation {
    const CONTRACT: Contract = Contract {
        name: "image-segmentation",
        inputs: &[features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE])],
        outputs: &[float("logits", &[BATCH, LABELS, HEIGHT, WIDTH])],
        causal: None,
        generation: None,
    };
}
