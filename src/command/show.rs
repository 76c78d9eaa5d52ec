//! `show`: an entry after inheritance, with where each value comes from.

use super::{failed, select::one, show, spec, stored};
use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets};
use hf_conformance::artifact::{self, Note};
use hf_conformance::author::draft::flow;
use hf_conformance::export;
use hf_conformance::report::latest::{Latest, backends, current, latest, standing};
use hf_conformance::spec::{self as files, Check, Entry, Origin, Spec};
use hf_conformance::verdict::Status;
use std::path::Path;
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// The model's name in the spec
    model: String,
}

/// Prints the entry, its generated file, its artifact and its last results.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let entry = one(&spec, &arguments.model)?;
    let records = current(stored::read(&[])?, &spec);
    show(format_args!("{} · {}\n\n{}\n", entry.name, entry.place, values(entry)))?;
    show(format_args!("{}{}", made(&spec, entry), done_to(entry)?))?;
    show(results(entry, &latest(&records)))?;
    Ok(ExitCode::SUCCESS)
}

/// Key, place, value; what no layer says has the place `default`.
fn values(entry: &Entry) -> Table {
    let spec_files = files::read(Path::new(".")).unwrap_or_default();
    let mut rows: Vec<[String; 3]> = files::explain(&spec_files, entry.name.as_str())
        .into_iter()
        .filter(|origin| counts(entry, origin))
        .map(|origin| [origin.key, origin.place.to_string(), flow(&origin.value)])
        .collect();
    let defaults = [
        ("priority", entry.priority.name().to_owned()),
        ("source", entry.source.clone()),
        ("seed", entry.seed.to_string()),
        ("padding", entry.padding.name().to_owned()),
        ("inputs", ports(entry.inputs.iter().map(|port| (&port.name, port.shape)))),
        ("outputs", ports(entry.outputs.iter().map(|port| (&port.name, port.shape)))),
    ];
    for (key, value) in defaults {
        let place = if matches!(key, "inputs" | "outputs") { "task" } else { "default" };
        if !rows.iter().any(|row| row[0] == key) {
            rows.push([key.to_owned(), place.to_owned(), value]);
        }
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["key", "from", "value"]).add_rows(rows);
    table
}

/// Whether the value reaches the entry: axes, sizes and omissions that do not fit it are left aside.
fn counts(entry: &Entry, origin: &Origin) -> bool {
    match origin.key.split_once('.') {
        Some(("axes", name)) => entry.axes.contains_key(name),
        Some(("dims", name)) => entry.dims.contains_key(name),
        Some(("omit", name)) => entry.omit.keys().any(|check| check.name() == name),
        _ => true,
    }
}

fn ports<'a>(
    ports: impl Iterator<Item = (&'a hf_conformance::task::Text, hf_conformance::task::Shape)>,
) -> String {
    let one = |(name, shape): (&hf_conformance::task::Text, hf_conformance::task::Shape)| {
        format!("{name} [{}]", Vec::from_iter(shape.iter().map(ToString::to_string)).join(", "))
    };
    Vec::from_iter(ports.map(one)).join("; ")
}

/// The generated file and the artifact.
fn made(spec: &Spec, entry: &Entry) -> String {
    let generated = format!("generated/{}/{}.rs", entry.family.module(), entry.name.module());
    let there = if Path::new(&generated).exists() { "" } else { " (missing: cargo build)" };
    let folder = artifact::root().join(entry.name.as_str());
    let state = export::state(entry, &spec.versions, &artifact::root()).words();
    let source = spec.versions.sources.get(&entry.source);
    let package = source.and_then(|source| Some((source.path.as_ref()?, &source.version)));
    let package = package.map(|(path, version)| format!("package    {} · {version}\n", path.display()));
    let package = package.unwrap_or_default();
    format!("{package}generated  {generated}{there}\nartifact   {} · {state}", folder.display())
}

/// What the exporter did to the model, as the artifact's manifest tells; nothing where there is no artifact.
fn done_to(entry: &Entry) -> Result<String> {
    let folder = artifact::root().join(entry.name.as_str());
    let Some(manifest) = artifact::manifest(&folder).map_err(|failure| failed(&failure))? else {
        return Ok(String::new());
    };
    let traced = notes(&format!("traced with {}", manifest.traced_with()), &manifest.adapters);
    Ok(format!("\n\n{traced}\n{}", notes("differs from the class's plain forward in", &manifest.differences)))
}

/// A heading, and below it what was done and why.
fn notes(heading: &str, notes: &[Note]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for Note { what, why } in notes {
        table.add_row([what, why]);
    }
    format!("{heading}\n{table}\n")
}

/// The last result of every check that is due on each device, and why the others are left out.
fn results(entry: &Entry, latest: &Latest) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["check", "last result", "when", "device", "why"]);
    for check in Check::ALL {
        table.add_rows(rows(entry, check, latest));
    }
    format!("results    {}\n\n{table}", standing(entry, latest).word())
}

/// A line for each device that has a result of the check; one that says so where none has.
fn rows(entry: &Entry, check: Check, latest: &Latest) -> Vec<[String; 5]> {
    let row = |result: &str, when: &str, device: &str, why: &str| {
        [check.name(), result, when, device, why].map(str::to_owned)
    };
    if let Some(why) = check.omitted(entry) {
        return vec![row("left out", "", "", &why)];
    }
    let found = backends(latest).into_iter().filter_map(|backend| {
        let record = latest.get(&(entry.name.as_str(), check.name(), backend))?;
        let when = record.time.get(..19).unwrap_or(&record.time);
        let why = record.reason.as_deref().unwrap_or_default();
        Some(row(record.status.word(), when, &backend.to_string(), why))
    });
    let found = Vec::from_iter(found);
    if found.is_empty() { vec![row(Status::NotRun.word(), "", "", "")] } else { found }
}
