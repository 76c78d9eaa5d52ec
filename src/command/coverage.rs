//! `coverage`: how much of the roster is proved.

use super::{TORCHSCRIPT, show, spec, stored, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use hf_conformance::artifact;
use hf_conformance::certify::bundle::CERTIFIED;
use hf_conformance::certify::queue::bundled;
use hf_conformance::export::inventory;
use hf_conformance::report::coverage::{
    Certified, Counts, Coverage, Distinct, NO_ENTRY, OnBackend, Tier, coverage,
};
use hf_conformance::roster::{self, TIERS};
use std::path::Path;
use std::process::ExitCode;

const BEGIN: &str = "<!-- coverage: written by `just coverage --readme` -->";
const END: &str = "<!-- end of coverage -->";
const HEADER: [&str; 11] = [
    "tier",
    "family",
    "rows",
    "entries",
    "exported",
    "ran",
    "matched",
    "all that are due",
    "not run",
    "left out",
    "waivers",
];

#[derive(Args)]
pub struct Arguments {
    /// Print everything as JSON
    #[arg(long, conflicts_with = "readme")]
    json: bool,
    /// Write the table into README.md: TorchScript's, on which all models run
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
    let types = inventory(&spec.versions, "transformers").ok().map(|all| Vec::from_iter(all.model_types));
    let bundled = bundled(Path::new(CERTIFIED));
    let mut records = stored::read(&[])?;
    // The suite of the project itself runs a few models on another engine.
    records.retain(|record| !arguments.readme || record.engine == TORCHSCRIPT);
    let coverage = coverage(&rows, &spec, &records, &artifact::root(), &bundled, types.as_deref());
    if arguments.json {
        show(serde_json::to_string_pretty(&coverage)?)?;
    } else if arguments.readme {
        write_readme(&coverage)?;
    } else {
        show(text(&coverage, arguments.priority))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(coverage: &Coverage, by_priority: bool) -> String {
    let mut parts = Vec::new();
    for on in &coverage.backends {
        parts.push(format!("{}\n\n{}\n", heading(on), rows(lines(on, by_priority))));
        parts.extend(tiers(on).flat_map(|(name, tier)| gaps(name, tier)));
        parts.push(String::new());
    }
    // What no backend can change is told once.
    for (name, tier) in coverage.backends.iter().take(1).flat_map(tiers) {
        let none = tier.missing.iter().filter(|gap| gap.reason == NO_ENTRY);
        let names = Vec::from_iter(none.map(|gap| gap.name.as_str()));
        if !names.is_empty() {
            parts.push(format!("no entry ({name}): {}", names.join(", ")));
        }
    }
    parts.push(format!("\n{}", distinct(coverage)));
    parts.push(format!("\n{}", certified(coverage)));
    parts.push(format!("\nwaivers: {}", coverage.waivers.len()));
    for waiver in &coverage.waivers {
        let output = waiver.output.as_deref().unwrap_or("all outputs");
        parts.push(format!(
            "  {} {} {output}: k = {}, {} (until {})",
            waiver.model, waiver.check, waiver.k, waiver.reason, waiver.end
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

/// `On cpu (torchscript):`.
fn heading(on: &OnBackend) -> String {
    backend(on).map_or_else(|| "Nothing ran on any device:".to_owned(), |named| format!("On {named}:"))
}

/// `cpu (torchscript)`; none where nothing ran.
fn backend(on: &OnBackend) -> Option<String> {
    Some(format!("{} ({})", on.device.as_deref()?, on.engine.as_deref()?))
}

/// A line for each row of a tier that has an entry, or a reason for having none, and is not matched.
fn gaps<'a>(tier: &'a str, found: &'a Tier) -> impl Iterator<Item = String> + 'a {
    let told = found.missing.iter().filter(|gap| gap.reason != NO_ENTRY);
    told.map(move |gap| format!("missing {} ({tier}) · stage {}: {}", gap.name, gap.stage, gap.reason))
}

/// What the entries come to that are another's under a new name.
fn distinct(coverage: &Coverage) -> String {
    let count = |Distinct { names, jobs, classes }: &Distinct| {
        format!("{names} names, {jobs} distinct jobs, {classes} distinct classes")
    };
    let on = |on: &OnBackend| Some(format!("matched on {}: {}", backend(on)?, count(&on.matched)));
    let lines = std::iter::once(format!("in the spec: {}", count(&coverage.spec)));
    Vec::from_iter(lines.chain(coverage.backends.iter().filter_map(on))).join("\n")
}

/// How many checkpoints of each priority have a bundle here, and of what they are.
fn certified(coverage: &Coverage) -> String {
    let line = |one: &Certified| {
        let names = if one.names.is_empty() { String::new() } else { format!(": {}", one.names.join(", ")) };
        format!("certified checkpoints, {}: {} of {}{names}", one.priority, one.names.len(), one.of)
    };
    Vec::from_iter(coverage.certified.iter().map(line)).join("\n")
}

/// The tiers of the roster, in their order.
fn tiers(on: &OnBackend) -> impl Iterator<Item = (&'static str, &Tier)> {
    TIERS.into_iter().filter_map(|name| Some((name, on.tiers.get(name)?)))
}

fn rows(lines: Vec<[String; 11]>) -> Table {
    let mut rows = table(HEADER);
    if let Some(families) = rows.column_mut(1) {
        families.set_cell_alignment(CellAlignment::Left);
    }
    rows.add_rows(lines);
    rows
}

/// A line for each family of each tier, and one for the tier; with priorities, one for each of those too.
fn lines(on: &OnBackend, by_priority: bool) -> Vec<[String; 11]> {
    let mut lines = Vec::new();
    for (name, tier) in tiers(on) {
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

fn line(tier: &str, family: &str, counts: &Counts) -> [String; 11] {
    let Counts { rows, entries, exported, ran, matched, all_due, not_run, waivers, .. } = counts;
    let left_out = match counts.left_out {
        0 => "0".to_owned(),
        entries => format!("{entries} ({} checks)", counts.checks_left_out),
    };
    let numbers = [rows, entries, exported, ran, matched, all_due, not_run].map(usize::to_string);
    let names = [tier, family].map(str::to_owned);
    let mut cells = names.into_iter().chain(numbers).chain([left_out, waivers.to_string()]);
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

/// Puts the tiers' totals between their markers.
fn write_readme(coverage: &Coverage) -> Result<()> {
    let readme = std::fs::read_to_string("README.md").context("README.md")?;
    let (Some(begin), Some(end)) = (readme.find(BEGIN), readme.find(END)) else {
        bail!("README.md lacks the lines {BEGIN} and {END}");
    };
    let block = block(coverage);
    let before = &readme[..begin + BEGIN.len()];
    std::fs::write("README.md", format!("{before}\n\n{block}\n\n{}", &readme[end..])).context("README.md")
}

/// A table of totals for every device, and how many of them are distinct.
fn block(coverage: &Coverage) -> String {
    let table = |on: &OnBackend| {
        let totals = tiers(on).map(|(name, tier)| line(name, "all", &tier.counts)).collect();
        let mut rows = rows(totals);
        rows.load_preset(presets::ASCII_MARKDOWN);
        format!("{}\n\n{rows}", heading(on))
    };
    let tables = coverage.backends.iter().map(table);
    let sentence = distinct(coverage).lines().map(|line| format!("- {line}")).collect::<Vec<_>>().join("\n");
    Vec::from_iter(tables.chain([sentence])).join("\n\n")
}
