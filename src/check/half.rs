//! `half`: the program traced in a half precision computes what eager computes in that precision.

use super::bench::{Bench, Claim, Findings};
use crate::engine::Tensor;
use crate::failure::{Failure, Stage};
use crate::spec::Check;
use crate::task::Dtype;

/// Runs the bfloat16 program on the traced case; eager's own bfloat16 error is the yardstick.
pub fn check(bench: &Bench) -> Findings {
    let precision = Dtype::Bfloat16;
    let program = bench.engine.load(&bench.artifact.program(precision), bench.device)?;
    let inputs: Vec<Tensor> = bench.inputs("traced")?.iter().map(|input| input.cast(precision)).collect();
    let outputs = program.run(&inputs)?;
    if outputs.len() != bench.card.outputs.len() {
        let counts = format!("{} outputs, not {}", outputs.len(), bench.card.outputs.len());
        return Err(Failure::new(Stage::Compare, format!("the bfloat16 program returned {counts}")));
    }
    let claim =
        Claim { situation: precision.name().to_owned(), precision, ..Claim::whole(Check::Half, "traced") };
    bench.hold(&claim, bench.card.outputs.iter().zip(&outputs))
}
