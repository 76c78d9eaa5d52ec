//! `object-detection`: boxes and their labels' scores, a fixed number of them per image.

use super::contract::*;

/// Objects looked for in an image.
const QUERIES: Dim = named("queries");
/// Labels, with "no object" where the model has it.
const CLASSES: Dim = named("classes");

/// Detectors with object queries (DETR and its kin).
pub struct ObjectDetection;

impl Task for ObjectDetection {
    const CONTRACT: Contract = Contract {
        name: "object-detection",
        inputs: &[features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE])],
        outputs: &[
            float("logits", &[BATCH, QUERIES, CLASSES]),
            output("pred_boxes", Dtype::Float32, &[BATCH, QUERIES, Dim::Size(4)], Range::Unit),
        ],
        causal: None,
        generation: None,
    };
}
