//! `responsive`: every input has a say, and no output is a constant.
//!
//! Random weights and a trace can hide a dead model: a head of zeros matches its reference perfectly, and a backbone
//! whose signal is lost in rounding could be any backbone.

use super::context::{Bounds, CheckContext, CheckResult, dims_of};
use crate::failure::{Failure, Stage};
use crate::numerics::{Tensor, Values};
use crate::task::{Fill, Input, Output};

/// How many times what the rule allows an output must change for an input to have a say in it: an input that moves
/// less could be half wrong, and no comparison would show it.
const CLEARLY: f64 = 100.0;

/// Changes one input at a time, where other values fit the rest; each must change some output clearly, where it is
/// compared, and leave it a number. Outputs must vary along every axis they have.
pub fn check(context: &CheckContext) -> CheckResult {
    let inputs = context.inputs("traced")?;
    let before = context.run(&inputs)?;
    for (port, output) in context.model.outputs.iter().zip(&before) {
        alive(context, port, output)?;
    }
    let bounds = context.bounds()?;
    for (position, port) in context.model.inputs.iter().enumerate() {
        // No other values fit the other inputs.
        if matches!(port.fill, Fill::Values { .. } | Fill::Grid { .. }) {
            continue;
        }
        let mut changed = inputs.clone();
        changed[position] = change(context, port, &inputs, position);
        let after = context.run(&changed)?;
        let mut most: f64 = 0.0;
        for (((output, old), new), bounds) in
            context.model.outputs.iter().zip(&before).zip(&after).zip(&bounds)
        {
            let share = share_of(old, new, bounds).ok_or_else(|| {
                let broken = format!("{} is not a number where {} has other values", output.name, port.name);
                Failure::new(Stage::Compare, broken)
            })?;
            most = most.max(share);
        }
        if most < CLEARLY {
            return Err(Failure::new(Stage::Compare, weak(&port.name, most)));
        }
    }
    Ok(Vec::new())
}

/// The root mean square of what changed, over the elements that are compared, as a share of the limit; beyond all bounds
/// where the shape changed, `None` where a number is none any more.
fn share_of(old: &Tensor, new: &Tensor, bounds: &Bounds) -> Option<f64> {
    if old.shape() != new.shape() {
        return Some(f64::INFINITY);
    }
    let (old, new) = (old.to_f64(), new.to_f64());
    let pairs = old.iter().zip(&new).zip(&bounds.compared);
    let (mut squares, mut count) = (0.0, 0);
    for ((a, b), _) in pairs.filter(|(_, compared)| **compared) {
        if b.is_nan() {
            return None;
        }
        count += 1;
        squares += if a == b { 0.0 } else { (a - b) * (a - b) };
    }
    // Nothing allowed and nothing changed is no change.
    if squares == 0.0 { Some(0.0) } else { Some((squares / f64::from(count)).sqrt() / bounds.limit) }
}

fn weak(input: &str, most: f64) -> String {
    match most {
        0.0 => format!("no output depends on {input}"),
        _ => format!(
            "outputs hardly depend on {input}: other values move them by {most:.1} × what rounding may, not {CLEARLY} ×"
        ),
    }
}

/// Not all zero, and not the same slice again and again along any axis of the call.
fn alive(context: &CheckContext, port: &Output, output: &Tensor) -> Result<(), Failure> {
    let values = output.to_f64();
    if values.iter().all(|&value| value == 0.0) {
        return Err(Failure::new(Stage::Compare, format!("{} is zero everywhere", port.name)));
    }
    for (axis, _) in context.model.axes {
        for dim in dims_of(port.shape, axis) {
            let slices = output.shape()[dim];
            let first = output.select(dim, &[0]);
            if slices > 1 && (1..slices).all(|index| output.select(dim, &[index]).same_bits(&first)) {
                let constant = format!("{} is the same for every step along {axis}", port.name);
                return Err(Failure::new(Stage::Compare, constant));
            }
        }
    }
    Ok(())
}

