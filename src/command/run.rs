//! `run`: one model, on one device, against eager Python.

use super::{export, failed, select::select, show, spec, table};
use anyhow::{Result, bail};
use clap::Args;
use hf_conformance::artifact::{self, Manifest};
use hf_conformance::check::bench::Returned;
use hf_conformance::check::{Session, rule};
use hf_conformance::engine::{self, Device, Tensor};
use hf_conformance::export::{Order, Weights};
use hf_conformance::failure::Failure;
use hf_conformance::model::Subject;
use hf_conformance::task::Dtype;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Forwards to take the median of.
const FORWARDS: usize = 20;

#[derive(Args)]
pub struct Arguments {
    /// The model's name in the spec
    model: String,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = "auto")]
    device: String,
    /// Published weights instead of random ones: a hub id or a folder
    #[arg(long, value_name = "CHECKPOINT")]
    weights: Option<String>,
    /// With --weights, the size of an axis that the checkpoint's config asks for, like image=224
    #[arg(long, value_name = "AXIS=SIZE", value_parser = size, requires = "weights")]
    size: Vec<(String, usize)>,
}

fn size(text: &str) -> Result<(String, usize), String> {
    let (axis, size) = text.split_once('=').ok_or("must look like image=224")?;
    let size = size.parse().map_err(|error| format!("{size} is no size: {error}"))?;
    Ok((axis.to_owned(), size))
}

/// Exports the model if need be, runs it and prints how it agrees; disagreement is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let [entry] = select(&spec, std::slice::from_ref(&arguments.model))?[..] else {
        bail!("'{}' means several models; name one of them", arguments.model);
    };
    let Some(engine) = engine::real() else {
        bail!("this build has no libtorch; use: just run {}", entry.name);
    };
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    if let Some((axis, _)) = arguments.size.iter().find(|(axis, _)| !entry.axes.contains_key(axis)) {
        let axes: Vec<_> = entry.axes.keys().map(String::as_str).collect();
        bail!("{} has no axis '{axis}'; there are: {}", entry.name, axes.join(", "));
    }
    let sizes: BTreeMap<_, _> = arguments.size.iter().cloned().collect();
    let weights = arguments.weights.clone().map(|checkpoint| Weights { checkpoint, sizes });
    let order = Order { weights, ..Order::plain(entry) };
    let folder = order.folder(&artifact::root());
    if export::carry_out(&spec, vec![order], false)?.iter().any(|one| one.outcome.is_err()) {
        return Ok(ExitCode::FAILURE);
    }
    let subject = Subject::new(entry, &spec.versions);
    let card = subject.card();
    let started = Instant::now();
    let session = Session::open(&folder, &card, engine, device).map_err(|failure| failed(&failure))?;
    let load = started.elapsed();
    let bench = session.bench(&card, entry.task);
    let inputs = bench.inputs("traced").map_err(|failure| failed(&failure))?;
    let forward = |inputs: &[Tensor]| -> Result<(Returned, Duration), Failure> {
        let started = Instant::now();
        let returned = bench.run(inputs)?;
        Ok((returned, started.elapsed()))
    };
    let (returned, first) = forward(&inputs).map_err(|failure| failed(&failure))?;
    let mut times = (0..FORWARDS)
        .map(|_| forward(&inputs).map(|(_, time)| time))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|failure| failed(&failure))?;
    times.sort();

    let manifest = &session.artifact.manifest;
    let versions: Vec<_> =
        manifest.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let facts = [
        ("device", explained),
        ("class", format!("{}.{}", manifest.module, manifest.class)),
        ("exported with", versions.join(", ")),
        ("traced with", manifest.traced_with()),
        ("weights", weights_of(manifest)),
        (
            "parameters",
            format!("{} in {} tensors", manifest.parameters.count, manifest.parameters.tensors.len()),
        ),
        ("load", milliseconds(load)),
        ("first forward", milliseconds(first)),
        ("median forward", format!("{} (of {FORWARDS})", milliseconds(times[FORWARDS / 2]))),
    ];
    println!("{}", card.name);
    for (name, value) in facts {
        println!("  {name:<15} {value}");
    }
    let mut rows = table(["output", "shape", "max abs", "relative L2", "cosine", "error", "allowed", ""]);
    let mut agrees = true;
    for (port, x) in card.outputs.iter().zip(&returned.outputs) {
        let (e, r) =
            bench.references("traced", Dtype::Float32, &port.name).map_err(|failure| failed(&failure))?;
        if x.shape() != r.shape() {
            bail!("{} is {:?}, the reference {:?}", port.name, x.shape(), r.shape());
        }
        let agreement = rule::judge(x, &e, &r, rule::K, |_| true);
        agrees &= agreement.holds();
        rows.add_row([
            port.name.to_string(),
            format!("{:?}", x.shape()),
            format!("{:.2e}", agreement.max_abs),
            format!("{:.2e}", agreement.relative_l2),
            format!("{:.9}", agreement.cosine),
            format!("{:.2e}", agreement.error),
            format!("{:.2e}", agreement.limit),
            if agreement.holds() { "agrees" } else { "DIFFERS" }.to_owned(),
        ]);
    }
    show(format!("\n{rows}"))?;
    if !agrees {
        println!("\nfind out more: just test {}{}", card.name, device_option(device));
    }
    Ok(if agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `random (seed 0)`, or the checkpoint's name.
fn weights_of(manifest: &Manifest) -> String {
    match (&*manifest.weights, &manifest.checkpoint) {
        ("checkpoint", Some(checkpoint)) => checkpoint.clone(),
        _ => format!("{} (seed {})", manifest.weights, manifest.seed),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn device_option(device: Device) -> String {
    if device == Device::Cpu { String::new() } else { format!(" --device {device}") }
}
