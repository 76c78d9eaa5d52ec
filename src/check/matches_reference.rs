//! `matches_reference`: at the traced shape the engine computes what eager Python computes.

use super::context::{CheckContext, CheckResult};
use crate::spec::Check;

/// Applies the numerical rule to every output of the traced case.
pub fn check(context: &CheckContext) -> CheckResult {
    context.matches(Check::MatchesReference, &["traced"])
}
