//! `setup`: the Python environment.

use super::spec;
use anyhow::Result;
use hf_conformance::export::environment::Environment;
use std::process::ExitCode;

/// Makes `.venv`, or finds it ready and says nothing.
pub fn run() -> Result<ExitCode> {
    Environment::set_up(&spec()?.versions)?;
    Ok(ExitCode::SUCCESS)
}
