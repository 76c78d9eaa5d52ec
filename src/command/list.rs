//! `list`: the entries, filtered, with what is known of each.

use super::{show, spec, stored};
use anyhow::{Result, bail};
use clap::Args;
use comfy_table::{Table, presets};
use hf_conformance::artifact;
use hf_conformance::export::{self, Freshness};
use hf_conformance::report::latest::{Latest, current, latest, standing};
use hf_conformance::spec::{Entry, Spec};
use hf_conformance::verdict::Status;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// Only this family
    #[arg(long)]
    family: Option<String>,
    /// Only this task
    #[arg(long)]
    task: Option<String>,
    /// Only this priority: critical, high, medium or low
    #[arg(long)]
    priority: Option<String>,
    /// Only this source of spec/versions.yaml
    #[arg(long)]
    source: Option<String>,
    /// Only this status: passed, failed, crashed, timed-out or not-run
    #[arg(long)]
    status: Option<Asked>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// What the last results on libtorch say of a model, as far as one can ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Asked {
    /// Every check that is due passed on some device, and none speaks against the model on any.
    Passed,
    /// Some check failed, and none did worse.
    Failed,
    /// Some check ended its process.
    Crashed,
    /// Some check took longer than it may, and none crashed.
    TimedOut,
    /// Some check that is due has no result on any device.
    NotRun,
}

impl From<Asked> for Status {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Passed => Self::Passed,
            Asked::Failed => Self::Failed,
            Asked::Crashed => Self::Crashed,
            Asked::TimedOut => Self::TimedOut,
            Asked::NotRun => Self::NotRun,
        }
    }
}

/// One line of the list.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    family: &'a str,
    task: &'a str,
    class: &'a str,
    checkpoint: Option<&'a str>,
    priority: &'static str,
    source: &'a str,
    artifact: Freshness,
    status: Status,
    place: String,
}

/// Prints the entries that all filters let through.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    known(arguments, &spec)?;
    let records = current(stored::read(&[])?, &spec);
    let latest = latest(&records);
    let lines: Vec<Line> = spec
        .entries
        .iter()
        .map(|entry| line(&spec, entry, &latest))
        .filter(|line| meant(arguments, line))
        .collect();
    match arguments.json {
        true => show(serde_json::to_string_pretty(&lines)?)?,
        false => {
            show(format_args!("{}\n\n{} of {} models", table(&lines), lines.len(), spec.entries.len()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A filter that no entry could ever meet is a mistake.
fn known(arguments: &Arguments, spec: &Spec) -> Result<()> {
    type Get = fn(&Entry) -> &str;
    let values: [(&str, &Option<String>, Get); 4] = [
        ("family", &arguments.family, |entry| entry.family.as_str()),
        ("task", &arguments.task, |entry| entry.task.name),
        ("priority", &arguments.priority, |entry| entry.priority.name()),
        ("source", &arguments.source, |entry| &entry.source),
    ];
    for (key, asked, get) in values {
        let Some(asked) = asked else { continue };
        let mut known: Vec<&str> = spec.entries.iter().map(get).collect();
        known.sort_unstable();
        known.dedup();
        if !known.contains(&asked.as_str()) {
            bail!("no entry has {key} '{asked}'; there are: {}", known.join(", "));
        }
    }
    Ok(())
}

fn line<'a>(spec: &Spec, entry: &'a Entry, latest: &Latest) -> Line<'a> {
    Line {
        name: entry.name.as_str(),
        family: entry.family.as_str(),
        task: entry.task.name,
        class: &entry.class,
        checkpoint: entry.checkpoint.as_deref(),
        priority: entry.priority.name(),
        source: &entry.source,
        artifact: export::state(entry, &spec.versions, &artifact::root()),
        status: standing(entry, latest),
        place: entry.place.to_string(),
    }
}

fn meant(arguments: &Arguments, line: &Line) -> bool {
    let is = |asked: &Option<String>, value: &str| asked.as_deref().is_none_or(|asked| asked == value);
    is(&arguments.family, line.family)
        && is(&arguments.task, line.task)
        && is(&arguments.priority, line.priority)
        && is(&arguments.source, line.source)
        && arguments.status.is_none_or(|asked| Status::from(asked) == line.status)
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["model", "family", "task", "class", "priority", "artifact", "status"]);
    for line in lines {
        table.add_row([
            line.name,
            line.family,
            line.task,
            line.class,
            line.priority,
            line.artifact.words(),
            line.status.word(),
        ]);
    }
    table
}
