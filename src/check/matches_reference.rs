//! `matches_reference`: at the traced shape the engine computes what eager Python computes.

use super::context::{CheckContext, CheckResult};
use crate::failure::Stage;
use crate::spec::Check;

/// Applies the numerical rule to every output of the traced case.
pub fn check(context: &CheckContext) -> CheckResult {
    context.matches(Check::MatchesReference, &["traced"]).map_err(|failure| match failure.stage {
        Stage::Compare => {
            failure.with(format!("in which layer it begins: just replay {}", context.card.name))
        }
        _ => failure,
    })
}
