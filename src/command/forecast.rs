//! `forecast`: what a run of any size would cost on several machines, by what the last ones did cost here.

use super::{show, stored, table};
use anyhow::{Result, bail};
use clap::Args;
use hf_conformance::report::Record;
use hf_conformance::report::cost::{self, Cost, Step, summaries};
use hf_conformance::runner::forecast::{Forecast, Measured};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// Result files, with the costs.jsonl beside them; the results store when left out
    files: Vec<PathBuf>,
    /// How many cells: models × devices × engines × precisions
    #[arg(long, default_value_t = 100_000)]
    cells: usize,
    /// On how many machines like this one
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100], value_parser = clap::value_parser!(u32).range(1..=100_000))]
    machines: Vec<u32>,
}

/// Prints a line for every number of machines.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let costs: Vec<Cost> = stored::beside(&arguments.files, cost::path)?;
    let steps: BTreeMap<Step, &Cost> =
        summaries(&costs).into_iter().map(|summary| (summary.step, summary.largest)).collect();
    let tests =
        [Step::Test, Step::Check].iter().filter_map(|step| steps.get(step)).max_by_key(|cost| cost.models);
    let (Some(tests), Some(exports)) = (tests, steps.get(&Step::Export)) else {
        bail!("nothing is known of what export and test cost here; measure it with: just test all");
    };
    let measured = measured(&stored::read(&arguments.files)?, tests, exports);
    let forecasts =
        arguments.machines.iter().filter_map(|count| measured.forecast(arguments.cells, *count as usize));
    println!(
        "measured: checks of {} models in {}, exports of {} in {} ({})\n",
        tests.models,
        time(tests.seconds),
        exports.models,
        time(exports.seconds),
        tests.host.processor,
    );
    show(overview(&forecasts.collect::<Vec<_>>()))?;
    println!(
        "\n{} cells of {} models; with a shared folder of artifacts each program is made once, else by each machine",
        arguments.cells,
        measured.checks.len()
    );
    Ok(ExitCode::SUCCESS)
}

/// Seconds of each model, by the clock: checks run side by side, so their own seconds add up to more than the step's.
fn measured(records: &[Record], tests: &Cost, exports: &Cost) -> Measured {
    let own = records.iter().filter(|record| record.run == tests.run).map(|record| record.seconds);
    let side_by_side = (own.sum::<f64>() / tests.seconds).max(1.0);
    let mut models: BTreeMap<&str, f64> = BTreeMap::new();
    for record in records {
        *models.entry(&record.model).or_default() += record.seconds / side_by_side;
    }
    Measured { checks: models.into_values().collect(), export: exports.seconds / exports.models as f64 }
}

fn overview(forecasts: &[Forecast]) -> String {
    let header = [
        "machines",
        "cells each",
        "checks",
        "balance",
        "own exports",
        "in all",
        "shared exports",
        "in all",
        "machine time",
    ];
    let mut rows = table(header);
    for one in forecasts {
        rows.add_row([
            one.machines.to_string(),
            one.cells.to_string(),
            time(one.checks),
            format!("{:.0} %", 100.0 * one.balance),
            time(one.own_exports),
            time(one.seconds(false)),
            time(one.shared_exports),
            time(one.seconds(true)),
            time(one.machines as f64 * one.seconds(true)),
        ]);
    }
    rows.to_string()
}

/// A time as people plan with it: `45 s`, `12 min`, `7.5 h`.
fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 90.0 => format!("{seconds:.0} s"),
        seconds if seconds < 5400.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}
