//! `padding_invariant`: what a mask hides has no say.

use super::context::{CheckContext, CheckResult, Expectation, dims_of};
use crate::artifact::Change;
use crate::numerics::Tensor;
use crate::spec::Check;
use crate::task::Output;

/// Adds padding on the side where the exporter put it, for each mask in turn, and holds all real positions
/// against the references of the unpadded case.
pub fn check(context: &CheckContext) -> CheckResult {
    let mut measures = Vec::new();
    for situation in context.situations(Check::PaddingInvariant)? {
        let Change::Padding { axis, before, after, .. } = &situation.change else { continue };
        let returned = context.run(&context.inputs(&situation.name)?)?;
        let expectation = Expectation {
            yardstick: &situation.name,
            told: format!("{} more padding positions along {axis}", before + after),
            view: &|output, padded| unpadded(output, padded, axis, *before, *after),
            ..context.whole(Check::PaddingInvariant, "traced")
        };
        measures.extend(context.hold(&expectation, context.model.outputs.iter().zip(&returned))?);
    }
    Ok(measures)
}

/// An output without what belongs to the added positions.
fn unpadded(output: &Output, padded: Tensor, axis: &str, before: usize, after: usize) -> Tensor {
    dims_of(output.shape, axis).into_iter().fold(padded, |tensor, dim| {
        let length = tensor.shape()[dim].saturating_sub(before + after);
        tensor.select(dim, &(before..before + length).collect::<Vec<_>>())
    })
}
