//! `generates`: greedy decoding in Rust gives exactly the tokens of Python's `generate`.

use super::context::{CheckContext, CheckResult};
use crate::artifact::GenerationSettings;
use crate::engine::largest_at_end;
use crate::failure::{At, Failure, Stage};
use crate::numerics::{Tensor, Values};
use crate::task::{Dtype, Fill, Generation};

/// Decodes the stored prompts, a batch of two, without a cache: the program reads the whole row at every step.
pub fn check(context: &CheckContext) -> CheckResult {
    let (Some(generation), Some(stops)) =
        (&context.contract.generation, &context.artifact.manifest.generation)
    else {
        return Err(Failure::new(Stage::Load, "the artifact holds no generation case"));
    };
    let expected = rows_of(&context.artifact.tensor("generate/tokens")?);
    let generated = decode(context, generation, stops)?;
    for (row, (got, expected)) in generated.iter().zip(&expected).enumerate() {
        if let Some(step) =
            (0..got.len().max(expected.len())).find(|&step| got.get(step) != expected.get(step))
        {
            let message = format!("row {row} leaves Python's tokens at new token {step}");
            return Err(Failure::new(Stage::Compare, message)
                .with(format!("got      {got:?}"))
                .with(format!("expected {expected:?}")));
        }
    }
    match generated.len() == expected.len() {
        true => Ok(Vec::new()),
        false => Err(Failure::new(
            Stage::Compare,
            format!("{} rows were generated, not {}", generated.len(), expected.len()),
        )),
    }
}

/// The new tokens of every row: the largest logit each step, until all rows met the end or the limit came.
fn decode(
    context: &CheckContext,
    generation: &Generation,
    stops: &GenerationSettings,
) -> Result<Vec<Vec<i64>>, Failure> {
    let mut inputs = prompt(context, generation, stops)?;
    let logits = context.model.outputs.iter().position(|output| output.name == generation.logits);
    let (Some((grows, _)), Some(logits)) = (context.input(generation.grows), logits) else {
        return Err(Failure::new(Stage::Load, "the entry lacks the input or output that generation needs"));
    };
    let mut rows = vec![Vec::new(); inputs[grows].shape()[0]];
    let mut ended = vec![false; rows.len()];
    for _ in 0..stops.new_tokens {
        let returned = context.run(&inputs)?;
        let mut next = largest_at_end(&returned[logits])?;
        for (row, token) in next.iter_mut().enumerate() {
            if ended[row] {
                *token = stops.pad;
            }
            ended[row] |= Some(*token) == stops.eos;
            rows[row].push(*token);
        }
        if ended.iter().all(|&ended| ended) {
            break;
        }
        grow(context, generation, &mut inputs, &next);
    }
    Ok(rows)
}

/// The stored inputs; a decoder that starts from nothing gets its start token.
fn prompt(
    context: &CheckContext,
    generation: &Generation,
    stops: &GenerationSettings,
) -> Result<Vec<Tensor>, Failure> {
    let start = |name: &str| match (name == generation.grows, stops.start) {
        (true, Some(start)) => {
            let rows = context.artifact.tensor("generate/tokens")?.shape()[0];
            Tensor::int(Dtype::Int64, &[rows, 1], vec![start; rows]).at(Stage::Load, "start tokens")
        }
        _ => context.artifact.tensor(&format!("generate/input/{name}")),
    };
    context.artifact.manifest.inputs.iter().map(|name| start(name)).collect()
}

/// Appends a token to every row, a 1 to its mask and the next position to its positions; whatever else has
/// steps along the tokens, such as what they are or which images they see, repeats its last step.
fn grow(context: &CheckContext, generation: &Generation, inputs: &mut [Tensor], next: &[i64]) {
    let tokens = context.input(generation.grows).and_then(|(_, port)| port.shape.get(1));
    for (port, input) in context.model.inputs.iter().zip(inputs) {
        let name = Some(port.name.as_ref());
        let last = input.shape().get(1).copied().unwrap_or(0);
        let append: Box<dyn Fn(usize, i64) -> i64> = match port.fill {
            _ if name == Some(generation.grows) => Box::new(|row, _| next[row]),
            Fill::Mask if name == generation.mask => Box::new(|_, _| 1),
            Fill::Positions if name == generation.positions => Box::new(|_, previous| previous + 1),
            Fill::Mask | Fill::Tokens | Fill::Text | Fill::Positions => continue,
            _ if tokens.is_some() && port.shape.get(1) == tokens => Box::new(|_, previous| previous),
            _ => continue,
        };
        let before = input.clone();
        *input = input.padded(1, 0, 1, 0.0).map_int(|index, value| match index[1] == last {
            true => {
                let mut previous = index.to_vec();
                previous[1] = last - 1;
                append(index[0], before.int_at(&previous).unwrap_or(0))
            }
            false => value,
        });
    }
}

fn rows_of(tokens: &Tensor) -> Vec<Vec<i64>> {
    let width = tokens.shape().last().copied().unwrap_or(1).max(1);
    match &tokens.values {
        Values::Int(array) => {
            array.iter().copied().collect::<Vec<_>>().chunks(width).map(<[i64]>::to_vec).collect()
        }
        Values::Float(_) => Vec::new(),
    }
}
