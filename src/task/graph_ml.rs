//! `graph-ml`: a score for every label of a graph.

use super::contract::*;

/// Nodes of a graph.
const NODES: Dim = named("nodes");

/// Models of graphs (Graphormer).
pub struct GraphMl;

impl Task for GraphMl {
    const CONTRACT: Contract = Contract {
        name: "graph-ml",
        inputs: &[input(
            "input_nodes",
            Dtype::Int64,
            &[BATCH, NODES, Dim::Size(1)],
            Fill::Integers { low: 1, high: 16 },
        )],
        outputs: &[float("logits", &[BATCH, LABELS])],
        causal: None,
        generation: None,
    };
}
