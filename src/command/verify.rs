//! `verify`: whether a bundle is what was certified.

use super::{failed, spec};
use anyhow::Result;
use clap::Args;
use hf_conformance::certify::verify::verify;
use hf_conformance::engine;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// The bundle's folder
    folder: PathBuf,
}

/// Prints what is wrong; anything is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    // A build with libtorch has the pinned one.
    let torch = match engine::real() {
        Some(_) => spec()?.versions.python.get("torch").cloned(),
        None => None,
    };
    let (certificate, problems) =
        verify(&arguments.folder, torch.as_deref()).map_err(|failure| failed(&failure))?;
    println!(
        "{}: {} for {}, certified on {} ({}) at {}",
        certificate.name,
        certificate.class,
        certificate.task,
        certificate.device,
        certificate.processor,
        certificate.date
    );
    for problem in &problems {
        println!("  {problem}");
    }
    if torch.is_none() {
        println!("  this build has no libtorch: its version was not compared");
    }
    let (files, count) = (certificate.files.len(), problems.len());
    println!("{files} files, {} checks, {count} problems", certificate.checks.len());
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
