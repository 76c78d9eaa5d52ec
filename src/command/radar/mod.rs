//! `radar`: what would break under another version of transformers, under a copy of it with changes, or under another torch.
//!
//! The version is laid over the pinned environment, with artifacts and results of its own; what it did not come to, the
//! next call goes on with.

mod hands;
mod print;
mod sides;

use super::limits::Limits;
use super::{export::Bar, failed, select::select, spec, stored};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use hands::Hands;
use hf_conformance::artifact::Lane;
use hf_conformance::engine;
use hf_conformance::export::environment::{Environment, TORCH};
use hf_conformance::export::local::Local;
use hf_conformance::export::{Anew, ExportPlan, Order, deprecated, export, inventory};
use hf_conformance::failure::Failure;
use hf_conformance::report::Record;
use hf_conformance::report::latest::current;
use hf_conformance::runner::radar::{self, Row, Whose, local, rows};
use hf_conformance::runner::{self, TestRun};
use hf_conformance::spec::{Entry, Spec, Versions};
use serde::Serialize;
use sides::Sides;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

/// Where the folders of versions are.
const FOLDER: &str = "target/conformance/radar";
/// Where the artifacts of a version are, below its folder.
const ARTIFACTS: &str = "artifacts";
/// The package whose versions are tried, and the source of that name: its models are.
const PACKAGE: &str = "transformers";
/// Asks for the newest version.
const NEWEST: &str = "newest";

#[derive(Args)]
pub struct Arguments {
    /// transformers=VERSION (the newest when left out), transformers=FOLDER (a changed copy of the package) or
    /// torch=VERSION, and models, families, tasks or tiers; everything when left out
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
    /// What ran programs, where that was not this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    ran: Option<String>,
    /// What it says of TorchScript: `FutureWarning: …`; asked of a torch.
    warnings: Vec<String>,
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
#[derive(Default, Serialize)]
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
    let asked = asked(&arguments.words)?;
    let pinned = spec()?;
    if engine::real().is_none() {
        bail!("this build has no libtorch; use: just radar");
    }
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    let other = under(&pinned, other_versions(&pinned, &asked)?);
    let package = asked.package;
    let [old, new] = [&pinned, &other].map(|spec| version_of(&spec.versions, package));
    eprintln!("{package} {new} beside {old}; device {explained}");
    let folder =
        Path::new(FOLDER).join(if package == TORCH { format!("{TORCH}-{new}") } else { new.to_owned() });
    let entries: Vec<&Entry> =
        select(&other, &asked.filter)?.into_iter().filter(|entry| entry.source == PACKAGE).collect();
    let hands = match package {
        TORCH => Hands::of_torch(&other.versions, &folder)?,
        _ => Hands::Own,
    };
    let mut tried = Vec::new();
    for lane in hands.lanes(device) {
        tried.extend(tried_on(&other, &entries, &folder, lane, &hands, &arguments.limits.asked())?);
    }
    let mut known = current(stored::read(&[])?, &pinned);
    known.retain(|record| entries.iter().any(|entry| entry.name.as_str() == record.model));
    let sides = Sides { pinned: &pinned, other: &other, artifacts: folder.join(ARTIFACTS) };
    let models = rows(&known, &tried, &sides.moved(&entries)?);
    let unneeded = if arguments.adapters { sides.unneeded(&entries, &models)? } else { BTreeMap::new() };
    let mut found = Found {
        package,
        pinned: old.to_owned(),
        tried: new.to_owned(),
        needs: needs(&other, package),
        ran: hands.words(),
        warnings: Vec::new(),
        adapters: Adapters { gone: without_target(&models), unneeded },
        models,
        model_types: Changes::default(),
        classes: Changes::default(),
    };
    about(&mut found, &sides).map_err(|failure| failed(&failure))?;
    print::print(&found, arguments.format)?;
    let worse = hands.is_broken() || found.models.iter().any(|row| row.standing.is_worse());
    Ok(if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Asks the version itself: a package what classes it has, and torch what it says of TorchScript.
fn about(found: &mut Found, sides: &Sides) -> Result<(), Failure> {
    if found.package == TORCH {
        found.warnings = deprecated(&sides.other.versions, PACKAGE)?;
        return Ok(());
    }
    let (before, after) =
        (inventory(&sides.pinned.versions, PACKAGE)?, inventory(&sides.other.versions, PACKAGE)?);
    sides.point(&mut found.models, &before.folder, &after.folder);
    found.model_types = Changes::between(&before.model_types, &after.model_types);
    found.classes = Changes::between(&before.classes, &after.classes);
    Ok(())
}

/// What was asked for.
#[derive(Debug, PartialEq)]
struct Wanted {
    package: &'static str,
    /// The newest where there is none.
    version: Option<String>,
    filter: Vec<String>,
}

/// The version that was asked for, and the filters.
fn asked(words: &[String]) -> Result<Wanted> {
    let mut asked = Wanted { package: PACKAGE, version: None, filter: Vec::new() };
    let mut named = None;
    for word in words {
        let Some((name, version)) = word.split_once('=') else {
            asked.filter.push(word.clone());
            continue;
        };
        let Some(package) = [PACKAGE, TORCH].into_iter().find(|package| *package == name) else {
            bail!(
                "versions of {name} cannot be tried; name one of {PACKAGE} or {TORCH}: {PACKAGE}=X, {TORCH}=X"
            );
        };
        if let Some(other) = named.replace(package) {
            bail!("{other}= and {package}=: try one version at a time, so that what breaks has one cause");
        }
        asked.package = package;
        asked.version = Some(version.trim_start_matches('=').to_owned()).filter(|version| version != NEWEST);
    }
    Ok(asked)
}

/// The pins with the version that was asked for, or with what a folder holds.
fn other_versions(pinned: &Spec, asked: &Wanted) -> Result<Versions> {
    let Wanted { package, version, .. } = asked;
    let is_path = |asked: &&String| asked.contains(['/', '\\']) || Path::new(asked).exists();
    if let Some(path) = version.as_ref().filter(is_path) {
        let Local { name, path } = Local::find(Path::new(path))?;
        if name != PACKAGE || *package != PACKAGE {
            bail!("{} is the package {name}; only {PACKAGE} can be tried from a folder", path.display());
        }
        return Ok(local(pinned, PACKAGE, &path)?);
    }
    let environment = Environment::ready(&pinned.versions)?;
    let overlay = environment.resolve(package, version.as_deref(), &pinned.versions)?;
    Ok(match *package {
        TORCH => radar::torch(pinned, PACKAGE, overlay)?,
        _ => radar::versions(pinned, PACKAGE, overlay)?,
    })
}

/// The spec under other pins.
fn under(spec: &Spec, versions: Versions) -> Spec {
    Spec { entries: spec.entries.clone(), missing: Vec::new(), versions, warnings: Vec::new() }
}

/// The version of a package that models run with.
fn version_of<'a>(versions: &'a Versions, package: &str) -> &'a str {
    let source = versions.sources.get(PACKAGE);
    let version = match package {
        PACKAGE => source.map(|source| &source.version),
        _ => source.and_then(|source| source.overlay.get(package)).or(versions.python.get(package)),
    };
    version.map_or("", String::as_str)
}

