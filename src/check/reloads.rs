//! `reloads`: a program that is saved and loaded again gives the same bits.

use super::bench::{Bench, Findings};
use super::same_bits;
use crate::failure::{At, Stage};

/// Saves the loaded program, loads the file and runs the traced case with both.
pub fn check(bench: &Bench) -> Findings {
    let folder = tempfile::tempdir().at(Stage::Load, "a temporary folder")?;
    let path = folder.path().join("saved.pt");
    bench.program.save(&path)?;
    let reloaded = bench.engine.load(&path, bench.device)?;
    let inputs = bench.inputs("traced")?;
    let first = bench.run(&inputs)?;
    let second = Bench { program: reloaded.as_ref(), ..*bench }.run(&inputs)?;
    same_bits(bench, &first.outputs, &second.outputs, "the reloaded program")
}
