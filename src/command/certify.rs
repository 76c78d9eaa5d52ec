//! `certify`: from a checkpoint to a bundle that can be shipped.

use super::certify_roster::{self, STAGE};
use super::limits::Limits;
use super::progress::Stages;
use super::{checks, failed, run::print_failure, show};
use anyhow::{Context, Result, bail};
use clap::Args;
use hf_conformance::artifact;
use hf_conformance::certify::bundle::Draft;
use hf_conformance::certify::certificate::{Answered, Example, Processed, Texts};
use hf_conformance::certify::example::Proved;
use hf_conformance::certify::found::Request;
use hf_conformance::certify::prove::{Setting, artifact_of};
use hf_conformance::certify::{Certificate, Found, Subject, bundle, examine, example, prove, subject};
use hf_conformance::engine;
use hf_conformance::failure::Failure;
use hf_conformance::runner::{BrokeOff, Ended, available, worker};
use hf_conformance::spec;
use hf_conformance::task::Dtype;
use hf_conformance::typed::Typed;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(Args)]
pub struct Arguments {
    /// A folder that `save_pretrained` wrote, a hub id, or a GGUF file
    #[arg(required_unless_present_any = ["serve", "priority"])]
    checkpoint: Option<String>,
    /// What it is for, where its config names several classes or none
    #[arg(long)]
    task: Option<String>,
    /// Branch, tag or commit of a hub id
    #[arg(long)]
    revision: Option<String>,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = super::AUTO)]
    pub device: String,
    /// float32, or what is proved beside it and shipped too: bfloat16 or float16
    #[arg(long, default_value = "float32", value_parser = dtype)]
    pub dtype: Dtype,
    /// Where the bundle goes, certified/NAME when left out; with --priority the folder of all of them
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// GiB that the files of a hub id may take on the disk, or a part of one
    #[arg(long, value_name = "GIB", value_parser = budget)]
    pub budget: Option<f64>,
    /// In place of a checkpoint: those of the roster that matter so much (critical, high, medium, low), fetched, proved and
    /// deleted one after the other
    #[arg(long, value_delimiter = ',', value_name = "PRIORITIES", conflicts_with_all = ["checkpoint", "task", "revision"])]
    pub priority: Vec<String>,
    #[command(flatten)]
    pub limits: Limits,
    /// Serves checks of the checkpoint that this file tells of: what this program does in a child
    #[arg(long, hide = true, value_name = "FILE")]
    serve: Option<PathBuf>,
}

/// An element type that programs are made in.
fn dtype(name: &str) -> Result<Dtype, String> {
    let single = Dtype::Float32;
    let known = if name == single.name() { Ok(single) } else { artifact::half(name) };
    known.map_err(|_| format!("no program is made in '{name}'; there are: float32, bfloat16, float16"))
}

/// Room on a disk.
fn budget(gib: &str) -> Result<f64, String> {
    let number = gib.parse().ok().filter(|gib: &f64| gib.is_finite() && *gib > 0.0);
    number.ok_or_else(|| format!("'{gib}' is no number of GiB"))
}

/// What is done one after the other.
const STAGES: [&str; 4] = ["looking at the checkpoint", "exporting it", "checking it", "trying its example"];

/// What a child must know.
#[derive(serde::Serialize, serde::Deserialize)]
struct Told {
    name: String,
    found: Found,
}

/// Proves the checkpoint and writes the bundle; a check that does not pass leaves none, and is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(told) = &arguments.serve {
        return serve(told);
    }
    if !arguments.priority.is_empty() {
        return certify_roster::run(arguments);
    }
    let checkpoint = arguments.checkpoint.as_deref().unwrap_or_default();
    if engine::real().is_none() {
        bail!("this build has no libtorch; use: {}", typed(arguments));
    }
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    let spec = super::spec()?;
    let stages = Stages::new(&STAGES);
    stages.next(0);
    let scratch = scratch()?;
    let request = Request {
        checkpoint,
        revision: arguments.revision.as_deref(),
        budget: arguments.budget,
        task: arguments.task.as_deref(),
        scratch: &scratch.path().join("unpacked"),
    };
    let found = examine(&spec, &request);
    stages.end();
    let found = found.map_err(|failure| refused(checkpoint, &failure))?;
    let name = name(arguments, checkpoint)?;
    let out = arguments.out.clone().unwrap_or_else(|| bundle::place(&name));
    bundle::may_replace(&out).map_err(|failure| failed(&failure))?;
    let subject = subject(&files()?, &found, &name).map_err(|failure| refused(checkpoint, &failure))?;
    let subject = subject.within(room(arguments));
    show(facts(&subject, &found, &explained))?;
    let told = scratch.path().join("told.json");
    serde_json::to_writer(std::fs::File::create(&told)?, &Told { name, found: found.clone() })?;
    let program = std::env::current_exe()?;
    let setting = Setting {
        device,
        half: half(arguments),
        asked: arguments.limits.asked(),
        child: &|| {
            let mut command = Command::new(&program);
            command.args(["certify", "--serve"]).arg(&told);
            command
        },
        progress: &stages,
        checking: &|| stages.next(subject.entry().due().count()),
        over: &|checks| stages.over(checks),
        store: &scratch.path().join("results.jsonl"),
    };
    stages.next(1);
    let proved = prove(&subject, &found, &setting);
    stages.end();
    let (ended, broken) = proved.map_err(|failure| failed(&failure))?;
    finish(arguments, &subject, &found, &ended, &broken, &out, &stages)
}

