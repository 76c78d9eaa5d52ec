//! `mask-generation`: masks of the objects that points in an image belong to.

use super::contract::*;

/// Objects asked for in an image.
const PROMPTS: Dim = named("prompts");
/// Points on one object.
const POINTS: Dim = named("points");
/// Masks proposed for one object.
const MASKS: Dim = named("masks");
/// Rows of a mask; the model decides how many.
const HEIGHT: Dim = named("height");
/// Columns of a mask.
const WIDTH: Dim = named("width");

/// Promptable segmenters (SAM and its kin).
pub struct MaskGeneration;

impl Task for MaskGeneration {
    const CONTRACT: Contract = Contract {
        name: "mask-generation",
        inputs: &[
            features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE]),
            features("input_points", &[BATCH, PROMPTS, POINTS, Dim::Size(2)]),
        ],
        outputs: &[
            float("pred_masks", &[BATCH, PROMPTS, MASKS, HEIGHT, WIDTH]),
            float("iou_scores", &[BATCH, PROMPTS, MASKS]),
        ],
        causal: None,
        generation: None,
    };
}