/// The input with other values that are just as valid.
fn change(context: &CheckContext, port: &Input, inputs: &[Tensor], position: usize) -> Tensor {
    let input = &inputs[position];
    match port.fill {
        Fill::Tokens => swap_tokens(input, context.mask_of(port).map(|mask| &inputs[mask]), 0),
        // All rows of a text begin with the same token.
        Fill::Text => swap_tokens(input, context.mask_of(port).map(|mask| &inputs[mask]), 1),
        // A picture without its first column has no height for some (deformable DETR), and a single one may fall between
        // the points at which a smaller mask is read off.
        Fill::Mask if input.shape().len() > 2 => hide_half(input),
        Fill::Mask => hide_first(input),
        // Counted backwards: distances change their sign, so that relative positions react too.
        Fill::Positions => {
            let highest = largest(input);
            input.map_int(|_, value| highest - value)
        }
        // Every other one: ids that are only compared with each other (XLNet's segments) would all stay as equal.
        Fill::Integers { low, high } => {
            let next = |value: i64| (value - low + 1).rem_euclid(high - low) + low;
            let every_other = |index: &[usize]| index.last().is_some_and(|last| last % 2 == 0);
            input
                .map_int(|index, value| if every_other(index) { next(value) } else { value })
                .map_float(|value| next(value as i64) as f64)
        }
        Fill::Boxes => input.map_int(|_, value| value / 2),
        Fill::Ones => input.map_int(|_, value| 1 - value).map_float(|value| value - 0.5),
        Fill::Uniform => input.map_float(|value| 1.0 - value),
        Fill::Normal => input.map_float(|value| -value),
        Fill::MmTokenTypeIds => step_on(input),
        Fill::Values { .. } | Fill::Grid { .. } => input.clone(),
    }
}

/// In every row one token becomes another: the first real one that differs from the next row's, which takes its place;
/// with a single row the first that differs from the one behind it. `after` real tokens are passed over.
fn swap_tokens(tokens: &Tensor, mask: Option<&Tensor>, after: usize) -> Tensor {
    let (rows, length) = (tokens.shape()[0], tokens.shape().last().copied().unwrap_or(1));
    let real = |line: &[usize]| -> Vec<Vec<usize>> {
        let places = (0..length).map(|position| [line, &[position]].concat());
        places.filter(|place| mask.is_none_or(|mask| mask.int_at(place) != Some(0))).skip(after).collect()
    };
    let other = |line: &[usize]| -> Option<(Vec<usize>, i64)> {
        let next = [&[(line[0] + 1) % rows], &line[1..]].concat();
        let from = real(&next).into_iter().skip(usize::from(rows == 1));
        let differing =
            real(line).into_iter().zip(from).find(|(to, from)| tokens.int_at(to) != tokens.int_at(from));
        differing.and_then(|(to, from)| Some((to, tokens.int_at(&from)?)))
    };
    tokens.map_int(|index, token| match other(&index[..index.len() - 1]) {
        Some((place, new)) if place == index => new,
        _ => token,
    })
}

/// Every value moves on by one position, the last to the first.
fn step_on(kinds: &Tensor) -> Tensor {
    let length = kinds.shape().last().copied().unwrap_or(1);
    kinds.map_int(|index, value| {
        let mut before = index.to_vec();
        if let Some(position) = before.last_mut() {
            *position = (*position + length - 1) % length;
        }
        kinds.int_at(&before).unwrap_or(value)
    })
}

/// The first real position of every row becomes padding.
fn hide_first(mask: &Tensor) -> Tensor {
    mask.map_int(|index, value| {
        let (last, row) = (index[index.len() - 1], &index[..index.len() - 1]);
        let before = |position| mask.int_at(&[row, &[position]].concat());
        let is_first = value == 1 && (0..last).all(|position| before(position) == Some(0));
        if is_first { 0 } else { value }
    })
}

/// The second half of every row becomes padding.
fn hide_half(mask: &Tensor) -> Tensor {
    let half = mask.shape().last().map_or(0, |length| length.div_ceil(2));
    mask.map_int(|index, value| if index.last().is_some_and(|last| *last >= half) { 0 } else { value })
}

fn largest(tensor: &Tensor) -> i64 {
    match &tensor.values {
        Values::Int(array) => array.iter().copied().max().unwrap_or(0),
        Values::Float(_) => 0,
    }
}
