//! `video-classification`: a score for every label of a video.

use super::contract::*;

/// Pictures of a video.
const FRAMES: Dim = named("frames");

/// Video classifiers (VideoMAE, TimeSformer and their kin).
pub struct VideoClassification;

impl Task for VideoClassification {
    const CONTRACT: Contract = Contract {
        name: "video-classification",
        inputs: &[features("pixel_values", &[BATCH, FRAMES, CHANNELS, IMAGE, IMAGE])],
        outputs: &[float("logits", &[BATCH, LABELS])],
        causal: None,
        generation: None,
    };
}
