//! `visual-question-answering`: a score for every answer to a question about an image.

use super::contract::*;

/// Question answering on images with a fixed set of answers (ViLT and its kin).
pub struct VisualQuestionAnswering;

impl Task for VisualQuestionAnswering {
    const CONTRACT: Contract = Contract {
        name: "visual-question-answering",
        inputs: &[
            tokens("input_ids", &[BATCH, SEQUENCE]),
            mask("attention_mask", &[BATCH, SEQUENCE]),
            features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE]),
        ],
        outputs: &[float("logits", &[BATCH, LABELS])],
        causal: None,
        generation: None,
    };
}
