//! `validate`: everything the build checks, and what only Python and the roster can tell.

use super::{failed, spec};
use anyhow::Result;
use clap::Args;
use hf_conformance::author::validate::{classes, missing, required};
use hf_conformance::roster;
use hf_conformance::spec as files;
use std::path::Path;
use std::process::ExitCode;

/// Names of the roster that are printed unless all are asked for.
const SHOWN: usize = 8;

#[derive(Args)]
pub struct Arguments {
    /// Prints every name of the roster that has no entry
    #[arg(long)]
    roster: bool,
}

/// Prints every problem with its place; exit code 1 when there is one, or the roster is not complete.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let rows = roster::read(Path::new("."))?;
    let files = files::read(Path::new(".")).unwrap_or_default();
    let problems = classes(&spec, &files).map_err(|failure| failed(&failure))?;
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    let missing: Vec<&str> = missing(&spec, &rows).into_iter().map(|row| row.name.as_str()).collect();
    let required = required(&rows).count();
    let shown = if arguments.roster { missing.len() } else { missing.len().min(SHOWN) };
    if !missing.is_empty() {
        let more = if shown < missing.len() { ", … (--roster lists all)" } else { "" };
        eprintln!(
            "{}: {} of {} required names have no entry: {}{more}",
            roster::FILE,
            missing.len(),
            required,
            missing[..shown].join(", ")
        );
    }
    println!(
        "{} entries, {} problem(s); {} of {} roster names have an entry",
        spec.entries.len(),
        problems.len(),
        required - missing.len(),
        required
    );
    Ok(if problems.is_empty() && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
