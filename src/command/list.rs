//! `list`: the entries, filtered, with what is known of each.

use super::{show, spec, stored};
use anyhow::{Result, bail};
use clap::Args;
use comfy_table::{Table, presets};
use hf_conformance::artifact;
use hf_conformance::export::{self, State};
use hf_conformance::report::{Record, last_by_check};
use hf_conformance::spec::{Check, Entry, Spec};
use serde::Serialize;
use std::collections::BTreeMap;
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
    /// Only this status: passed, failed or not-run
    #[arg(long)]
    status: Option<Status>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// What the last results on libtorch say of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Every check that is due passed.
    Passed,
    /// Some check failed.
    Failed,
    /// Some check that is due has no result.
    NotRun,
}

impl Status {
    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotRun => "not run",
        }
    }
}

/// The last result of each model and check.
pub type Last<'a> = BTreeMap<(&'a str, &'a str), &'a Record>;

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
    artifact: State,
    status: Status,
    place: String,
}

/// Prints the entries that all filters let through.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    known(arguments, &spec)?;
    let records = stored::read(&[])?;
    let last = last_by_check(&records);
    let lines: Vec<Line> = spec
        .entries
        .iter()
        .map(|entry| line(&spec, entry, &last))
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

fn line<'a>(spec: &Spec, entry: &'a Entry, last: &Last) -> Line<'a> {
    Line {
        name: entry.name.as_str(),
        family: entry.family.as_str(),
        task: entry.task.name,
        class: &entry.class,
        checkpoint: entry.checkpoint.as_deref(),
        priority: entry.priority.name(),
        source: &entry.source,
        artifact: export::state(entry, &spec.versions, &artifact::root()),
        status: status(entry, last),
        place: entry.place.to_string(),
    }
}

fn meant(arguments: &Arguments, line: &Line) -> bool {
    let is = |asked: &Option<String>, value: &str| asked.as_deref().is_none_or(|asked| asked == value);
    is(&arguments.family, line.family)
        && is(&arguments.task, line.task)
        && is(&arguments.priority, line.priority)
        && is(&arguments.source, line.source)
        && arguments.status.is_none_or(|status| status == line.status)
}

/// What the last results of the checks that are due come to.
pub fn status(entry: &Entry, last: &Last) -> Status {
    let due = Check::ALL.into_iter().filter(|check| check.omitted(entry).is_none());
    let said: Vec<Option<&str>> = due
        .map(|check| last.get(&(entry.name.as_str(), check.name())).map(|record| record.status.as_str()))
        .collect();
    if said.contains(&Some("failed")) {
        Status::Failed
    } else if said.iter().all(|status| *status == Some("passed")) {
        Status::Passed
    } else {
        Status::NotRun
    }
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
            line.status.words(),
        ]);
    }
    table
}
