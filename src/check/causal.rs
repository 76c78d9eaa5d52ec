//! `causal`: a token has no say in what comes before it.

use super::bench::{Bench, Claim, Findings, dims_of};
use crate::engine::Tensor;
use crate::failure::{Failure, Stage};
use crate::spec::Check;
use crate::task::{Dim, Dtype};

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
    let mut measures = Vec::new();
    for ((output, old), x) in bench.card.outputs.iter().zip(&before.outputs).zip(&after.outputs) {
        let (Some(row), Some(token)) = (place(output.shape, row_dim), place(output.shape, token_dim)) else {
            continue;
        };
        let (e, r) = bench.references("traced", Dtype::Float32, &output.name)?;
        let claim = Claim {
            check: Check::Causal,
            situation: "before a changed token".to_owned(),
            output: &output.name,
            x,
            e: &e,
            r: &r,
            precision: Dtype::Float32,
        };
        // A padding position may look anywhere: nothing of it is ever used.
        let earlier = |index: &[usize]| index[token] < ends[index[row]] && real(index[row], index[token]);
        measures.push(bench.judge(&claim, earlier)?);
        for (position, &end) in ends.iter().enumerate() {
            let at = |tensor: &Tensor| tensor.select(row, &[position]).select(token, &[end]);
            if at(old).same_bits(&at(x)) {
                let still =
                    format!("{} at row {position}, position {end} ignores its own token", output.name);
                return Err(Failure::new(Stage::Compare, still));
            }
        }
    }
    match measures.is_empty() {
        true => {
            Err(Failure::new(Stage::Compare, format!("no output follows the positions of {}", port.name)))
        }
        false => Ok(measures),
    }
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
