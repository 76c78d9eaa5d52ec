//! `padding_invariant`: what a mask hides has no say.

use super::context::{CheckContext, CheckResult, Expectation, dims_of};
use crate::artifact::Change;
use crate::engine::Tensor;
use crate::failure::{Failure, Stage};
use crate::spec::Check;
use crate::task::{Dim, Input, Output};

/// Adds padding on the side where the exporter put it, for each mask in turn, and holds all real positions
/// against the references of the unpadded case.
pub fn check(context: &CheckContext) -> CheckResult {
    let mut measures = Vec::new();
    for situation in context.situations(Check::PaddingInvariant)? {
        let Change::Padding { mask, axis, before, after } = &situation.change else { continue };
        let (position, port) = context.input(mask).ok_or_else(|| {
            Failure::new(Stage::Load, format!("the artifact pads {mask}, which the entry does not have"))
        })?;
        let mask = &context.inputs("traced")?[position];
        let returned = context.run(&context.inputs(&situation.name)?)?;
        let expectation = Expectation {
            yardstick: &situation.name,
            told: format!("{} more padding positions along {axis}", before + after),
            view: &|output, padded| unpadded(output, padded, axis, *before, *after),
            keep: &|output, index| is_real(mask, port, output, index),
            ..Expectation::whole(Check::PaddingInvariant, "traced")
        };
        measures.extend(context.hold(&expectation, context.card.outputs.iter().zip(&returned.outputs))?);
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

/// Whether an element of an output belongs to a position that the mask calls real; elements that carry no
/// position always do.
fn is_real(mask: &Tensor, mask_port: &Input, output: &Output, index: &[usize]) -> bool {
    let at = |dim: &Dim| match dim {
        Dim::Named(axis) => dims_of(output.shape, axis).first().map(|&position| index[position]),
        Dim::Size(_) => None,
    };
    let place: Option<Vec<usize>> = mask_port.shape.iter().map(at).collect();
    place.is_none_or(|place| mask.int_at(&place) != Some(0))
}
