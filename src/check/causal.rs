//! `causal`: a token has no say in what comes before it.

use super::bench::{Bench, Claim, Findings, dims_of};
use crate::engine::Tensor;
use crate::failure::{Failure, Stage};
use crate::spec::Check;
use crate::task::{Dim, Output};

/// Changes the last real token of every row and holds all earlier positions against their references;
/// the changed position itself must react.
pub fn check(bench: &Bench) -> Findings {
    let Some((position, port)) = bench.contract.causal.and_then(|name| bench.input(name)) else {
        return Err(Failure::new(Stage::Compare, "the task is causal in an input the entry does not have"));
    };
    let inputs = bench.inputs("traced")?;
    let tokens = &inputs[position];
    let mask = bench.mask_of(port).map(|mask| &inputs[mask]);
    let real = |row, position| mask.is_none_or(|mask| mask.int_at(&[row, position]) != Some(0));
    let (rows, length) = (tokens.shape()[0], tokens.shape()[1]);
    let ends: Vec<usize> =
        (0..rows).map(|row| (0..length).rev().find(|&position| real(row, position)).unwrap_or(0)).collect();
    let changed = change(tokens, &ends)?;
    let mut changed_inputs = inputs.clone();
    changed_inputs[position] = changed;
    let (before, after) = (bench.run(&inputs)?, bench.run(&changed_inputs)?);

    let [row_dim, token_dim] = port.shape else {
        return Err(Failure::new(Stage::Compare, format!("{} has no rows of tokens", port.name)));
    };
    let along = |output: &Output| place(output.shape, row_dim).zip(place(output.shape, token_dim));
    // A padding position may look anywhere: nothing of it is ever used.
    let earlier = |output: &Output, index: &[usize]| {
        along(output)
            .is_some_and(|(row, token)| index[token] < ends[index[row]] && real(index[row], index[token]))
    };
    let claim = Claim {
        situation: "before a changed token".to_owned(),
        keep: &earlier,
        ..Claim::whole(Check::Causal, "traced")
    };
    let following = || bench.card.outputs.iter().enumerate().filter(|(_, output)| along(output).is_some());
    let measures = bench.hold(&claim, following().map(|(place, output)| (output, &after.outputs[place])))?;
    if measures.is_empty() {
        let none = format!("no output follows the positions of {}", port.name);
        return Err(Failure::new(Stage::Compare, none));
    }
    for (place, output) in following() {
        let Some((row, token)) = along(output) else { continue };
        for (position, &end) in ends.iter().enumerate() {
            let at = |tensor: &Tensor| tensor.select(row, &[position]).select(token, &[end]);
            if at(&before.outputs[place]).same_bits(&at(&after.outputs[place])) {
                let still =
                    format!("{} at row {position}, position {end} ignores its own token", output.name);
                return Err(Failure::new(Stage::Compare, still));
            }
        }
    }
    Ok(measures)
}

fn place(shape: &[Dim], dim: &Dim) -> Option<usize> {
    match dim {
        Dim::Named(axis) => dims_of(shape, axis).first().copied(),
        Dim::Size(_) => None,
    }
}

/// The tokens with each row's last real one replaced by that of another row.
fn change(tokens: &Tensor, ends: &[usize]) -> Result<Tensor, Failure> {
    // The last tokens of rows are plain ones: never padding, never placeholders for images or sounds.
    let plain: Vec<i64> =
        ends.iter().enumerate().filter_map(|(row, &end)| tokens.int_at(&[row, end])).collect();
    if plain.iter().all(|token| Some(token) == plain.first()) {
        return Err(Failure::new(Stage::Compare, "all rows of the case end in the same token"));
    }
    Ok(tokens.map_int(|index, token| match index[1] == ends[index[0]] {
        true => plain.iter().copied().find(|&other| other != token).unwrap_or(token),
        false => token,
    }))
}
