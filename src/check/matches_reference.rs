//! `matches_reference`: at the traced shape the engine computes what eager Python computes.

use super::bench::{Bench, Findings};
use crate::spec::Check;

/// Applies the numerical rule to every output of the traced case.
pub fn check(bench: &Bench) -> Findings {
    bench.matches(Check::MatchesReference, "traced")
}
