//! `radar`: what would break under another version of transformers, or under a copy of it with changes.
//!
//! The version is laid over the pinned environment, with artifacts and results of its own; what it did not come to, the
//! next call goes on with.

mod sides;

use super::limits::Limits;
use super::{export::Bar, failed, progress::bar, select::select, show, spec, stored, table};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use hf_conformance::artifact;
use hf_conformance::device::Device;
use hf_conformance::engine;
use hf_conformance::export::environment::Environment;
use hf_conformance::export::local::Local;
use hf_conformance::export::{Anew, ExportPlan, Order, export, inventory};
use hf_conformance::report::Record;
use hf_conformance::report::latest::current;
use hf_conformance::runner::radar::{Row, Standing, Whose, local, rows, versions};
use hf_conformance::runner::{Asked, TestRun, carry_out, worker};
use hf_conformance::spec::{Check, Entry, Spec, Versions};
use serde::Serialize;
use sides::Sides;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

/// Where the artifacts of a version are, below its folder.
const ARTIFACTS: &str = "artifacts";
/// The package whose versions are tried, and the source of that name.
const PACKAGE: &str = "transformers";

#[derive(Args)]
pub struct Arguments {
    /// transformers=VERSION (the newest when left out) or transformers=FOLDER (a changed copy of the package), and
    /// models, families, tasks or tiers; everything when left out
    words: Vec<String>,
    /// Traces every green model without each of its adapters as well, and lists those no longer needed
    #[arg(long)]
    adapters: bool,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = super::AUTO)]
    device: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Clone, Copy, Default, PartialEq, ValueEnum)]
enum Format {
    #[default]
    Terminal,
    Markdown,
    Json,
}

/// What was found.
#[derive(Serialize)]
struct Found {
    package: &'static str,
    pinned: String,
    tried: String,
    /// Other packages that the version needs, `name==version`.
    needs: Vec<String>,
    models: Vec<Row>,
    adapters: Adapters,
    model_types: Changes,
    classes: Changes,
}

/// Patches of ours that the version makes a matter of.
#[derive(Default, Serialize)]
struct Adapters {
    /// Adapter → models in which what it replaces is gone.
    gone: BTreeMap<String, Vec<String>>,
    /// Adapter → models that can be traced without it; looked for where it was asked for.
    unneeded: BTreeMap<String, Vec<String>>,
}

/// Names that one version has and the other does not.
#[derive(Serialize)]
struct Changes {
    new: Vec<String>,
    gone: Vec<String>,
}

