//! `zero-shot-object-detection`: boxes in an image, scored against texts.

use super::contract::*;

/// Boxes of an image.
const QUERIES: Dim = named("queries");
/// Texts, or their tokens, that boxes are scored against.
const TEXTS: Dim = named("texts");

/// Open-vocabulary detectors (OWL-ViT, Grounding DINO and their kin).
pub struct ZeroShotObjectDetection;

impl Task for ZeroShotObjectDetection {
    const CONTRACT: Contract = Contract {
        name: "zero-shot-object-detection",
        inputs: &[
            tokens("input_ids", &[BATCH, SEQUENCE]),
            mask("attention_mask", &[BATCH, SEQUENCE]),
            features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE]),
        ],
        outputs: &[
            float("logits", &[BATCH, QUERIES, TEXTS]),
            output("pred_boxes", Dtype::Float32, &[BATCH, QUERIES, Dim::Size(4)], Range::Unit),
        ],
        causal: None,
        generation: None,
    };
}
