//! `schema`: writes the JSON Schema with which editors complete and underline.

use anyhow::{Context, Result};
use hf_conformance::schema;
use std::process::ExitCode;

/// Writes `spec/schema.json`.
pub fn run() -> Result<ExitCode> {
    std::fs::write(schema::FILE, schema::text()).context(schema::FILE)?;
    Ok(ExitCode::SUCCESS)
}
