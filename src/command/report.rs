//! `report`: everything that is known, in one HTML file.

use super::{spec, stored};
use anyhow::{Context, Result};
use clap::Args;
use hf_conformance::artifact;
use hf_conformance::certify::bundle::CERTIFIED;
use hf_conformance::certify::queue::bundled;
use hf_conformance::report::coverage::coverage;
use hf_conformance::report::latest::current;
use hf_conformance::report::page::{self, Report};
use hf_conformance::report::{self, cost, speed};
use hf_conformance::roster;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// Result files to merge, with what lies beside them; the store of this checkout when left out
    files: Vec<PathBuf>,
    /// Where to write it; beside the results store when left out
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Writes the report and prints where it is.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let rows = roster::read(Path::new("."))?;
    let history = stored::read(&arguments.files)?;
    let records = current(history.clone(), &spec);
    let coverage = coverage(&rows, &spec, &records, &artifact::root(), &bundled(Path::new(CERTIFIED)), None);
    let speeds = speed::latest(stored::beside(&arguments.files, speed::path)?);
    let costs = stored::beside(&arguments.files, cost::path)?;
    let page = page::html(&Report {
        spec: &spec,
        coverage: &coverage,
        records: &records,
        history: &history,
        speeds: &speeds,
        costs: &costs,
        time: &jiff::Timestamp::now().to_string(),
    })?;
    let path = arguments.output.clone().unwrap_or_else(|| report::path().with_file_name("report.html"));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, page).with_context(|| path.display().to_string())?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}
