//! `question-answering`: where the answer to a question begins and ends in a text.

use super::contract::*;

/// Extractive question answering.
pub struct QuestionAnswering;

impl Task for QuestionAnswering {
    const CONTRACT: Contract = Contract {
        name: "question-answering",
        inputs: &[tokens("input_ids", &[BATCH, SEQUENCE]), mask("attention_mask", &[BATCH, SEQUENCE])],
        outputs: &[float("start_logits", &[BATCH, SEQUENCE]), float("end_logits", &[BATCH, SEQUENCE])],
        causal: None,
        generation: None,
    };
}
