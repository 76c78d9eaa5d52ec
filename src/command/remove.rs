//! `remove`: an entry, its generated module and its artifact taken away.

use super::{regenerate, select::one};
use anyhow::{Context, Result};
use clap::Args;
use hf_conformance::artifact;
use hf_conformance::author::SpecFiles;
use std::path::Path;
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// The model's name in the spec
    name: String,
}

/// Removes the entry and what was made from it.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut files = SpecFiles::open(Path::new("."))?;
    let spec = files.spec()?;
    let entry = one(&spec, &arguments.name)?;
    let without = || format!("nothing was removed; without {} the spec would be wrong", entry.name);
    let spec = files.remove(entry.family.as_str(), entry.name.as_str()).with_context(without)?;
    files.write()?;
    regenerate(&spec)?;
    let artifact = artifact::root().join(entry.name.as_str());
    if artifact.exists() {
        std::fs::remove_dir_all(&artifact).with_context(|| artifact.display().to_string())?;
    }
    println!("removed {} from spec/{}.yaml", entry.name, entry.family);
    Ok(ExitCode::SUCCESS)
}
