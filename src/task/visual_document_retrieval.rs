//! `visual-document-retrieval`: vectors of pages and of questions that are compared with each other.

use super::contract::*;

/// Width of the space that pages and questions share.
const PROJECTION: Dim = named("projection");

/// Retrieval of pages (ColPali and its kin).
pub struct VisualDocumentRetrieval;

impl Task for VisualDocumentRetrieval {
    const CONTRACT: Contract = Contract {
        name: "visual-document-retrieval",
        inputs: &[
            tokens("input_ids", &[BATCH, SEQUENCE]),
            mask("attention_mask", &[BATCH, SEQUENCE]),
            features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE]),
        ],
        outputs: &[float("embeddings", &[BATCH, SEQUENCE, PROJECTION])],
        causal: None,
        generation: None,
    };
}
