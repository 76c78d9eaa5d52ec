//! `loads`: the program that loads is the one that was exported, from the class the spec names.

use super::bench::{Bench, Findings};
use crate::failure::{Failure, Stage};
use std::collections::BTreeMap;

/// The manifest names the entry's class and task; the program has the manifest's parameters, by name and shape.
/// Digests were compared when the artifact was opened.
pub fn check(bench: &Bench) -> Findings {
    let manifest = &bench.artifact.manifest;
    same("class", bench.card.class, &manifest.class)?;
    same("task", bench.contract.name, &manifest.task)?;
    let loaded: BTreeMap<String, Vec<usize>> = bench.program.parameters()?.into_iter().collect();
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
    Ok(Vec::new())
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
