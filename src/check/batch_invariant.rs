//! `batch_invariant`: a row's outputs do not depend on the rows beside it.

use super::bench::{Bench, Claim, Findings, dims_of, row_of};
use crate::spec::Check;
use crate::task::Dtype;

/// Runs every row of the traced case alone and holds it against its row of the batch's references.
pub fn check(bench: &Bench) -> Findings {
    let inputs = bench.inputs("traced")?;
    let followers = bench.followers("batch");
    let rows = bench
        .card
        .inputs
        .iter()
        .zip(&inputs)
        .find_map(|(port, tensor)| dims_of(port.shape, "batch").first().map(|&dim| tensor.shape()[dim]));
    let mut measures = Vec::new();
    for row in 0..rows.unwrap_or(0) {
        let alone: Vec<_> = bench
            .card
            .inputs
            .iter()
            .zip(&inputs)
            .map(|(port, tensor)| row_of(tensor, port.shape, &followers, row))
            .collect();
        let returned = bench.run(&alone)?;
        for (port, x) in bench.card.outputs.iter().zip(&returned.outputs) {
            let (e, r) = bench.references("traced", Dtype::Float32, &port.name)?;
            let [e, r] = [e, r].map(|reference| row_of(&reference, port.shape, &followers, row));
            let claim = Claim {
                check: Check::BatchInvariant,
                situation: format!("row {row} alone"),
                output: &port.name,
                x,
                e: &e,
                r: &r,
                precision: Dtype::Float32,
            };
            measures.push(bench.judge(&claim, |_| true)?);
        }
    }
    Ok(measures)
}