/// Bytes of memory that are free, or as many of them as a process may hold.
fn room(arguments: &Arguments) -> u64 {
    let asked = arguments.limits.asked().gib.map(|gib| gib << 30);
    asked.into_iter().chain([available()]).min().unwrap_or(u64::MAX)
}

/// The half precision that is asked for.
fn half(arguments: &Arguments) -> Option<Dtype> {
    Some(arguments.dtype).filter(|dtype| *dtype != Dtype::Float32)
}

/// A folder for what goes when the command ends: beside artifacts, where there is room for weights.
fn scratch() -> Result<tempfile::TempDir> {
    let root = artifact::root();
    std::fs::create_dir_all(&root)?;
    // Absolute: Python is told of it.
    Ok(tempfile::Builder::new().prefix(".certify-").tempdir_in(std::path::absolute(root)?)?)
}

/// Says what came of the checks, and writes the bundle where all passed.
fn finish(
    arguments: &Arguments,
    subject: &Subject,
    found: &Found,
    ended: &Ended,
    broken: &[BrokeOff],
    out: &Path,
    stages: &Stages,
) -> Result<ExitCode> {
    let judged = ended
        .records
        .iter()
        .map(|record| (record.check.as_str(), record.status, record.seconds, record.metrics.as_slice()));
    show(format!("\n{}", checks(judged)))?;
    if !ended.is_good(true) {
        print_failures(ended, broken);
        println!("\nno bundle was written; again: {}", typed(arguments));
        return Ok(ExitCode::FAILURE);
    }
    let folder = artifact_of(subject, found);
    let manifest = artifact::manifest(&folder).map_err(|failure| failed(&failure))?;
    let manifest = manifest.with_context(|| format!("{} has no manifest", folder.display()))?;
    let mut certificate = Certificate::of(subject, found, ended, &manifest);
    let draft = Draft::new(out, &folder, &bundle::programs(&manifest, ended.run.lane), found)
        .map_err(|failure| failed(&failure))?;
    stages.next(example::STEPS);
    let proved =
        Proved { folder: draft.path(), subject, found, manifest: &manifest, certificate: &certificate };
    let made = example::make(&proved, &|step| stages.step(step));
    stages.end();
    match made.map_err(|failure| failed(&failure))? {
        Ok(made) => {
            show(told(&made))?;
            certificate.example = Some(made);
        }
        Err(why) => {
            println!("\nno example: {why}");
            certificate.left_out.insert("example".to_owned(), why);
        }
    }
    draft.finish(out, &mut certificate).map_err(|failure| failed(&failure))?;
    let verify = Typed::just("verify").word(&out.to_string_lossy());
    println!("\n{} of {} checks passed: {}", ended.tally.passed, ended.run.due.len(), out.display());
    println!("later, or on another machine: {verify}");
    Ok(ExitCode::SUCCESS)
}

/// What an example was compared with Python on.
fn told(example: &Example) -> String {
    let Example { texts, processed, answers } = example;
    let became = texts.iter().map(|Texts { max_length, compared, pairs, .. }| {
        format!("{compared} texts and {pairs} pairs become Python's tokens, cut to {max_length}")
    });
    let processed = processed.iter().map(|Processed { what, error, limit, max_abs }| {
        format!("  {what}: off by {error:.1e}, allowed {limit:.1e}; at most by {max_abs:.1e}")
    });
    let way = match texts {
        Some(Texts { cached: true, .. }) => ", a token a step with its cache",
        _ => "",
    };
    let head = format!("the example answers as Python{way}:");
    let answers = answers.iter().map(|Answered { of, answer, error, limit }| {
        format!("  {of:?}\n    {answer} (off by {error:.1e}, allowed {limit:.1e})")
    });
    let notes = texts.iter().flat_map(|texts| &texts.notes).map(|note| format!("  note: {note}"));
    let lines = became.chain(processed).chain([head]).chain(answers).chain(notes);
    format!("\n{}", Vec::from_iter(lines).join("\n"))
}

