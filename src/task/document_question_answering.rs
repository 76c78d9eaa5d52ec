//! `document-question-answering`: where the answer to a question begins and ends in a page.

use super::contract::*;

/// Question answering on pages, from words, their boxes and the picture (LayoutLM and its kin).
pub struct DocumentQuestionAnswering;

impl Task for DocumentQuestionAnswering {
    const CONTRACT: Contract = Contract {
        name: "document-question-answering",
        inputs: &[
            tokens("input_ids", &[BATCH, SEQUENCE]),
            mask("attention_mask", &[BATCH, SEQUENCE]),
            input("bbox", Dtype::Int64, &[BATCH, SEQUENCE, Dim::Size(4)], Fill::Boxes),
        ],
        outputs: &[float("start_logits", &[BATCH, SEQUENCE]), float("end_logits", &[BATCH, SEQUENCE])],
        causal: None,
        generation: None,
    };
}
