//! `deterministic`: the same inputs give the same bits twice.

use super::context::{CheckContext, CheckResult};
use super::same_bits;

/// Runs the traced case twice on one device.
pub fn check(context: &CheckContext) -> CheckResult {
    let inputs = context.inputs("traced")?;
    let (first, second) = (context.run(&inputs)?, context.run(&inputs)?);
    same_bits(context, &first, &second, "a second run")
}
