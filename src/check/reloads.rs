//! `reloads`: a program that is saved and loaded again gives the same bits.

use super::context::{CheckContext, CheckResult};
use super::same_bits;
use crate::failure::{At, Stage};

/// Saves the loaded program, loads the file and runs the traced case with both.
pub fn check(context: &CheckContext) -> CheckResult {
    let folder = tempfile::tempdir().at(Stage::Load, "a temporary folder")?;
    let path = folder.path().join("saved.pt");
    context.program.save(&path)?;
    let reloaded = context.load(&path)?;
    let inputs = context.inputs("traced")?;
    let first = context.run(&inputs)?;
    let second = CheckContext { program: reloaded.as_ref(), ..*context }.run(&inputs)?;
    same_bits(context, &first, &second, "the reloaded program")
}
