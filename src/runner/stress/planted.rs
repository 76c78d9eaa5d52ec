//! A program that ends the process which opens it, or keeps it for ever.
//!
//! In: a yard, and how the program ends. Out: whether its model alone is told so, and all others passed.

use super::{Well, Yard, worked};
use crate::verdict::Status;
use std::fs;
use std::io;
use std::process::Command;

/// What is laid over all processes of the run.
const SOURCE: &str = include_str!("planted.c");
/// Seconds that a check may take here, and GiB that a process may hold: no healthy one of these models comes near on a busy machine.
const LIMITS: [(&str, &str); 2] = [("HF_CONFORMANCE_TIMEOUT", "20"), ("HF_CONFORMANCE_MEMORY", "3")];

/// How a program ends.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// In the words of `planted.c`.
    pub how: &'static str,
    /// What every check that was tried says of it.
    pub told: Status,
}

/// Checks all models, one of which has such a program.
pub(super) fn checks(yard: &Yard, planted: Planted) -> io::Result<Well> {
    let (source, library) = (yard.root().join("planted.c"), yard.root().join("planted.so"));
    fs::write(&source, SOURCE)?;
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).output()?;
    worked(&compiled).map_err(io::Error::other)?;
    let model = yard.last();
    let mut command = yard.command(super::Doing::Check);
    command.env("LD_PRELOAD", &library).env("PLANTED", planted.how);
    command.env("PLANTED_IN", format!("/{model}/program")).envs(LIMITS);
    let output = command.output()?;
    if output.status.code() != Some(1) {
        return Ok(Err(format!("it ended with {}", output.status)));
    }
    Ok(yard.is_told().and_then(|()| yard.is_only(model, planted.told)))
}
