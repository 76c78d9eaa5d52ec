//! `causal`: a token has no say in what comes before it.

use super::context::{CheckContext, CheckResult, Expectation, dims_of};
use crate::artifact::Change;
use crate::failure::{Failure, Stage};
use crate::numerics::Tensor;
use crate::spec::Check;
use crate::task::{Dim, Output};

/// Changes the last real token of every row and holds all earlier positions against their references;
/// the changed position itself must react.
pub fn check(context: &CheckContext) -> CheckResult {
    let mut measures = Vec::new();
    for situation in context.situations(Check::Causal)? {
        let Change::Token { input } = &situation.change else { continue };
        measures.extend(change(context, &situation.name, input)?);
    }
    Ok(measures)
}

fn change(context: &CheckContext, situation: &str, input: &str) -> CheckResult {
    let Some((position, port)) = context.input(input) else {
        return Err(Failure::new(
            Stage::Load,
            format!("the artifact changes {input}, which the entry lacks"),
        ));
    };
    let [row_dim, token_dim] = port.shape else {
        return Err(Failure::new(Stage::Compare, format!("{input} has no rows of tokens")));
    };
    let (inputs, changed) = (context.inputs("traced")?, context.inputs(situation)?);
    let ends = changed_positions(&inputs[position], &changed[position])?;
    let (before, after) = (context.run(&inputs)?, context.run(&changed)?);

    let along = |output: &Output| place(output.shape, row_dim).zip(place(output.shape, token_dim));
    let earlier = |output: &Output, index: &[usize]| {
        along(output).is_some_and(|(row, token)| index[token] < ends[index[row]])
    };
    let expectation = Expectation {
        yardstick: situation,
        told: "before a changed token".to_owned(),
        keep: &earlier,
        ..context.whole(Check::Causal, "traced")
    };
    let following = || context.model.outputs.iter().enumerate().filter(|(_, output)| along(output).is_some());
    let measures = context.hold(&expectation, following().map(|(place, output)| (output, &after[place])))?;
    if measures.is_empty() {
        return Err(Failure::new(Stage::Compare, format!("no output follows the positions of {input}")));
    }
    for (place, output) in following() {
        let Some((row, token)) = along(output) else { continue };
        for (position, &end) in ends.iter().enumerate() {
            let at = |tensor: &Tensor| tensor.select(row, &[position]).select(token, &[end]);
            if at(&before[place]).same_bits(&at(&after[place])) {
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

/// For every row of `[rows, positions]`, where its token was changed.
fn changed_positions(tokens: &Tensor, changed: &Tensor) -> Result<Vec<usize>, Failure> {
    let (rows, length) = (tokens.shape()[0], tokens.shape()[1]);
    let in_row = |row| (0..length).find(|&at| tokens.int_at(&[row, at]) != changed.int_at(&[row, at]));
    let found: Option<Vec<usize>> = (0..rows).map(in_row).collect();
    found.ok_or_else(|| Failure::new(Stage::Load, "the artifact leaves a row's tokens as they are"))
}
