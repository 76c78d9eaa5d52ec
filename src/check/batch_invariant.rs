//! `batch_invariant`: a row's outputs do not depend on the rows beside it.

use super::bench::{Bench, Claim, Findings, dims_of, row_of};
use crate::spec::Check;

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
        let claim = Claim {
            situation: format!("row {row} alone"),
            part: &|port, reference| row_of(&reference, port.shape, &followers, row),
            ..Claim::whole(Check::BatchInvariant, "traced")
        };
        measures.extend(bench.hold(&claim, bench.card.outputs.iter().zip(&returned.outputs))?);
    }
    Ok(measures)
}
