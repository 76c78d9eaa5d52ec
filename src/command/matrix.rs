//! `matrix`: which model runs where, and what changed since another result set.

use super::{select::select, show, spec, stored, table};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use comfy_table::presets;
use hf_conformance::report::Record;
use hf_conformance::report::compare::{Finding, compare};
use hf_conformance::report::latest::current;
use hf_conformance::report::matrix::{Matrix, Subject, matrix};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks; everything when left out
    filter: Vec<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Result files to merge, in place of the store of this checkout
    #[arg(long, value_name = "FILE")]
    results: Vec<PathBuf>,
    /// Print what changed since this result file; exit code 1 when anything got worse
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Format {
    #[default]
    Terminal,
    Markdown,
    Csv,
}

/// Prints the matrix, or what changed.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let entries = select(&spec, &arguments.filter)?;
    let mut records = stored::read(&arguments.results)?;
    if arguments.results.is_empty() {
        records = current(records, &spec);
    }
    if let Some(old) = &arguments.against {
        if !old.exists() {
            bail!("there is no file {}", old.display());
        }
        let chosen = |records: Vec<Record>| -> Vec<Record> {
            let is_chosen = |record: &Record| entries.iter().any(|entry| entry.name.as_str() == record.model);
            let all = arguments.filter.is_empty();
            records.into_iter().filter(|record| all || is_chosen(record)).collect()
        };
        return Ok(print_changes(&chosen(stored::read(std::slice::from_ref(old))?), &chosen(records)));
    }
    let matrix = matrix(entries.iter().map(|entry| Subject::from(*entry)), &records);
    match arguments.format {
        Format::Terminal => show(rows(&matrix, presets::NOTHING))?,
        Format::Markdown => show(rows(&matrix, presets::ASCII_MARKDOWN))?,
        Format::Csv => show(csv(&matrix)?.trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(matrix: &Matrix, preset: &str) -> String {
    let mut rows = table(["model", "family", "attention"]);
    let columns = matrix.columns.iter().map(ToString::to_string);
    let first = ["model", "family", "attention"].map(str::to_owned);
    rows.set_header(first.into_iter().chain(columns)).load_preset(preset);
    for row in &matrix.rows {
        let cells = row.cells.iter().map(ToString::to_string);
        let first = [&row.model, &row.family, &row.attention].map(Clone::clone);
        rows.add_row(first.into_iter().chain(cells));
    }
    format!("{rows}\n\nA figure is the largest error as a share of what is allowed: beyond 1 a check fails.")
}

fn csv(matrix: &Matrix) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "model",
        "family",
        "attention",
        "device",
        "dtype",
        "engine",
        "state",
        "stage",
        "passed",
        "not_run",
        "failed",
        "error_of_allowed",
    ])?;
    for row in &matrix.rows {
        for (column, cell) in matrix.columns.iter().zip(&row.cells) {
            csv.write_record([
                row.model.as_str(),
                &row.family,
                &row.attention,
                &column.device,
                &column.dtype,
                &column.engine,
                cell.state.word(),
                &cell.stage.map_or_else(String::new, |stage| stage.to_string()),
                &cell.passed.to_string(),
                &cell.not_run.to_string(),
                &cell.failed.join(" "),
                &cell.share.map_or_else(String::new, |share| share.to_string()),
            ])?;
        }
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

/// Prints what changed, heading by heading; exit code 1 when anything got worse.
fn print_changes(old: &[Record], new: &[Record]) -> ExitCode {
    let findings = compare(old, new);
    let mut heading = "";
    let same = |a: &Finding, b: &Finding| a.model == b.model && a.device == b.device && a.change == b.change;
    for alike in findings.chunk_by(same) {
        let checks: Vec<&str> = alike.iter().map(|finding| finding.check.as_str()).collect();
        let finding = Finding { check: checks.join(", "), ..alike[0].clone() };
        if finding.change.heading() != heading {
            heading = finding.change.heading();
            println!("{heading}");
        }
        println!("  {finding}");
    }
    let worse = findings.iter().filter(|finding| finding.change.is_worse()).count();
    println!("{worse} worse, {} better", findings.len() - worse);
    if worse == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
