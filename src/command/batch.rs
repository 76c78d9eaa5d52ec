//! `batch`: many entries from one file.

use super::{export::Bar, failed, regenerate, show, table};
use anyhow::{Context, Result};
use clap::Args;
use hf_conformance::author::{AddRequest, Added, SpecFiles, Trial, Tried, batch, trial};
use hf_conformance::roster;
use hf_conformance::spec::Spec;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How many requests are worked on before the spec is written: what a broken run loses at most.
const CHUNK: usize = 16;

#[derive(Args)]
pub struct Arguments {
    /// JSON or YAML: family → list of {name, template, task, original_name}
    file: PathBuf,
    /// Says what would be written, and writes nothing
    #[arg(long)]
    dry_run: bool,
    /// Where the Markdown report goes; target/conformance/<file>.md when left out
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Adds what is not there; exit code 1 when any request could not be met.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let requests = batch::read(&arguments.file, &roster::read(Path::new("."))?)?;
    let mut files = SpecFiles::open(Path::new("."))?;
    let (bar, artifacts) = (Bar::quiet(), trial::artifacts());
    let engine = trial::device().map_err(|failure| failed(&failure))?;
    let trial = Trial { engine, artifacts: &artifacts, progress: &bar };
    let mut tried = Vec::new();
    for chunk in requests.chunks(CHUNK) {
        tried.extend(trial.run(&mut files, chunk).map_err(|failure| failed(&failure))?);
        if !arguments.dry_run {
            files.write()?;
        }
    }
    bar.end();
    if !arguments.dry_run {
        regenerate(&files.spec()?)?;
    }
    show(summary(&requests, &tried))?;
    let report = report_path(arguments);
    write(&report, &markdown(&arguments.file, &requests, &tried, &files.spec()?))?;
    println!("\n{}; report: {}", counts(&tried), report.display());
    let failed = tried.iter().any(|one| matches!(one, Tried::Refused(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn counts(tried: &[Tried]) -> String {
    let count = |is: fn(&Tried) -> bool| tried.iter().filter(|one| is(one)).count();
    format!(
        "{} added, {} there already, {} failed",
        count(|one| matches!(one, Tried::Added(_))),
        count(|one| matches!(one, Tried::Already { .. })),
        count(|one| matches!(one, Tried::Refused(_)))
    )
}

fn report_path(arguments: &Arguments) -> PathBuf {
    arguments.report.clone().unwrap_or_else(|| {
        let name = arguments.file.file_stem().unwrap_or_default().to_string_lossy();
        Path::new("target/conformance").join(format!("batch-{name}.md"))
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// A line per request.
fn summary(requests: &[AddRequest], tried: &[Tried]) -> comfy_table::Table {
    let mut rows = table(["model", "outcome", "what and why"]);
    for column in rows.column_iter_mut() {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    for (request, one) in requests.iter().zip(tried) {
        let (outcome, why) = outcome(one);
        rows.add_row([request.asked.clone(), outcome.to_owned(), why]);
    }
    rows
}

/// One word, and what to know about it.
fn outcome(tried: &Tried) -> (&'static str, String) {
    match tried {
        Tried::Already { place, .. } => ("there", place.to_string()),
        Tried::Added(added) => ("added", described(added)),
        Tried::Refused(refusal) => ("FAILED", format!("stage {}: {}", refusal.stage, refusal.reason)),
    }
}

fn described(added: &Added) -> String {
    let draft = &added.draft;
    let like = draft.like.as_ref().map(|like| format!(", like {like}")).unwrap_or_default();
    let omitted = draft.omit.iter().filter_map(|(check, why)| why.as_ref().and(Some(check.as_str())));
    let omitted = Vec::from_iter(omitted).join(", ");
    let omitted = if omitted.is_empty() { omitted } else { format!(", without {omitted}") };
    format!("{} for {}{like}, {} checks passed{omitted}", draft.class, draft.task, added.passed.len())
}

/// The report: counts, a table, and for every model what was chosen or why it failed.
fn markdown(file: &Path, requests: &[AddRequest], tried: &[Tried], spec: &Spec) -> String {
    let mut text = format!(
        "# Batch {}\n\n{}\n\n| model | outcome | what and why |\n|---|---|---|\n",
        file.display(),
        counts(tried)
    );
    for (request, one) in requests.iter().zip(tried) {
        let (outcome, why) = outcome(one);
        let _ = writeln!(text, "| {} | {outcome} | {} |", request.asked, why.replace('|', "\\|"));
    }
    for (request, one) in requests.iter().zip(tried) {
        let lines = match one {
            Tried::Already { .. } => continue,
            Tried::Added(added) => {
                let reasons: String =
                    added.draft.reasons.iter().map(|reason| format!("- {reason}\n")).collect();
                format!("{reasons}\n```yaml\n{}\n```\n", added.lines.join("\n"))
            }
            Tried::Refused(refusal) => format!("```text\n{}\n```\n", refusal.told(&request.asked, spec)),
        };
        let _ = write!(text, "\n## {}\n\n{lines}", request.asked);
    }
    text
}
