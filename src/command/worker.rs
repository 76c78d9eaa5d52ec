//! `worker`: a child of `check`. It reads what to do from standard input.

use super::{failed, spec};
use anyhow::{Context, Result};
use hf_conformance::runner::worker::serve;
use std::process::ExitCode;

/// Runs the checks that are asked for; what they came to is in the results.
pub fn run() -> Result<ExitCode> {
    let request = serde_json::from_reader(std::io::stdin().lock()).context("reading the request")?;
    serve(spec()?, request).map_err(|failure| failed(&failure))?;
    Ok(ExitCode::SUCCESS)
}
