//! How fast a model runs on libtorch, and how fast in Python, eager or compiled: measured in turns, in the same minutes.
//!
//! In: an entry with its artifact, engines, a device, a Python process ([`EagerProcess`]). Out: a [`Speed`] of every engine.
//! A program is held to its references before it is measured: how fast a wrong one is means nothing.

pub mod decode;
mod memory;
mod python;
pub mod suite;
mod turns;
mod width;
pub mod worker;

pub use python::EagerProcess;
pub use width::Width;

use crate::artifact::{Artifact, Lane, Manifest};
use crate::check::context::dims_of;
use crate::check::{CheckContext, matches_reference};
use crate::device::Device;
use crate::engine::{self, Engine, Program};
use crate::failure::Failure;
use crate::model::{ModelSpec, RuntimeSpec};
use crate::numerics::Tensor;
use crate::report::machine::{Host, commit};
use crate::report::run;
use crate::report::speed::{Batch, Measurement, Side, Speed, Times};
use crate::spec::{Axis, followers};
use crate::task::Dtype;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use turns::Way;

/// Batch sizes where rows can be repeated.
const ROWS: [usize; 2] = [1, 8];
/// Runs of every batch size in which memory rises as far as it will: libtorch rewrites a program in the first two.
const RUNS: usize = 3;

/// The indices to take along one axis of one input.
pub(crate) type Pick = (usize, usize, Vec<usize>);

/// How measurements are taken.
pub struct BenchTarget {
    /// Measured beside each other, each on programs of its own.
    pub engines: Vec<&'static dyn Engine>,
    pub device: Device,
    pub width: Width,
    /// Threads that share an operator, on both sides.
    pub threads: usize,
    /// Measure torch.compile as well.
    pub compile: bool,
}

/// A program that is right and ready to be measured.
struct Ready {
    engine: &'static dyn Engine,
    artifact: Artifact,
    program: Box<dyn Program>,
    side: Side,
}

