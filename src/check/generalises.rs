//! `generalises`: the program holds past the shape it was traced at.
//!
//! Tracing turns Python numbers into constants; a length read in a loop is then baked in. Every dynamic
//! axis is run at a second size, against references eager computed at that size.

use super::context::{CheckContext, CheckResult};
use crate::failure::Failure;
use crate::spec::Check;

/// Applies the numerical rule to every case but the traced one.
pub fn check(context: &CheckContext) -> CheckResult {
    let grown = context.artifact.manifest.cases.iter().filter(|case| case.name != "traced");
    let judged = grown.map(|case| {
        let size = case.sizes.get(&case.name).copied().unwrap_or_default();
        context.matches(Check::Generalises, &case.name).map_err(|failure| Failure {
            message: format!("at {} = {size}: {}", case.name, failure.message),
            ..failure
        })
    });
    judged.collect::<Result<Vec<_>, _>>().map(|measures| measures.into_iter().flatten().collect())
}
