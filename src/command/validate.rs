//! `validate`: everything the build checks, and what only Python and the roster can tell.

use super::{failed, spec};
use anyhow::Result;
use hf_conformance::author::Desk;
use hf_conformance::author::validate::{classes, standing};
use hf_conformance::roster;
use std::path::Path;
use std::process::ExitCode;

/// Prints every problem with its place; exit code 1 when there is one.
pub fn run() -> Result<ExitCode> {
    let spec = spec()?;
    let rows = roster::read(Path::new("."))?;
    let desk = Desk::open(Path::new("."))?;
    let mut problems = classes(&spec, desk.files(), &rows).map_err(|failure| failed(&failure))?;
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