/// What was measured of one model: its forwards ([`Speed`]), or how it writes.
pub struct Measured<T> {
    /// One of every engine that runs it, in their order.
    pub speeds: Vec<T>,
    /// Engines that do not, by name, and why.
    pub failed: Vec<(&'static str, Failure)>,
}

/// Measures one model whose artifact is in `folder`.
///
/// # Errors
/// Python does not run it, or no engine is left that runs the traced rows.
pub fn measure(
    subject: &RuntimeSpec,
    folder: &Path,
    target: &BenchTarget,
    python: &mut EagerProcess,
) -> Result<Measured<Speed>, Failure> {
    engine::share(i32::try_from(target.threads).unwrap_or(i32::MAX));
    let selections = selections(&subject.model());
    let (ready, failed) =
        by_engine(target, |engine| prepared(subject, folder, engine, target.device, &selections));
    let mut speeds = Vec::new();
    if !ready.is_empty() {
        let mut other = python.load(subject.entry(), target.device, target.threads)?;
        let turned = in_turns(&ready, &selections, target.compile, python)?;
        let peak = python.peak()?;
        // A compiler's own memory says nothing about the model's.
        other.peak_mib = peak.peak_mib.filter(|_| !target.compile);
        other.peak_gpu_mib = peak.peak_gpu_mib;
        for (place, one) in ready.iter().enumerate() {
            speeds.push(speed(subject, target, one, other, turned.of(place)));
        }
    }
    Ok(Measured { speeds, failed })
}

/// What is ready to be measured of each engine, in their order; and the engines that have nothing, and why.
fn by_engine<T>(
    target: &BenchTarget,
    prepared: impl Fn(&'static dyn Engine) -> Result<T, Failure>,
) -> (Vec<T>, Vec<(&'static str, Failure)>) {
    let (mut ready, mut failed) = (Vec::new(), Vec::new());
    for engine in &target.engines {
        match prepared(*engine) {
            Ok(one) => ready.push(one),
            Err(failure) => failed.push((engine.name(), failure)),
        }
    }
    (ready, failed)
}

/// Loads the program of an engine, runs it at every batch size, and holds it to its references.
fn prepared(
    subject: &RuntimeSpec,
    folder: &Path,
    engine: &'static dyn Engine,
    device: Device,
    selections: &[(usize, Vec<Pick>)],
) -> Result<Ready, Failure> {
    let (model, contract) = (subject.model(), subject.entry().task);
    let artifact = Artifact::open(folder, &model, Lane::new(engine.format(), device))?;
    let inputs = artifact.inputs("traced")?;
    let memory = memory::Mark::set();
    let started = Instant::now();
    let program = engine.load(&artifact.program(Dtype::Float32), device)?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    memory.forget();
    let first_ms = milliseconds(&program.time(&inputs, 1)?).next().unwrap_or_default();
    for (_, picks) in selections {
        // What fails here does so again, and is told, when it is measured.
        let _ = program.time(&picked(&inputs, picks), RUNS);
    }
    let side = Side { load_ms, first_ms, peak_mib: memory.risen(), peak_gpu_mib: None };
    matches_reference::check(&CheckContext::new(&model, contract, &artifact, program.as_ref(), engine))?;
    Ok(Ready { engine, artifact, program, side })
}

/// What became of one engine's program.
fn speed(
    subject: &RuntimeSpec,
    target: &BenchTarget,
    ready: &Ready,
    python: Side,
    (batches, left_out): (Vec<Batch>, Vec<String>),
) -> Speed {
    let manifest = &ready.artifact.manifest;
    Speed {
        about: measurement(subject, target, manifest),
        task: subject.entry().task.name.to_owned(),
        engine: ready.engine.name().to_owned(),
        dtype: Dtype::Float32.name().to_owned(),
        weights: manifest.weights.clone(),
        rust: ready.side,
        python,
        batches,
        left_out,
    }
}

/// What was measured just now.
fn measurement(subject: &RuntimeSpec, target: &BenchTarget, manifest: &Manifest) -> Measurement {
    let model = subject.model();
    Measurement {
        run: run().to_owned(),
        time: jiff::Timestamp::now().to_string(),
        model: model.name.to_owned(),
        family: model.family.to_owned(),
        entry: model.digest.to_owned(),
        device: target.device.to_string(),
        width: target.width.name().to_owned(),
        threads: target.threads,
        attention: manifest.attention.first().cloned().unwrap_or_default(),
        host: Host::of(Some(target.device)),
        commit: commit().map(str::to_owned),
        versions: manifest.versions.clone(),
    }
}

/// What was measured in turns.
struct Turned {
    /// By batch size: the times of every engine, of Python, and of torch.compile.
    rows: Vec<(usize, Vec<Times>)>,
    engines: usize,
    left_out: Vec<String>,
}

impl Turned {
    /// What concerns the engine of that place.
    fn of(&self, place: usize) -> (Vec<Batch>, Vec<String>) {
        let batch = |(rows, times): &(usize, Vec<Times>)| Batch {
            rows: *rows,
            rust: times[place],
            python: times[self.engines],
            compiled: times.get(self.engines + 1).copied(),
        };
        (self.rows.iter().map(batch).collect(), self.left_out.clone())
    }
}

/// Measures every batch size in turns; and what could not be measured, with the reason.
///
/// # Errors
/// The traced inputs as they are do not run.
fn in_turns(
    ready: &[Ready],
    selections: &[(usize, Vec<Pick>)],
    mut compile: bool,
    python: &mut EagerProcess,
) -> Result<Turned, Failure> {
    let inputs = ready[0].artifact.inputs("traced")?;
    let mut turned = Turned { rows: Vec::new(), engines: ready.len(), left_out: Vec::new() };
    for (rows, picks) in selections {
        let mut ways: Vec<Way> = (0..ready.len()).map(Way::Engine).chain([Way::Eager]).collect();
        match compile.then(|| python.time(picks, 1, true)) {
            Some(Ok(_)) => ways.push(Way::Compiled),
            Some(Err(failure)) => {
                // It concerns that column only, and would be the same at other sizes.
                turned.left_out.push(format!("torch.compile: {failure}"));
                compile = false;
            }
            None => {}
        }
        let chosen = picked(&inputs, picks);
        let times = turns::in_turns(&ways, |way, count| match way {
            Way::Engine(place) => Ok(milliseconds(&ready[place].program.time(&chosen, count)?).collect()),
            Way::Eager => python.time(picks, count, false),
            Way::Compiled => python.time(picks, count, true),
        });
        match times {
            Ok(times) => turned.rows.push((*rows, times)),
            Err(failure) if picks.is_empty() => return Err(failure),
            Err(failure) => turned.left_out.push(format!("{rows} rows: {failure}")),
        }
    }
    Ok(turned)
}

/// Batch sizes with what to pick of the traced inputs; where the batch is fixed, the traced inputs as they are.
fn selections(model: &ModelSpec) -> Vec<(usize, Vec<Pick>)> {
    let axes = || model.axes.iter().map(|(name, axis)| (name.as_ref(), axis));
    match axes().find(|(name, _)| *name == "batch").map(|(_, axis)| *axis) {
        Some(Axis::Dynamic { traced, .. }) => {
            let followers = followers(axes(), "batch");
            ROWS.into_iter().map(|rows| (rows, picks(model, &followers, traced, rows))).collect()
        }
        Some(Axis::Fixed { size, .. }) => vec![(size, Vec::new())],
        _ => vec![(1, Vec::new())],
    }
}

/// What makes `rows` rows of the traced ones, repeated in their order.
fn picks(model: &ModelSpec, followers: &BTreeMap<&str, usize>, traced: usize, rows: usize) -> Vec<Pick> {
    let slices = |count: usize| -> Vec<usize> {
        (0..rows).flat_map(|row| (row % traced * count)..(row % traced + 1) * count).collect()
    };
    let mut picks = Vec::new();
    for (position, input) in model.inputs.iter().enumerate() {
        for (axis, &count) in followers {
            picks.extend(dims_of(input.shape, axis).into_iter().map(|dim| (position, dim, slices(count))));
        }
    }
    picks
}

fn picked(inputs: &[Tensor], picks: &[Pick]) -> Vec<Tensor> {
    let mut inputs = inputs.to_vec();
    for (position, dim, indices) in picks {
        inputs[*position] = inputs[*position].select(*dim, indices);
    }
    inputs
}

fn milliseconds(times: &[Duration]) -> impl Iterator<Item = f64> + '_ {
    times.iter().map(|time| time.as_secs_f64() * 1e3)
}

/// A pick as the Python side reads it.
fn to_json(picks: &[Pick]) -> serde_json::Value {
    json!(picks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Dim, Fill, Input, Text};

    const IDS: Input = Input {
        name: Text("ids"),
        dtype: Dtype::Int64,
        shape: &[Dim::Named(Text("batch")), Dim::Named(Text("sequence"))],
        fill: Fill::Mask,
    };
    const TILES: Input = Input {
        name: Text("tiles"),
        dtype: Dtype::Int64,
        shape: &[Dim::Named(Text("images"))],
        fill: Fill::Mask,
    };

    #[test]
    fn rows_are_repeated_along_every_axis_that_follows_the_batch() {
        let model = ModelSpec {
            name: "m",
            family: "f",
            class: "C",
            checkpoint: None,
            digest: "0",
            inputs: &[IDS, TILES],
            outputs: &[],
            axes: &[],
            tolerance: &[],
            idle: &[],
        };
        let found = picks(&model, &BTreeMap::from([("batch", 1), ("images", 2)]), 2, 3);
        assert_eq!(found, [(0, 0, vec![0, 1, 0]), (1, 0, vec![0, 1, 2, 3, 0, 1])]);
    }
}
