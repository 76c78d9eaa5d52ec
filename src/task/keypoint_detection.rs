//! `keypoint-detection`: where the key points of an image are.

use super::contract::*;

/// Key points of an image.
const KEYPOINTS: Dim = named("keypoints");
/// Rows of a heat map; the model decides how many.
const HEIGHT: Dim = named("height");
/// Columns of a heat map.
const WIDTH: Dim = named("width");

/// Detectors of key points (ViTPose, SuperPoint).
pub struct KeypointDetection;

impl Task for KeypointDetection {
    const CONTRACT: Contract = Contract {
        name: "keypoint-detection",
        inputs: &[features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE])],
        outputs: &[float("heatmaps", &[BATCH, KEYPOINTS, HEIGHT, WIDTH])],
        causal: None,
        generation: None,
    };
}
