//! `validate`: everything the build checks or warns of, and what only Python and the roster can tell.

use super::{failed, spec};
use anyhow::Result;
use hf_conformance::author::SpecFiles;
use hf_conformance::author::validate::{classes, standing};
use hf_conformance::roster;
use std::path::Path;
use std::process::ExitCode;

/// What of the spec is checked.
#[derive(clap::Args)]
pub struct Arguments {
    /// Leave out what needs the Python environment: classes, tasks and config keys
    #[arg(long)]
    no_python: bool,
}

/// Prints every problem with its place; exit code 1 when there is one, be it only a warning of the build.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let rows = roster::read(Path::new("."))?;
    let mut problems = spec.warnings.clone();
    if !arguments.no_python {
        let files = SpecFiles::open(Path::new("."))?;
        problems.extend(classes(&spec, files.files(), &rows).map_err(|failure| failed(&failure))?);
    }
    let standing = standing(&spec, &rows);
    problems.extend(standing.broken);
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    println!("{} entries, {} problem(s)", spec.entries.len(), problems.len());
    println!(
        "roster: {} of {} rows have an entry, {} a reason why not; see just coverage",
        standing.entries, standing.rows, standing.missing
    );
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
