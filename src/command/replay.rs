//! `replay`: the same comparison in Python, to tell an engine's fault from an artifact's.

use super::{select::select, spec};
use anyhow::{Context, Result, bail};
use clap::Args;
use hf_conformance::artifact;
use hf_conformance::check::rule;
use hf_conformance::export::environment::Environment;
use hf_conformance::export::unpack;
use std::process::{Command, ExitCode};

#[derive(Args)]
pub struct Arguments {
    /// The model's name in the spec
    model: String,
}

/// Runs `program.pt` under Python's libtorch on every stored case and prints how far it is off.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let [entry] = select(&spec, std::slice::from_ref(&arguments.model))?[..] else {
        bail!("'{}' means several models; name one of them", arguments.model);
    };
    let environment = Environment::ready(&spec.versions)?;
    let package = tempfile::tempdir()?;
    unpack(package.path())?;
    let status = Command::new(environment.python())
        .args(["-m", "exporter.replay"])
        .arg(artifact::root().join(entry.name.as_str()))
        .args([rule::K, rule::FLOOR].map(|figure| figure.to_string()))
        .env("PYTHONPATH", package.path())
        .status()
        .with_context(|| format!("starting {}", environment.python().display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
