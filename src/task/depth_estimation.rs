//! `depth-estimation`: the distance of every place of an image.

use super::contract::*;

/// Rows of the depth map; the model decides how many.
const HEIGHT: Dim = named("height");
/// Columns of the depth map.
const WIDTH: Dim = named("width");

/// Depth estimators (DPT, Depth Anything and their kin).
pub struct DepthEstimation;

impl Task for DepthEstimation {
    const CONTRACT: Contract = Contract {
        name: "depth-estimation",
        inputs: &[features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE])],
        outputs: &[float("predicted_depth", &[BATCH, HEIGHT, WIDTH])],
        causal: None,
        generation: None,
    };
}
