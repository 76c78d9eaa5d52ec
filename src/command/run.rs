//! `run`: one model, on one device, against eager Python.

use super::limits::Limits;
use super::{export, failed, select::select, show, spec, table};
use anyhow::{Result, bail};
use clap::Args;
use hf_conformance::artifact::{self, Format, Lane, Manifest};
use hf_conformance::check::{CheckContext, CheckResult, Session};
use hf_conformance::engine;
use hf_conformance::export::{Anew, Order, Weights};
use hf_conformance::failure::Failure;
use hf_conformance::model::RuntimeSpec;
use hf_conformance::numerics::Tensor;
use hf_conformance::runner::run_alone;
use hf_conformance::spec::{Check, Entry, Spec};
use hf_conformance::task::Dtype;
use hf_conformance::typed::Typed;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Forwards to take the median of.
const FORWARDS: usize = 20;

#[derive(Args)]
pub struct Arguments {
    /// The model's name in the spec
    model: String,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = super::AUTO)]
    device: String,
    /// torchscript, pt2 or aot
    #[arg(long, env = "HF_CONFORMANCE_ENGINE", default_value = super::TORCHSCRIPT)]
    engine: Format,
    #[command(flatten)]
    published: Published,
    #[command(flatten)]
    limits: Limits,
    /// Runs the exported model in this very process: what this program does in a child
    #[arg(long, hide = true)]
    here: bool,
}

/// Whose weights a model has.
#[derive(Args)]
pub struct Published {
    /// Published weights instead of random ones: a hub id or a folder
    #[arg(long, value_name = "CHECKPOINT")]
    pub weights: Option<String>,
    /// With --weights, the size of an axis that the checkpoint's config asks for, like image=224
    #[arg(long, value_name = "AXIS=SIZE", value_parser = size, requires = "weights")]
    pub size: Vec<(String, usize)>,
}

impl Published {
    /// What to export: the entry, with the weights that were asked for.
    pub fn order<'a>(&self, entry: &'a Entry) -> Result<Order<'a>> {
        if let Some((axis, _)) = self.size.iter().find(|(axis, _)| !entry.axes.contains_key(axis)) {
            let axes: Vec<_> = entry.axes.keys().map(String::as_str).collect();
            bail!("{} has no axis '{axis}'; there are: {}", entry.name, axes.join(", "));
        }
        let sizes: BTreeMap<_, _> = self.size.iter().cloned().collect();
        let weights = self.weights.clone().map(|checkpoint| Weights { checkpoint, sizes, certified: None });
        Ok(Order { weights, ..Order::plain(entry) })
    }
}

fn size(text: &str) -> Result<(String, usize), String> {
    let (axis, size) = text.split_once('=').ok_or("must look like image=224")?;
    let size = size.parse().map_err(|error| format!("{size} is no size: {error}"))?;
    Ok((axis.to_owned(), size))
}

impl Arguments {
    /// The `just run` that repeats this.
    fn typed(&self, model: &str) -> Typed {
        let typed = Typed::run(
            model,
            self.published.weights.as_deref(),
            &self.published.size,
            super::asked(&self.device),
        );
        self.limits.repeat(typed.option("--engine", self.engine.option()))
    }
}

/// Exports the model if need be, runs it and prints how it agrees; disagreement is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let [entry] = select(&spec, std::slice::from_ref(&arguments.model))?[..] else {
        bail!("'{}' means several models; name one of them", arguments.model);
    };
    if engine::of(arguments.engine).is_none() {
        bail!("this build has no libtorch; use: {}", arguments.typed(entry.name.as_str()));
    }
    let (device, _) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    let order = arguments.published.order(entry)?;
    let folder = order.folder(&artifact::root());
    if arguments.here {
        return one(arguments, &spec, entry, &folder);
    }
    let lane = Lane::new(arguments.engine, device);
    if export::carry_out(&spec, vec![order], lane, Anew::Due, artifact::root(), &|model| {
        arguments.typed(model)
    })?
    .iter()
    .any(|one| one.outcome.is_err())
    {
        if let Some(checkpoint) = &arguments.published.weights {
            println!("as the class that its own config names: {}", Typed::just("certify").word(checkpoint));
        }
        return Ok(ExitCode::FAILURE);
    }
    in_child(entry, &arguments.published, &arguments.limits, &arguments.typed(entry.name.as_str()))
}

