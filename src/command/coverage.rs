//! `coverage`: how much of the roster is proved.

use super::{show, spec, stored, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use hf_conformance::artifact;
use hf_conformance::export::Python;
use hf_conformance::report::coverage::{Counts, Coverage, Tier, coverage};
use hf_conformance::roster::{self, TIERS};
use hf_conformance::spec::Versions;
use std::path::Path;
use std::process::ExitCode;

const BEGIN: &str = "<!-- coverage: written by `just coverage --readme` -->";
const END: &str = "<!-- end of coverage -->";
const HEADER: [&str; 10] =
    ["tier", "family", "rows", "entries", "exported", "ran", "matched", "all checks", "skipped", "debt"];

#[derive(Args)]
pub struct Arguments {
    /// Print everything as JSON
    #[arg(long, conflicts_with = "readme")]
    json: bool,
    /// Write the table into README.md
    #[arg(long)]
    readme: bool,
    /// Split families by priority
    #[arg(long)]
    priority: bool,
}

/// Prints or writes the coverage. Never a failure by itself: gaps are facts.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let rows = roster::read(Path::new("."))?;
    let types = model_types(&spec.versions);
    let coverage = coverage(&rows, &spec, &stored::read(&[])?, &artifact::root(), types.as_deref());
    if arguments.json {
        show(serde_json::to_string_pretty(&coverage)?)?;
    } else if arguments.readme {
        write_readme(&coverage)?;
    } else {
        show(text(&coverage, arguments.priority))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The model types of the installed transformers; none without a Python environment.
fn model_types(versions: &Versions) -> Option<Vec<String>> {
    let python = Python::ready(versions, "transformers").ok()?;
    let said = python.command("exporter.inventory").ok()?.output().ok()?;
    serde_json::from_slice(&said.stdout).ok()
}

fn text(coverage: &Coverage, by_priority: bool) -> String {
    let mut parts = vec![format!("{}\n", rows(lines(coverage, by_priority)))];
    for (name, tier) in tiers(coverage) {
        let (none, told): (Vec<_>, Vec<_>) = tier.missing.iter().partition(|gap| gap.reason == "no entry");
        parts.extend(
            told.iter()
                .map(|gap| format!("missing {} ({name}) · stage {}: {}", gap.name, gap.stage, gap.reason)),
        );
        if !none.is_empty() {
            let names = Vec::from_iter(none.iter().map(|gap| gap.name.as_str()));
            parts.push(format!("no entry ({name}): {}", names.join(", ")));
        }
    }
    parts.push(format!("\ntolerance debt: {}", coverage.debt.len()));
    for debt in &coverage.debt {
        let output = debt.output.as_deref().unwrap_or("all outputs");
        parts.push(format!(
            "  {} {} {output}: k = {}, {} (until {})",
            debt.model, debt.check, debt.k, debt.reason, debt.end
        ));
    }
    parts.push(match &coverage.uncovered_model_types {
        Some(types) => {
            format!("\n{} model types of transformers have no entry; --json lists them", types.len())
        }
        None => "\nmodel types of transformers: not known without the Python environment; run: just setup"
            .to_owned(),
    });
    parts.join("\n")
}

/// The tiers of the roster, in their order.
fn tiers(coverage: &Coverage) -> impl Iterator<Item = (&'static str, &Tier)> {
    TIERS.into_iter().filter_map(|name| Some((name, coverage.tiers.get(name)?)))
}

fn rows(lines: Vec<[String; 10]>) -> Table {
    let mut rows = table(HEADER);
    if let Some(families) = rows.column_mut(1) {
        families.set_cell_alignment(CellAlignment::Left);
    }
    rows.add_rows(lines);
    rows
}

/// A line for each family of each tier, and one for the tier; with priorities, one for each of those too.
fn lines(coverage: &Coverage, by_priority: bool) -> Vec<[String; 10]> {
    let mut lines = Vec::new();
    for (name, tier) in tiers(coverage) {
        for (family, priorities) in &tier.families {
            if by_priority {
                for (priority, counts) in priorities {
                    lines.push(line(name, &format!("{family}, {priority}"), counts));
                }
            } else {
                let sum = priorities.values().fold(Counts::default(), |sum, counts| sum.plus(counts));
                lines.push(line(name, family, &sum));
            }
        }
        lines.push(line(name, "all", &tier.counts));
    }
    lines
}

fn line(tier: &str, family: &str, counts: &Counts) -> [String; 10] {
    let Counts { rows, entries, exported, ran, matched, all_checks, skipped, debt, .. } = counts;
    let numbers = [rows, entries, exported, ran, matched, all_checks, skipped, debt];
    let mut cells = [tier, family].into_iter().map(str::to_owned).chain(numbers.map(usize::to_string));
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

/// Puts the tiers' totals between their markers.
fn write_readme(coverage: &Coverage) -> Result<()> {
    let readme = std::fs::read_to_string("README.md").context("README.md")?;
    let (Some(begin), Some(end)) = (readme.find(BEGIN), readme.find(END)) else {
        bail!("README.md lacks the lines {BEGIN} and {END}");
    };
    let totals = tiers(coverage).map(|(name, tier)| line(name, "all", &tier.counts)).collect();
    let mut rows = rows(totals);
    rows.load_preset(presets::ASCII_MARKDOWN);
    let before = &readme[..begin + BEGIN.len()];
    std::fs::write("README.md", format!("{before}\n\n{rows}\n\n{}", &readme[end..])).context("README.md")
}
