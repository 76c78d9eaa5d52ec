//! `keypoint-matching`: which key points of two images are the same.

use super::contract::*;

/// Key points of an image.
const KEYPOINTS: Dim = named("keypoints");

/// Matchers of key points (SuperGlue, LightGlue and their kin).
pub struct KeypointMatching;

impl Task for KeypointMatching {
    const CONTRACT: Contract = Contract {
        name: "keypoint-matching",
        inputs: &[features("pixel_values", &[BATCH, Dim::Size(2), CHANNELS, IMAGE, IMAGE])],
        outputs: &[float("matching_scores", &[BATCH, Dim::Size(2), KEYPOINTS])],
        causal: None,
        generation: None,
    };
}
