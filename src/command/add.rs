//! `add`: an entry for an architecture, found, tried and written by the machine.

use super::{export::Bar, failed, regenerate};
use anyhow::{Result, bail};
use clap::Args;
use hf_conformance::author::{AddRequest, Added, SpecFiles, Tried, package, trial};
use hf_conformance::export::lock;
use hf_conformance::roster;
use hf_conformance::spec::Spec;
use std::path::Path;
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// The architecture, in any spelling: qwen3-vl, qwen3_vl, Qwen3VL
    name: String,
    /// Says what would be written, and writes nothing
    #[arg(long)]
    dry_run: bool,
    /// The task; the roster's, or the first for which the architecture has a class, when left out
    #[arg(long)]
    task: Option<String>,
    /// The entry to inherit from
    #[arg(long)]
    like: Option<String>,
    /// The family whose file gets the entry
    #[arg(long)]
    family: Option<String>,
    /// A source of spec/versions.yaml
    #[arg(long)]
    source: Option<String>,
    /// A package that is in no release: a folder, a wheel, or NAME[==VERSION] of a registry
    #[arg(long, conflicts_with = "source")]
    package: Option<String>,
}

/// Adds the entry and says what was chosen and why; exit code 1 when it cannot be added.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut files = SpecFiles::open(Path::new("."))?;
    let source = match &arguments.package {
        Some(package) => Some(package::enter(&mut files, package)?),
        None => arguments.source.clone(),
    };
    let spec = files.spec()?;
    let request = AddRequest { source, ..request(arguments, &files, &spec)? };
    let bar = Bar::quiet();
    let artifacts = trial::artifacts();
    let trial = trial::Trial {
        engine: trial::device().map_err(|failure| failed(&failure))?,
        artifacts: &artifacts,
        progress: &bar,
    };
    let tried = trial.run(&mut files, &[request]).map_err(|failure| failed(&failure))?;
    bar.end();
    for one in &tried {
        match one {
            Tried::Already { name, place } => println!("{name} is there already: {place}"),
            Tried::Added(added) => print(added, trial.engine.is_some()),
            Tried::Refused(refusal) => {
                eprintln!("error: {}", refusal.told(&arguments.name, &spec));
            }
        }
    }
    if let (false, [Tried::Added(added)]) = (arguments.dry_run, &tried[..]) {
        files.write()?;
        regenerate(&files.spec()?)?;
        println!("\nadded to spec/{}.yaml; next: just test {}", added.draft.family, added.name);
    }
    // A package that did not become a source has a lock by now, too.
    lock::prune(&super::spec()?.versions)?;
    let refused = tried.iter().any(|one| matches!(one, Tried::Refused(_)));
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The request that the arguments and the roster's row make.
fn request(arguments: &Arguments, files: &SpecFiles, spec: &Spec) -> Result<AddRequest> {
    let known = AddRequest::by_name(&arguments.name, &roster::read(Path::new("."))?, &files.bases());
    let liked = match &arguments.like {
        None => None,
        Some(like) => match spec.entries.iter().find(|entry| entry.name.as_str() == like) {
            Some(entry) => Some(entry.family.to_string()),
            None => bail!("--like: there is no entry '{like}'"),
        },
    };
    // The roster's family is that of its own task.
    let own = known.family.clone().filter(|_| arguments.task.is_none());
    Ok(AddRequest {
        task: arguments.task.clone(),
        like: arguments.like.clone(),
        family: arguments.family.clone().or(liked).or(own),
        ..known
    })
}

/// What was chosen and why, and what it was put to.
fn print(added: &Added, checked: bool) {
    for reason in &added.draft.reasons {
        println!("  {reason}");
    }
    println!("\nspec/{}.yaml", added.draft.family);
    for line in &added.lines {
        println!("  {line}");
    }
    let names: Vec<_> = added.passed.iter().map(|check| check.name()).collect();
    match checked {
        true => println!("\nbuilt, ran, traced; passed {}: {}", names.len(), names.join(", ")),
        false => println!("\nbuilt, ran, traced; checks not run: this build has no libtorch"),
    }
}
