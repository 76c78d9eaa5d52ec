//! `lock`: the packages that are installed, direct or not, with the digests of their files.

use super::spec;
use anyhow::Result;
use hf_conformance::export::lock;
use std::process::ExitCode;

/// Writes the locks of everything that `spec/versions.yaml` and the lists of tools pin.
pub fn run() -> Result<ExitCode> {
    lock::write(&spec()?.versions)?;
    Ok(ExitCode::SUCCESS)
}
