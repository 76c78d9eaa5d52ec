//! `every_parameter`: no weight is along for the ride.
//!
//! A model whose text tower moves no output has only half of it proved. The exporter disturbs the parameters of the eager
//! model (`exporter/weights.py`) and lists those that move no output by more than the numerical rule allows; that the
//! program has eager's weights and computes what eager computes is for other checks to prove.

use super::context::{CheckContext, CheckResult};
use crate::failure::{Failure, Stage};
use crate::spec::Idle;
use std::collections::BTreeMap;
use wildmatch::WildMatch;

/// Holds the idle parameters of the manifest against the entry's reasons; a reason must name some parameter.
pub fn check(context: &CheckContext) -> CheckResult {
    let idle = &context.artifact.manifest.idle;
    let unexcused = unexcused(idle, context.model.idle);
    if !unexcused.is_empty() {
        return Err(unmoved(&unexcused, context.artifact.manifest.parameters.tensors.len()));
    }
    // Which parameters are idle may differ a little between machines; which there are does not.
    let names: Vec<&str> =
        context.artifact.manifest.parameters.tensors.keys().map(|name| eager_name(name)).collect();
    let names_nothing = |excuse: &&Idle| {
        let pattern = WildMatch::new(&excuse.parameters);
        excuse.own && !names.iter().any(|name| pattern.matches(name))
    };
    match context.model.idle.iter().find(names_nothing) {
        None => Ok(Vec::new()),
        Some(excuse) => {
            let message = format!("`idle` excuses {}, and no parameter has such a name", excuse.parameters);
            Err(Failure::new(Stage::Compare, message).with("take it out of the entry, or mend its spelling"))
        }
    }
}

/// A parameter's name in the eager model, which the program holds as `model`.
pub fn eager_name(name: &str) -> &str {
    name.strip_prefix("model.").unwrap_or(name)
}

/// The idle parameters that no reason speaks for.
pub fn unexcused<'a>(idle: &'a [String], excuses: &[Idle]) -> Vec<&'a str> {
    let patterns: Vec<WildMatch> = excuses.iter().map(|excuse| WildMatch::new(&excuse.parameters)).collect();
    let names = idle.iter().map(String::as_str);
    names.filter(|name| !patterns.iter().any(|pattern| pattern.matches(name))).collect()
}

/// The failure, with the parameters by the module that they are in.
fn unmoved(names: &[&str], all: usize) -> Failure {
    let mut modules: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *modules.entry(name.rsplit_once('.').map_or(*name, |(module, _)| module)).or_default() += 1;
    }
    let message = format!("{} of {all} parameters move no output, first {}", names.len(), names[0]);
    let failure = Failure::new(Stage::Compare, message);
    let told = modules
        .iter()
        .take(TOLD)
        .fold(failure, |failure, (module, count)| failure.with(format!("{count} in {module}")));
    let rest = modules.len().saturating_sub(TOLD);
    let told = if rest == 0 { told } else { told.with(format!("and in {rest} more modules")) };
    told.with(
        "give the entry inputs or outputs that they take part in, or say under `idle` why there are none",
    )
}

/// How many modules a failure lists.
const TOLD: usize = 8;
