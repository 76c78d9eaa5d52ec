//! What every generated module proves: one file per check.
//!
//! In: a model's open [`Session`], seen through a [`CheckContext`]. Out: what was measured, or a failure. A check knows
//! neither which engine it talks to nor what becomes of its result.

pub mod batch_invariant;
pub mod causal;
pub mod context;
pub mod decodes;
pub mod deterministic;
pub mod every_parameter;
pub mod exact;
pub mod faults;
pub mod generalises;
pub mod generates;
pub mod half;
pub mod loads;
pub mod matches_reference;
pub mod optimised;
pub mod output_contract;
pub mod padding_invariant;
pub mod reloads;
pub mod responsive;
mod session;
#[cfg(test)]
mod tests;

pub use context::{CheckContext, CheckResult};
pub use session::{Session, Settings};

use crate::failure::{Failure, Stage};
use crate::numerics::rule::nan_max;
use crate::numerics::{Measure, Tensor};
use crate::spec::Check;
use crate::verdict::Outcome;

/// The function that carries out a check.
pub fn body(check: Check) -> fn(&CheckContext) -> CheckResult {
    match check {
        Check::Loads => loads::check,
        Check::OutputContract => output_contract::check,
        Check::MatchesReference => matches_reference::check,
        Check::Generalises => generalises::check,
        Check::Deterministic => deterministic::check,
        Check::BatchInvariant => batch_invariant::check,
        Check::PaddingInvariant => padding_invariant::check,
        Check::Causal => causal::check,
        Check::Responsive => responsive::check,
        Check::EveryParameter => every_parameter::check,
        Check::Reloads => reloads::check,
        Check::Optimised => optimised::check,
        Check::Half => half::check,
        Check::Generates => generates::check,
        Check::Decodes => decodes::check,
        Check::Exact => exact::check,
    }
}

/// What a check's result comes to; what was measured is there for a failure too.
pub fn outcome(result: CheckResult) -> (Outcome, Vec<Measure>) {
    match result {
        Ok(measures) => (Outcome::Passed, measures),
        Err(mut failure) => {
            let measures = std::mem::take(&mut failure.measures);
            (Outcome::Failed(failure), measures)
        }
    }
}

/// How many values differ, and by how much.
fn difference(a: &Tensor, b: &Tensor) -> String {
    if a.shape() != b.shape() {
        return format!("shape {:?}, and then {:?}", a.shape(), b.shape());
    }
    let (a, b) = (a.to_f64(), b.to_f64());
    let off = a.iter().zip(&b).filter(|(a, b)| a.to_bits() != b.to_bits()).map(|(a, b)| (a - b).abs());
    let (count, most) = off.fold((0, 0.0), |(count, most), off| (count + 1, nan_max(most, off)));
    format!("{count} of {} values differ, by {most:.1e} at most", a.len())
}

/// Bit equality of all outputs of two runs.
fn same_bits(context: &CheckContext, first: &[Tensor], second: &[Tensor], what: &str) -> CheckResult {
    if first.len() != second.len() {
        let counts = format!("{what} returns {} outputs, not {}", second.len(), first.len());
        return Err(Failure::new(Stage::Compare, counts));
    }
    for ((port, a), b) in context.model.outputs.iter().zip(first).zip(second) {
        if !a.same_bits(b) {
            let message = format!("{}: {what} gives other bits", port.name);
            return Err(Failure::new(Stage::Compare, message).with(difference(a, b)));
        }
    }
    Ok(Vec::new())
}
