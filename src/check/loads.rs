//! `loads`: the program that loads is the one that was exported, from the class the spec names.

use super::context::{CheckContext, CheckResult};
use crate::engine::Program;
use crate::failure::{Failure, Stage};
use crate::task::Dtype;
use std::collections::BTreeMap;

/// The manifest names the entry's class and task; the program has the eager model's parameters and buffers, bit by bit.
/// So does every other program in float32. Digests of the files were compared when the artifact was opened.
pub fn check(context: &CheckContext) -> CheckResult {
    let manifest = &context.artifact.manifest;
    same("class", context.model.class, &manifest.class)?;
    same("task", context.contract.name, &manifest.task)?;
    let loaded: BTreeMap<String, Vec<usize>> = context.program.parameters()?.into_iter().collect();
    let exported = &manifest.parameters.tensors;
    for (name, shape) in exported {
        match loaded.get(name) {
            None => return Err(wrong(format!("parameter {name} of the manifest is not in the program"))),
            Some(found) if found != shape => {
                return Err(wrong(format!("parameter {name} is {found:?}, the manifest says {shape:?}")));
            }
            Some(_) => {}
        }
    }
    if let Some(name) = loaded.keys().find(|name| !exported.contains_key(*name)) {
        return Err(wrong(format!("parameter {name} of the program is not in the manifest")));
    }
    let count: usize = loaded.values().map(|shape| shape.iter().product::<usize>()).sum();
    same("parameter count", &manifest.parameters.count.to_string(), &count.to_string())?;
    weights(context.program, context.artifact.digests(Dtype::Float32)?)?;
    for (attention, path) in context.artifact.others() {
        let program = context.load(&path)?;
        let none = || wrong(format!("the manifest has no digests of the program with {attention} attention"));
        weights(program.as_ref(), manifest.digests.get(attention).ok_or_else(none)?)
            .map_err(|failure| failure.with(format!("in the program with {attention} attention")))?;
    }
    Ok(Vec::new())
}

/// Whether every parameter and buffer has the bits of the eager model, by these digests. Weights need no tolerance.
pub fn weights(program: &dyn Program, expected: &BTreeMap<String, String>) -> Result<(), Failure> {
    let found = program.digests(&expected.keys().cloned().collect::<Vec<_>>())?;
    let others: Vec<&String> =
        expected.keys().filter(|name| found.get(*name) != expected.get(*name)).collect();
    match others.first() {
        None => Ok(()),
        Some(name) => Err(wrong(format!(
            "{} of {} weights have other bits than eager's, first {name}",
            others.len(),
            expected.len()
        ))),
    }
}

fn same(what: &str, expected: &str, found: &str) -> Result<(), Failure> {
    match expected == found {
        true => Ok(()),
        false => Err(wrong(format!("{what} is {found}, not {expected}"))),
    }
}

fn wrong(message: String) -> Failure {
    Failure::new(Stage::Load, message)
}
