//! `optimised`: libtorch's optimiser, which rewrites a program in its first runs, leaves the numbers alone.
//!
//! The other checks of float32 run the program as it is written. A process that serves it does not: libtorch watches its
//! first run, specialises the code to what it saw, and falls back to general code for inputs that are otherwise.

use super::context::{CheckContext, CheckResult};
use crate::spec::Check;
use crate::task::Dtype;

/// Runs after which libtorch has rewritten a program for inputs of these types and shapes: it watches one, rewrites the
/// program at the next, and what it put off (compiled kernels) is there at the third.
const WARM_UP: usize = 3;

/// Runs a program of its own as a server does, on the traced case until it is rewritten and then on every other, and
/// applies the numerical rule to what comes out.
pub fn check(context: &CheckContext) -> CheckResult {
    let program = context.load(&context.artifact.program(Dtype::Float32))?;
    let (traced, others): (Vec<_>, Vec<_>) = context
        .artifact
        .manifest
        .cases
        .iter()
        .map(|case| case.name.as_str())
        .partition(|name| *name == "traced");
    let mut measures = Vec::new();
    for case in traced.into_iter().chain(others) {
        let runs = if case == "traced" { WARM_UP } else { 1 };
        let returned = context.complete(program.served(&context.inputs(case)?, runs)?)?;
        let expectation = context.whole(Check::Optimised, case);
        measures.extend(context.hold(&expectation, context.model.outputs.iter().zip(&returned))?);
    }
    Ok(measures)
}
