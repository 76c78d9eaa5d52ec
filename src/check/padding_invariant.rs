//! `padding_invariant`: what a mask hides has no say.

use super::bench::{Bench, Claim, Findings, dims_of};
use crate::engine::Tensor;
use crate::spec::Check;
use crate::task::{Dim, Fill, Input, Output};

/// Padding added to every row.
const EXTRA: usize = 3;

/// Adds padding on the side where the exporter put it, for each mask in turn, and holds all real positions
/// against the references of the unpadded case.
pub fn check(bench: &Bench) -> Findings {
    let mut measures = Vec::new();
    for (position, port) in bench.card.inputs.iter().enumerate().filter(|(_, port)| port.fill == Fill::Mask) {
        if let [.., Dim::Named(axis)] = port.shape {
            measures.extend(pad(bench, position, port, axis)?);
        }
    }
    Ok(measures)
}

fn pad(bench: &Bench, mask_position: usize, mask_port: &Input, axis: &str) -> Findings {
    let inputs = bench.inputs("traced")?;
    let mask = &inputs[mask_position];
    let left = pads_left(mask);
    let (before, after) = if left { (EXTRA, 0) } else { (0, EXTRA) };
    let padded: Vec<Tensor> = bench
        .card
        .inputs
        .iter()
        .zip(&inputs)
        .map(|(port, tensor)| {
            dims_of(port.shape, axis)
                .into_iter()
                .fold(tensor.clone(), |tensor, dim| tensor.padded(dim, before, after, 0.0))
        })
        .collect();
    let returned = bench.run(&padded)?;
    let unpadded = bench.card.outputs.iter().zip(returned.outputs).map(|(port, x)| {
        dims_of(port.shape, axis).into_iter().fold(x, |x, dim| {
            let length = x.shape()[dim].saturating_sub(EXTRA);
            x.select(dim, &(before..before + length).collect::<Vec<_>>())
        })
    });
    let unpadded: Vec<Tensor> = unpadded.collect();
    let claim = Claim {
        situation: format!("{EXTRA} more padding positions along {axis}"),
        keep: &|port, index| is_real(mask, mask_port, port, index),
        ..Claim::whole(Check::PaddingInvariant, "traced")
    };
    bench.hold(&claim, bench.card.outputs.iter().zip(&unpadded))
}

/// Whether some row of the mask begins with padding.
fn pads_left(mask: &Tensor) -> bool {
    let rows = mask.shape().first().copied().unwrap_or(0);
    (0..rows).any(|row| mask.int_at(&[row, 0]) == Some(0))
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