/// Has a child do what was typed in the very process, for `--here`: a program that crashes ends no more than that.
pub fn in_child(entry: &Entry, published: &Published, limits: &Limits, again: &Typed) -> Result<ExitCode> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--here");
    // Published weights may be of any size.
    let limits = Some(limits.asked()).filter(|asked| published.weights.is_none() || asked.is_any());
    match run_alone(&mut command, limits.map(|asked| asked.of(entry)))? {
        Ok(status) if status.success() => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::FAILURE),
        Err(failure) => {
            println!("\n{} · stage {}", entry.name, failure.stage);
            print_failure(&failure);
            println!("\nagain: {again}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Runs the exported model and prints how it agrees.
fn one(arguments: &Arguments, spec: &Spec, entry: &Entry, folder: &Path) -> Result<ExitCode> {
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    let Some(engine) = engine::of(arguments.engine.on(device)) else { bail!("this build has no libtorch") };
    let subject = RuntimeSpec::new(entry, &spec.versions);
    let model = subject.model();
    let started = Instant::now();
    let session = Session::open(folder, &model, engine, Lane::new(arguments.engine, device))
        .map_err(|failure| failed(&failure))?;
    let load = started.elapsed();
    let context = session.context(&model, entry.task);
    let (returned, times) = timed(&context).map_err(|failure| failed(&failure))?;
    print_facts(&context, &explained, load, &times);
    let agreement = context.judge_case(Check::MatchesReference, "traced", &returned, None);
    print_agreement(&context, Check::MatchesReference, &returned, &agreement)?;
    let Err(failure) = agreement else { return Ok(ExitCode::SUCCESS) };
    print_failure(&failure);
    // The tests run random weights: they tell more of those alone.
    let more = match &arguments.published.weights {
        Some(_) => arguments.typed(model.name),
        None => Typed::test([model.name], None, Some(&device.to_string()))
            .option("--engine", arguments.engine.option()),
    };
    println!("\nfind out more: {more}");
    Ok(ExitCode::FAILURE)
}

/// What the traced case returns, and how long the first and each further forward took, as a server runs them.
fn timed(context: &CheckContext) -> Result<(Vec<Tensor>, Vec<Duration>), Failure> {
    let inputs = context.inputs("traced")?;
    let forward = || -> Result<(Vec<Tensor>, Duration), Failure> {
        let started = Instant::now();
        let returned = context.program.served(&inputs, 1)?;
        let took = started.elapsed();
        Ok((context.complete(returned)?, took))
    };
    let (mut returned, first) = forward()?;
    let mut times = vec![first];
    for _ in 0..FORWARDS {
        let (last, took) = forward()?;
        returned = last;
        times.push(took);
    }
    Ok((returned, times))
}

fn print_facts(context: &CheckContext, device: &str, load: Duration, times: &[Duration]) {
    let manifest = &context.artifact.manifest;
    let versions: Vec<_> =
        manifest.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let mut steady = times[1..].to_vec();
    steady.sort();
    let facts = [
        ("device", device.to_owned()),
        ("class", format!("{}.{}", manifest.module, manifest.class)),
        ("exported with", versions.join(", ")),
        ("traced with", manifest.traced_with()),
        ("attention", manifest.attention.first().cloned().unwrap_or_default()),
        ("weights", weights_of(manifest)),
        (
            "parameters",
            format!("{} in {} tensors", manifest.parameters.count, manifest.parameters.tensors.len()),
        ),
        ("load", milliseconds(load)),
        ("first forward", milliseconds(times[0])),
        ("median forward", format!("{} (of {FORWARDS})", milliseconds(steady[FORWARDS / 2]))),
    ];
    println!("{}", context.model.name);
    for (name, value) in facts {
        println!("  {name:<15} {value}");
    }
}

/// A line for every output that could be compared, judged as the tests judge it.
pub fn print_agreement(
    context: &CheckContext,
    check: Check,
    returned: &[Tensor],
    agreement: &CheckResult,
) -> Result<()> {
    let measures = match agreement {
        Ok(measures) => measures,
        Err(failure) => &failure.measures,
    };
    let mut rows = table(["output", "shape", "max abs", "relative L2", "cosine", "error", "allowed", ""]);
    for (port, x) in context.model.outputs.iter().zip(returned) {
        let Some(measure) = measures.iter().find(|measure| *port.name == *measure.output) else { continue };
        let agreement = &measure.agreement;
        let holds = agreement.ruling(context.tolerance(check, Dtype::Float32, port));
        rows.add_row([
            port.name.to_string(),
            format!("{:?}", x.shape()),
            format!("{:.2e}", agreement.max_abs),
            format!("{:.2e}", agreement.relative_l2),
            format!("{:.9}", agreement.cosine),
            format!("{:.2e}", agreement.error),
            format!("{:.2e}", agreement.limit),
            holds.words().to_owned(),
        ]);
    }
    if rows.row_count() > 0 {
        show(format!("\n{rows}"))?;
    }
    Ok(())
}

/// What is wrong, in the words of the tests.
pub fn print_failure(failure: &Failure) {
    println!("\n{failure}");
    for detail in &failure.details {
        println!("  {detail}");
    }
}

/// `random (seed 0)`, or the checkpoint's name.
pub fn weights_of(manifest: &Manifest) -> String {
    match (&*manifest.weights, &manifest.checkpoint) {
        ("checkpoint", Some(checkpoint)) => checkpoint.clone(),
        _ => format!("{} (seed {})", manifest.weights, manifest.seed),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