/// Runs checks for the process that started this one.
fn serve(told: &Path) -> Result<ExitCode> {
    let Told { name, found } = serde_json::from_reader(std::fs::File::open(told)?)?;
    let request = serde_json::from_reader(std::io::stdin().lock()).context("reading the request")?;
    let subject = subject(&files()?, &found, &name).map_err(|failure| failed(&failure))?;
    worker::serve(subject.spec, request).map_err(|failure| failed(&failure))?;
    Ok(ExitCode::SUCCESS)
}

/// The spec's files, which the project's own commands have checked.
fn files() -> Result<Vec<spec::File>> {
    spec::read(Path::new(".")).map_err(|problems| match problems.first() {
        Some(problem) => anyhow::anyhow!("{problem}"),
        None => anyhow::anyhow!("the spec cannot be read"),
    })
}

/// The command that was typed.
fn typed(arguments: &Arguments) -> Typed {
    let out = arguments.out.as_ref().map(|out| out.to_string_lossy());
    let typed = Typed::just("certify")
        .words(arguments.checkpoint.as_deref())
        .option("--task", arguments.task.as_deref())
        .option("--revision", arguments.revision.as_deref())
        .option("--device", super::asked(&arguments.device))
        .option("--dtype", half(arguments).map(Dtype::name))
        .option("--out", out.as_deref())
        .option("--budget", arguments.budget.map(|gib| gib.to_string()).as_deref());
    arguments.limits.repeat(typed)
}

/// A bundle is called as its folder, or as the checkpoint's.
fn name(arguments: &Arguments, checkpoint: &str) -> Result<String> {
    let path = arguments.out.as_deref().unwrap_or(Path::new(checkpoint));
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = whole.file_name().context("name a folder for the bundle: --out DIR")?;
    Ok(name.to_string_lossy().into_owned())
}

/// In one line what is wrong with a checkpoint, and below it what to do.
fn refused(checkpoint: &str, failure: &Failure) -> anyhow::Error {
    let details: String = failure.details.iter().map(|detail| format!("\n  {detail}")).collect();
    anyhow::anyhow!("{checkpoint} cannot be certified: {}{details}", failure.message)
}

/// What the checkpoint is, and how much of it is proved.
fn facts(subject: &Subject, found: &Found, device: &str) -> String {
    let entry = subject.entry();
    let ports = |names: Vec<&str>| names.join(", ");
    let pooled = found.embedding.as_ref().map(|embedding| {
        let normalised = if embedding.normalised { ", at length 1" } else { "" };
        format!("{} of the hidden states{normalised}", embedding.pooling)
    });
    let sizes: Vec<String> = entry.cases().iter().chain(&subject.cases).map(sized).collect();
    let mut lines = vec![
        ("device", device.to_owned()),
        ("class", found.class_name.clone()),
        ("task", found.task.clone()),
        ("parameters", found.parameters.to_string()),
        ("inputs", ports(entry.inputs.iter().map(|port| port.name.as_ref()).collect())),
        ("outputs", ports(entry.outputs.iter().map(|port| port.name.as_ref()).collect())),
        ("sizes", sizes.join(", ")),
        ("memory", format!("about {} GiB", subject.memory.div_ceil(1 << 30))),
        ("references", subject.reference.to_string()),
    ];
    lines.extend(pooled.map(|pooled| ("embedding", pooled)));
    let class = found.preprocessor.as_ref().and_then(|found| found["class"].as_str());
    lines.extend(class.map(|class| ("preprocessor", class.to_owned())));
    lines.extend(found.reasons.iter().map(|reason| ("because", reason.clone())));
    lines.extend(subject.left_out.iter().map(|(case, why)| ("left out", format!("{}: {why}", case.name))));
    lines.extend(found.unexpected.first().map(|first| {
        let count = found.unexpected.len();
        let advice = "if they matter, config.json should name their class under architectures";
        ("note", format!("{count} weights have no place in {}, first {first}: {advice}", found.class_name))
    }));
    let lines: Vec<String> = lines.into_iter().map(|(what, value)| format!("  {what:<12} {value}")).collect();
    format!("{}\n{}", subject.name, lines.join("\n"))
}

/// `4×16`: rows and tokens, or whatever the axes are.
fn sized(case: &spec::Case) -> String {
    Vec::from_iter(case.sizes.values().map(ToString::to_string)).join("×")
}

fn print_failures(ended: &Ended, broken: &[BrokeOff]) {
    for record in ended.records.iter().filter(|record| record.reason.is_some()) {
        let stage = record.stage.unwrap_or(hf_conformance::failure::Stage::Run);
        let reason = record.reason.clone().unwrap_or_default();
        let failure = Failure { details: record.details.clone(), ..Failure::new(stage, reason) };
        println!("\n{} {}{STAGE}{stage}", record.check, record.status);
        print_failure(&failure);
    }
    for broken in broken.iter().filter(|broken| broken.is_news) {
        println!("\n{}\n{}", broken.said, broken.why);
    }
}
