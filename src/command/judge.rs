//! `judge`: somebody's own program, exported by whatever means, held to an entry's references.

use super::limits::Limits;
use super::run::{Published, in_child, print_failure, weights_of};
use super::{checks, export, failed, select::select, show, spec};
use anyhow::{Result, bail};
use clap::Args;
use hf_conformance::artifact::{self, Artifact, Format, Lane};
use hf_conformance::check::{self, CheckContext, CheckResult};
use hf_conformance::engine::{self, Engine};
use hf_conformance::export::Anew;
use hf_conformance::model::{ModelSpec, RuntimeSpec};
use hf_conformance::runner::judge::{self, Foreign};
use hf_conformance::spec::{Check, Entry, Spec};
use hf_conformance::typed::Typed;
use hf_conformance::verdict::Status;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Arguments {
    /// The program: `.pt2` of torch.export, anything else TorchScript
    file: PathBuf,
    /// The model in the spec that it is a program of
    #[arg(long, value_name = "MODEL")]
    entry: String,
    /// The entry's inputs that the program takes, in its order; by its own names when left out, or the entry's order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    inputs: Option<Vec<String>>,
    #[command(flatten)]
    published: Published,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = super::AUTO)]
    device: String,
    #[command(flatten)]
    limits: Limits,
    /// Runs the program in this very process: what this program does in a child
    #[arg(long, hide = true)]
    here: bool,
}

/// A check that is over.
type Judged = (Check, CheckResult, Duration);

/// Exports the entry's references if need be and judges the program; a check that fails is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let [entry] = select(&spec, std::slice::from_ref(&arguments.entry))?[..] else {
        bail!("'{}' means several models; name one of them", arguments.entry);
    };
    let typed = typed(arguments, entry);
    if engine::of(Format::default()).is_none() {
        bail!("this build has no libtorch; use: {typed}");
    }
    if !arguments.file.is_file() {
        bail!("{} is no file", arguments.file.display());
    }
    let takes = match (&arguments.published.weights, &arguments.inputs) {
        // An artifact that is there already has the positions that its entry says, whatever the program takes.
        (None, _) => Vec::new(),
        (Some(_), Some(names)) => names.clone(),
        (Some(_), None) => judge::takes(&arguments.file).map_err(|failure| failed(&failure))?,
    };
    let counting = judge::counting(entry, &takes);
    let entry = counting.as_ref().unwrap_or(entry);
    let order = arguments.published.order(entry)?;
    let folder = order.folder(&artifact::root());
    if arguments.here {
        return one(arguments, &spec, entry, &folder, counting.is_some());
    }
    let exported =
        export::carry_out(&spec, vec![order], Lane::default(), Anew::Due, artifact::root(), &|_| {
            typed.clone()
        })?;
    match exported.iter().any(|one| one.outcome.is_err()) {
        true => Ok(ExitCode::FAILURE),
        false => in_child(entry, &arguments.published, &arguments.limits, &typed),
    }
}

/// Judges the program, which may be `counting` positions itself, and prints what each check found.
fn one(arguments: &Arguments, spec: &Spec, entry: &Entry, folder: &Path, counting: bool) -> Result<ExitCode> {
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    let runtime = RuntimeSpec::new(entry, &spec.versions);
    let model = runtime.model();
    let mut opened = Artifact::open(folder, &model, Lane::new(Format::default(), device))
        .map_err(|failure| failed(&failure))?;
    // There is one program, whatever its attention: none of the artifact's own is run.
    opened.manifest.attention.truncate(1);
    opened.manifest.decoding = None;
    let foreign = Foreign::open(&arguments.file, arguments.inputs.as_deref(), &opened, &model, device)
        .map_err(|failure| failed(&failure))?;
    let program = foreign.load(&foreign.file, device).map_err(|failure| failed(&failure))?;
    let context = CheckContext::new(&model, entry.task, &opened, program.as_ref(), &foreign);
    println!("{}", arguments.file.display());
    let counted = ("positions", "counted by the program, and by eager Python; padding comes last".to_owned());
    for (what, value) in
        facts(&foreign, &model, &opened, explained).into_iter().chain(counting.then_some(counted))
    {
        println!("  {what:<12} {value}");
    }
    let judge = |check: Check| {
        let started = Instant::now();
        (check, check::body(check)(&context), started.elapsed())
    };
    let judged: Vec<Judged> = judge::due(entry, &arguments.file).map(judge).collect();
    let lines = judged.iter().map(|(check, result, took)| match result {
        Ok(measures) => (check.name(), Status::Passed, took.as_secs_f64(), measures.as_slice()),
        Err(failure) => (check.name(), Status::Failed, took.as_secs_f64(), failure.measures.as_slice()),
    });
    show(format!("\n{}", checks(lines)))?;
    for (check, result, _) in &judged {
        if let Err(failure) = result {
            println!("\nFAILED {}", check.name());
            print_failure(failure);
        }
    }
    let passed = judged.iter().filter(|(_, result, _)| result.is_ok()).count();
    println!("\n{passed} of {} checks passed", judged.len());
    Ok(if passed == judged.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the program is taken for.
fn facts(
    foreign: &Foreign,
    model: &ModelSpec,
    references: &Artifact,
    device: String,
) -> Vec<(&'static str, String)> {
    let ports = &foreign.ports;
    let taken: Vec<&str> = ports.inputs.iter().map(|place| &*model.inputs[*place].name).collect();
    let all = model.inputs.iter().map(|input| &*input.name);
    let untaken: Vec<&str> = all.filter(|name| !taken.contains(name)).collect();
    let outputs = model.outputs.iter().zip(&ports.outputs);
    let outputs: Vec<String> = outputs
        .map(|(port, place)| format!("{} is output {place} of {}", port.name, ports.returned))
        .collect();
    let manifest = &references.manifest;
    let mut facts = vec![
        ("engine", foreign.name().to_owned()),
        ("device", device),
        ("held to", format!("{} ({}), weights {}", model.name, manifest.class, weights_of(manifest))),
        ("inputs", format!("{}, {}", taken.join(", "), ports.by.words())),
    ];
    if !untaken.is_empty() {
        facts.push((
            "not taken",
            format!("{}: the references follow it, the program cannot", untaken.join(", ")),
        ));
    }
    facts.push(("outputs", format!("{}, by type and shape", outputs.join(", "))));
    facts
}

/// The command that was typed.
fn typed(arguments: &Arguments, entry: &Entry) -> Typed {
    let names = arguments.inputs.as_ref().map(|names| names.join(","));
    let typed = Typed::just("judge")
        .word(&arguments.file.to_string_lossy())
        .option("--entry", Some(entry.name.as_str()))
        .option("--inputs", names.as_deref())
        .weights(arguments.published.weights.as_deref(), &arguments.published.size)
        .option("--device", super::asked(&arguments.device));
    arguments.limits.repeat(typed)
}