impl Changes {
    fn between(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Self {
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect();
        Self { new: only(after, before), gone: only(before, after) }
    }
}

/// Exports and tests under the other version, prints what became of every model; exit code 1 where an upgrade should
/// wait.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (version, filter) = asked(&arguments.words)?;
    let pinned = spec()?;
    if engine::real().is_none() {
        bail!("this build has no libtorch; use: just radar");
    }
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    let other = under(&pinned, other_versions(&pinned, version.as_deref())?);
    eprintln!("{PACKAGE} {} beside {}; device {explained}", version_of(&other), version_of(&pinned));
    let folder = Path::new("target/conformance/radar").join(version_of(&other));
    let entries: Vec<&Entry> =
        select(&other, &filter)?.into_iter().filter(|entry| entry.source == PACKAGE).collect();
    let tried = tried(&other, &entries, &folder, device, &arguments.limits.asked())?;
    let names: BTreeSet<&str> = tried.iter().map(|record| record.model.as_str()).collect();
    let mut known = current(stored::read(&[])?, &pinned);
    known.retain(|record| names.contains(record.model.as_str()));
    let [before, after] = [&pinned, &other].map(|spec| inventory(&spec.versions, PACKAGE));
    let (before, after) =
        (before.map_err(|failure| failed(&failure))?, after.map_err(|failure| failed(&failure))?);
    let sides = Sides { pinned: &pinned, other: &other, artifacts: folder.join(ARTIFACTS) };
    let mut models = rows(&known, &tried, &sides.moved(&entries)?);
    sides.point(&mut models, &before.folder, &after.folder);
    let found = Found {
        package: PACKAGE,
        pinned: version_of(&pinned).to_owned(),
        tried: version_of(&other).to_owned(),
        needs: needs(&other),
        adapters: Adapters {
            gone: without_target(&models),
            unneeded: if arguments.adapters { sides.unneeded(&entries, &models)? } else { BTreeMap::new() },
        },
        models,
        model_types: Changes::between(&before.model_types, &after.model_types),
        classes: Changes::between(&before.classes, &after.classes),
    };
    print(&found, arguments.format)?;
    let worse = found.models.iter().any(|row| row.standing.is_worse());
    Ok(if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The version that was asked for, and the filters.
fn asked(words: &[String]) -> Result<(Option<String>, Vec<String>)> {
    let (mut version, mut filter) = (None, Vec::new());
    for word in words {
        match word.split_once('=') {
            Some((PACKAGE, asked)) => version = Some(asked.trim_start_matches('=').to_owned()),
            Some((other, _)) => {
                bail!("versions of {other} cannot be tried; name one of {PACKAGE}: {PACKAGE}=X")
            }
            None => filter.push(word.clone()),
        }
    }
    Ok((version, filter))
}

/// The pins with the version that was asked for, or with what a folder holds.
fn other_versions(pinned: &Spec, asked: Option<&str>) -> Result<Versions> {
    if let Some(path) = asked.filter(|asked| asked.contains(['/', '\\']) || Path::new(asked).exists()) {
        let Local { name, path } = Local::find(Path::new(path))?;
        if name != PACKAGE {
            bail!("{} is the package {name}, not {PACKAGE}", path.display());
        }
        return Ok(local(pinned, PACKAGE, &path)?);
    }
    let overlay = Environment::ready(&pinned.versions)?.resolve(PACKAGE, asked, &pinned.versions)?;
    Ok(versions(pinned, PACKAGE, overlay)?)
}

/// The spec under other pins.
fn under(spec: &Spec, versions: Versions) -> Spec {
    Spec { entries: spec.entries.clone(), missing: Vec::new(), versions, warnings: Vec::new() }
}

fn version_of(spec: &Spec) -> &str {
    spec.versions.sources.get(PACKAGE).map_or("", |source| source.version.as_str())
}

/// Packages that the version needs beside itself in another version than is pinned.
fn needs(spec: &Spec) -> Vec<String> {
    let overlay = spec.versions.sources.get(PACKAGE).map(|source| &source.overlay);
    let others = overlay.into_iter().flatten().filter(|(name, _)| *name != PACKAGE);
    others.map(|(name, version)| format!("{name}=={version}")).collect()
}

/// What the checks say of the models of the package under a spec's pins.
fn tried(
    spec: &Spec,
    entries: &[&Entry],
    folder: &Path,
    device: Device,
    limits: &Asked,
) -> Result<Vec<Record>> {
    let (artifacts, store) = (folder.join(ARTIFACTS), folder.join("results.jsonl"));
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let orders = entries.iter().map(|entry| Order::plain(entry)).collect();
    let progress = Bar::quiet();
    let lane = artifact::Lane::new(artifact::Format::TorchScript, device);
    let plan = ExportPlan { spec, orders, lane, anew: Anew::Due, root: artifacts.clone() };
    let exported = export(&plan, &progress).map_err(|failure| failed(&failure))?;
    progress.end();
    let mut run = TestRun::begin(spec, entries.to_vec(), Check::ALL.to_vec(), lane, artifacts, store);
    run.exported(&exported)?;
    let bar = bar("checking", run.planned.len());
    let broken = carry_out(&mut run, &worker::start, limits, &|checks| bar.inc(checks as u64))?;
    bar.finish_and_clear();
    Ok(run.end(broken.first().map(|broken| broken.why.as_str()))?.records)
}

/// Adapter → models that it no longer fits.
fn without_target(models: &[Row]) -> BTreeMap<String, Vec<String>> {
    let mut gone: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in models {
        if let Some(Whose::Adapter(name)) = &row.whose {
            gone.entry(name.clone()).or_default().push(row.model.clone());
        }
    }
    gone
}

fn print(found: &Found, format: Format) -> Result<()> {
    match format {
        Format::Json => show(serde_json::to_string_pretty(found)?)?,
        Format::Markdown => show(text(found, "## ", presets::ASCII_MARKDOWN))?,
        Format::Terminal => show(text(found, "", presets::NOTHING))?,
    }
    Ok(())
}

/// Counts, what is not as it was, and what else is new; a heading begins with `mark`.
fn text(found: &Found, mark: &str, preset: &str) -> String {
    let mut parts = vec![format!("{mark}{} {} → {}", found.package, found.pinned, found.tried)];
    if !found.needs.is_empty() {
        parts.push(format!("It needs {}.", found.needs.join(", ")));
    }
    parts.push(counts(&found.models, preset));
    let changed: Vec<&Row> = found.models.iter().filter(|row| !row.reason.is_empty()).collect();
    if !changed.is_empty() {
        parts.push(changes(&changed, preset));
    }
    let Adapters { gone, unneeded } = &found.adapters;
    for (what, adapters) in [("whose target is gone", gone), ("no longer needed", unneeded)] {
        if !adapters.is_empty() {
            let lines = adapters.iter().map(|(name, models)| format!("- {name}: {}", models.join(", ")));
            parts.push(format!("{mark}adapters {what}\n\n{}", Vec::from_iter(lines).join("\n")));
        }
    }
    let lists = [("model types", &found.model_types), ("classes", &found.classes)];
    for (what, changes) in lists {
        for (word, names) in [("new", &changes.new), ("gone", &changes.gone)] {
            if !names.is_empty() {
                parts.push(format!("{mark}{word} {what} ({})\n\n{}", names.len(), names.join(", ")));
            }
        }
    }
    parts.join("\n\n")
}

fn counts(models: &[Row], preset: &str) -> String {
    let mut table = table(["models", "count"]);
    table.load_preset(preset);
    for standing in Standing::ALL {
        let count = models.iter().filter(|row| row.standing == standing).count();
        if count > 0 {
            table.add_row([standing.words().to_owned(), count.to_string()]);
        }
    }
    table.to_string()
}

fn changes(rows: &[&Row], preset: &str) -> String {
    let mut table = Table::new();
    table.load_preset(preset).set_header([
        "model",
        "standing",
        "stage",
        "whose",
        "checks",
        "reason",
        "class changes at",
    ]);
    for row in rows {
        table.add_row([
            row.model.clone(),
            row.standing.words().to_owned(),
            row.stage.clone().unwrap_or_default(),
            row.whose.as_ref().map(ToString::to_string).unwrap_or_default(),
            row.checks.join(" "),
            // A cell of Markdown ends at a bar.
            row.reason.replace('|', "\\|"),
            row.changed.clone().unwrap_or_default(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Result<(Option<String>, Vec<String>)> {
        asked(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_word_with_an_equals_sign_is_a_version_and_every_other_a_filter() {
        assert_eq!(words(&[]).unwrap(), (None, Vec::new()));
        let (version, filter) = words(&["bert", "transformers=5.24.0", "vision"]).unwrap();
        assert_eq!(
            (version.as_deref(), filter),
            (Some("5.24.0"), vec!["bert".to_owned(), "vision".to_owned()])
        );
        assert_eq!(words(&["transformers==5.24.0"]).unwrap().0.as_deref(), Some("5.24.0"));
        let error = words(&["torch=2.13.0"]).unwrap_err().to_string();
        assert_eq!(error, "versions of torch cannot be tried; name one of transformers: transformers=X");
    }

    #[test]
    fn the_text_counts_all_and_lists_what_changed() {
        let row = |model: &str, standing, reason: &str| Row {
            model: model.to_owned(),
            standing,
            checks: Vec::new(),
            stage: None,
            whose: None,
            reason: reason.to_owned(),
            changed: None,
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let found = Found {
            package: PACKAGE,
            pinned: "1.0".to_owned(),
            tried: "2.0".to_owned(),
            needs: vec!["tokenizers==3".to_owned()],
            models: vec![
                row("bert", Standing::NewlyBroken, "no a|b"),
                row("gpt2", Standing::StillGreen, ""),
                row("t5", Standing::StillGreen, ""),
            ],
            adapters: Adapters {
                gone: BTreeMap::from([("rope".to_owned(), vec!["bert".to_owned()])]),
                ..Adapters::default()
            },
            model_types: Changes::between(&names(&["old", "kept"]), &names(&["kept", "new"])),
            classes: Changes::between(&names(&[]), &names(&[])),
        };
        let text = text(&found, "## ", presets::ASCII_MARKDOWN);
        assert!(text.starts_with("## transformers 1.0 → 2.0\n\nIt needs tokenizers==3."), "{text}");
        assert!(text.contains("| still green  |     2 |"), "{text}");
        assert!(text.contains("## adapters whose target is gone\n\n- rope: bert"), "{text}");
        assert!(text.contains("no a\\|b") && !text.contains("| gpt2"), "{text}");
        assert!(text.contains("## new model types (1)\n\nnew") && text.ends_with("(1)\n\nold"), "{text}");
    }
}
