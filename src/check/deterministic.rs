//! `deterministic`: the same inputs give the same bits twice.

use super::bench::{Bench, Findings};
use super::same_bits;

/// Runs the traced case twice on one device.
pub fn check(bench: &Bench) -> Findings {
    let inputs = bench.inputs("traced")?;
    let (first, second) = (bench.run(&inputs)?, bench.run(&inputs)?);
    same_bits(bench, &first.outputs, &second.outputs, "a second run")
}
