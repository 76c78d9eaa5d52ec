//! `output_contract`: outputs have the types, shapes and ranges their task promises, in every case.

use super::context::{CheckContext, CheckResult};
use crate::failure::{Failure, Stage};
use crate::numerics::{Tensor, Values};
use crate::task::{Dim, Output, Range};
use std::collections::BTreeMap;

/// How far a vector of a [`Range::Normalised`] output may be from length 1: float32 rounding of a short sum.
const UNIT_LENGTH: f64 = 1e-4;

/// Runs every case and holds its outputs against the contract, symbols resolved by the case and the config.
pub fn check(context: &CheckContext) -> CheckResult {
    for case in &context.artifact.manifest.cases {
        let outputs = context.run(&context.inputs(&case.name)?)?;
        let mut sizes = context.artifact.sizes(case);
        let kept = shapes(context.model.outputs, &outputs, &mut sizes)
            .and_then(|()| ranges(context.model.outputs, &outputs, &sizes));
        kept.map_err(|broken| {
            let task = context.contract.name;
            Failure::new(Stage::Compare, format!("case {}: task {task} promises {broken}", case.name))
        })?;
    }
    Ok(Vec::new())
}

/// Whether `outputs` have the types and shapes that `ports` promise where symbols have `sizes`; a symbol without a
/// size is bound by the first output that carries it. The error completes "the task promises …".
pub fn shapes(
    ports: &[Output],
    outputs: &[Tensor],
    sizes: &mut BTreeMap<String, usize>,
) -> Result<(), String> {
    for (port, tensor) in ports.iter().zip(outputs) {
        let name = &port.name;
        if tensor.dtype != port.dtype {
            return Err(format!("{name} as {}, it is {}", port.dtype.name(), tensor.dtype.name()));
        }
        if tensor.shape().len() != port.shape.len() {
            return Err(format!("{name} as {}, it is {:?}", symbols(port.shape), tensor.shape()));
        }
        for (dim, &found) in port.shape.iter().zip(tensor.shape()) {
            let expected = match dim {
                Dim::Size(size) => *size,
                Dim::Named(symbol) => *sizes.entry(symbol.to_string()).or_insert(found),
            };
            if expected != found {
                let shape = symbols(port.shape);
                return Err(format!("{name} as {shape} with {dim} = {expected}, it is {:?}", tensor.shape()));
            }
        }
    }
    Ok(())
}

/// Whether the values of `outputs` are in the ranges that `ports` promise.
fn ranges(ports: &[Output], outputs: &[Tensor], sizes: &BTreeMap<String, usize>) -> Result<(), String> {
    ports.iter().zip(outputs).try_for_each(|(port, tensor)| range(port, tensor, sizes))
}

fn symbols(shape: &[Dim]) -> String {
    format!("[{}]", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn range(port: &Output, tensor: &Tensor, sizes: &BTreeMap<String, usize>) -> Result<(), String> {
    let (name, values) = (&port.name, tensor.to_f64());
    if let Some(odd) = values.iter().find(|value| !value.is_finite()) {
        return Err(format!("finite {name}, it holds {odd}"));
    }
    let outside = |low: f64, high: f64| values.iter().find(|value| !(low..=high).contains(*value));
    match port.range {
        Range::Finite => Ok(()),
        Range::Unit => match outside(0.0, 1.0) {
            Some(value) => Err(format!("{name} in [0, 1], it holds {value}")),
            None => Ok(()),
        },
        Range::TokenIds => {
            let vocabulary = sizes.get("vocabulary").copied().unwrap_or(usize::MAX);
            match outside(0.0, vocabulary.saturating_sub(1) as f64) {
                Some(value) => Err(format!("{name} below {vocabulary}, it holds {value}")),
                None => Ok(()),
            }
        }
        Range::Normalised => match vector_lengths(tensor).find(|length| (length - 1.0).abs() > UNIT_LENGTH) {
            Some(length) => Err(format!("{name} of length 1, a vector has length {length}")),
            None => Ok(()),
        },
    }
}

/// Euclidean lengths along the last dimension.
fn vector_lengths(tensor: &Tensor) -> impl Iterator<Item = f64> {
    let values = match &tensor.values {
        Values::Float(array) => array.clone(),
        Values::Int(array) => array.mapv(|value| value as f64),
    };
    let width = values.shape().last().copied().unwrap_or(1).max(1);
    let flat: Vec<f64> = values.iter().copied().collect();
    let lengths: Vec<f64> = flat
        .chunks(width)
        .map(|vector| vector.iter().map(|value| value * value).sum::<f64>().sqrt())
        .collect();
    lengths.into_iter()
}
