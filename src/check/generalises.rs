//! `generalises`: the program holds past the shape it was traced at.
//!
//! Tracing turns Python numbers into constants; a length read in a loop is then baked in. Every dynamic
//! axis is run at a second size, against references eager computed at that size.

use super::context::{CheckContext, CheckResult};
use crate::spec::Check;

/// Applies the numerical rule to every case but the traced one.
pub fn check(context: &CheckContext) -> CheckResult {
    let cases = context.artifact.manifest.cases.iter().map(|case| case.name.as_str());
    context.matches(Check::Generalises, &cases.filter(|case| *case != "traced").collect::<Vec<_>>())
}
