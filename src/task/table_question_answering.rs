//! `table-question-answering`: which cells of a table answer a question.

use super::contract::*;

/// Question answering on tables (TAPAS).
pub struct TableQuestionAnswering;

impl Task for TableQuestionAnswering {
    const CONTRACT: Contract = Contract {
        name: "table-question-answering",
        inputs: &[
            tokens("input_ids", &[BATCH, SEQUENCE]),
            mask("attention_mask", &[BATCH, SEQUENCE]),
            input(
                "token_type_ids",
                Dtype::Int64,
                &[BATCH, SEQUENCE, Dim::Size(7)],
                Fill::Integers { low: 0, high: 3 },
            ),
        ],
        outputs: &[float("logits", &[BATCH, SEQUENCE])],
        causal: None,
        generation: None,
    };
}
