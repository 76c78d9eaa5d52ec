//! `results`: what the results store holds, and what the suite itself cost.

use super::{show, stored, table};
use anyhow::Result;
use clap::Args;
use hf_conformance::report::cost::{self, Cost, Summary, summaries};
use hf_conformance::report::runs::{Run, runs};
use hf_conformance::report::{self, Record};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// Result files to merge; the store of this checkout when left out
    files: Vec<PathBuf>,
    /// Only the last run, a line per check
    #[arg(long)]
    last: bool,
    /// Print the records, one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Prints runs, the checks of the last one, or records.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut records = stored::read(&arguments.files)?;
    let runs = runs(&records);
    if arguments.last {
        let last = runs.last().map(|run| run.run.clone());
        records.retain(|record| Some(&record.run) == last.as_ref());
    }
    match (arguments.json, arguments.last) {
        (true, _) => {
            for record in &records {
                show(report::line(record)?)?;
            }
        }
        (false, true) => show(checks(&records))?,
        (false, false) if runs.is_empty() => println!("no results yet; make some: just test"),
        (false, false) => {
            show(history(&runs))?;
            show(costs(&stored::beside(&arguments.files, cost::path)?))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn history(runs: &[Run]) -> String {
    let mut rows = table([
        "run",
        "time",
        "device",
        "commit",
        "torch",
        "models",
        "passed",
        "failed",
        "crashed",
        "timed out",
        "not run",
        "seconds",
    ]);
    for run in runs {
        rows.add_row([
            run.run.clone(),
            run.time.get(..19).unwrap_or(&run.time).to_owned(),
            run.device.clone(),
            run.commit.clone().unwrap_or_default(),
            Vec::from_iter(run.torch.iter().cloned()).join(" "),
            run.models.to_string(),
            run.passed.to_string(),
            run.failed.to_string(),
            run.crashed.to_string(),
            run.timed_out.to_string(),
            run.not_run.to_string(),
            format!("{:.1}", run.seconds),
        ]);
    }
    rows.to_string()
}

/// What every step of the suite cost, in all the files' runs.
fn costs(costs: &[Cost]) -> String {
    let mut rows = table(["step", "last time", "models", "seconds", "most models", "seconds", "ms a model"]);
    for Summary { step, last, largest } in summaries(costs) {
        rows.add_row([
            step.to_string(),
            last.time.get(..19).unwrap_or(&last.time).to_owned(),
            last.models.to_string(),
            format!("{:.1}", last.seconds),
            largest.models.to_string(),
            format!("{:.1}", largest.seconds),
            format!("{:.1}", 1e3 * largest.seconds / largest.models as f64),
        ]);
    }
    if rows.is_empty() { String::new() } else { format!("\n{rows}") }
}

fn checks(records: &[Record]) -> String {
    let mut rows = table(["model", "check", "device", "status", "stage", "error of allowed", "seconds"]);
    for record in records {
        rows.add_row([
            record.model.clone(),
            record.check.clone(),
            record.device.clone().unwrap_or_default(),
            record.status.to_string(),
            record.stage.map_or_else(String::new, |stage| stage.to_string()),
            record.share().map_or_else(String::new, |share| format!("{share:.3}")),
            format!("{:.2}", record.seconds),
        ]);
    }
    rows.to_string()
}