/// Packages that the version needs beside itself in another version than is pinned.
fn needs(spec: &Spec, package: &str) -> Vec<String> {
    let overlay = spec.versions.sources.get(PACKAGE).map(|source| &source.overlay);
    let others = overlay.into_iter().flatten().filter(|(name, _)| *name != package);
    others.map(|(name, version)| format!("{name}=={version}")).collect()
}

/// What the checks say of the models of the package under a spec's pins, on a lane.
fn tried_on(
    spec: &Spec,
    entries: &[&Entry],
    folder: &Path,
    lane: Lane,
    hands: &Hands,
    limits: &runner::Asked,
) -> Result<Vec<Record>> {
    let (artifacts, store) = (folder.join(ARTIFACTS), folder.join("results.jsonl"));
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let orders = entries.iter().map(|entry| Order::plain(entry)).collect();
    let progress = Bar::quiet();
    let plan = ExportPlan { spec, orders, lane, anew: Anew::Due, root: artifacts.clone() };
    let exported = export(&plan, &progress).map_err(|failure| failed(&failure))?;
    progress.end();
    let mut run = TestRun::begin(spec, entries.to_vec(), hands.checks(), lane, artifacts, store);
    run.exported(&exported)?;
    let broken = hands.carry_out(&mut run, limits)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Result<Wanted> {
        asked(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_word_with_an_equals_sign_is_a_version_and_every_other_a_filter() {
        let meant = |package, version: Option<&str>, filter: &[&str]| {
            let filter = filter.iter().map(|word| (*word).to_owned()).collect();
            Wanted { package, version: version.map(str::to_owned), filter }
        };
        assert_eq!(words(&[]).unwrap(), meant(PACKAGE, None, &[]));
        let asked = words(&["bert", "transformers=5.24.0", "vision"]).unwrap();
        assert_eq!(asked, meant(PACKAGE, Some("5.24.0"), &["bert", "vision"]));
        assert_eq!(words(&["transformers==5.24.0"]).unwrap(), meant(PACKAGE, Some("5.24.0"), &[]));
        assert_eq!(words(&["torch=2.13.0", "bert"]).unwrap(), meant(TORCH, Some("2.13.0"), &["bert"]));
        assert_eq!(words(&["torch=newest"]).unwrap(), meant(TORCH, None, &[]));
        let error = |given: &[&str]| words(given).unwrap_err().to_string();
        assert_eq!(
            error(&["numpy=2"]),
            "versions of numpy cannot be tried; name one of transformers or torch: transformers=X, torch=X"
        );
        assert_eq!(
            error(&["transformers=5.24.0", "torch=2.13.0"]),
            "transformers= and torch=: try one version at a time, so that what breaks has one cause"
        );
    }

    #[test]
    fn the_version_that_models_run_with_is_that_of_the_overlay_where_it_has_one() {
        let mut versions = spec().unwrap().versions;
        let pinned = versions.python[TORCH].clone();
        assert_eq!(version_of(&versions, TORCH), pinned);
        assert_eq!(version_of(&versions, PACKAGE), versions.python[PACKAGE]);
        let source = versions.sources.get_mut(PACKAGE).unwrap();
        source.overlay.insert(TORCH.to_owned(), "9.9.9".to_owned());
        assert_eq!(version_of(&versions, TORCH), "9.9.9");
        assert_eq!(version_of(&versions, PACKAGE), versions.python[PACKAGE]);
    }
}
