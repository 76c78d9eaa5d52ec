//! How fast a model runs on libtorch, and how fast in Python, eager or compiled: measured in turns, in the same minutes.
//!
//! In: an entry with its artifact, a device, a Python process ([`EagerProcess`]). Out: a [`Speed`].

mod memory;
mod python;
mod turns;

pub use python::EagerProcess;

use crate::artifact::{Artifact, Lane};
use crate::check::CheckContext;
use crate::check::context::dims_of;
use crate::engine::{Device, Engine, Tensor};
use crate::failure::Failure;
use crate::model::{ModelSpec, RuntimeSpec};
use crate::report::machine::{Host, commit};
use crate::report::run;
use crate::report::speed::{Batch, Side, Speed};
use crate::spec::Axis;
use crate::task::Dtype;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use turns::Way;

/// Batch sizes where rows can be repeated.
const ROWS: [usize; 3] = [1, 2, 8];

/// The indices to take along one axis of one input.
pub(crate) type Pick = (usize, usize, Vec<usize>);

/// Where measurements are taken.
#[derive(Clone, Copy)]
pub struct BenchTarget {
    pub engine: &'static dyn Engine,
    pub device: Device,
    /// Measure torch.compile as well.
    pub compile: bool,
}

/// Measures one model whose artifact is in `folder`.
///
/// # Errors
/// The artifact is missing or stale, the program or Python fails at the traced rows.
pub fn measure(
    subject: &RuntimeSpec,
    folder: &Path,
    place: &BenchTarget,
    python: &mut EagerProcess,
) -> Result<Speed, Failure> {
    let (model, entry) = (subject.model(), subject.entry());
    let artifact = Artifact::open(folder, &model, Lane::new(place.engine.format(), place.device))?;
    let inputs = artifact.inputs("traced")?;
    let memory = memory::Mark::set();
    let started = Instant::now();
    let program = place.engine.load(&artifact.program(Dtype::Float32), place.device)?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let first = program.time(&inputs, 1)?;
    let first_ms = milliseconds(&first).next().unwrap_or_default();
    let mut rust = Side { load_ms, first_ms, ..Side::default() };
    let mut other = python.load(entry, folder, place.device)?;
    let context = CheckContext {
        model: &model,
        contract: entry.task,
        artifact: &artifact,
        program: program.as_ref(),
        engine: place.engine,
        device: place.device,
    };
    let (batches, left_out) = batches(&context, &inputs, place.compile, python)?;
    rust.peak_mib = memory.risen();
    let peak = python.peak()?;
    // A compiler's own memory says nothing about the model's.
    other.peak_mib = peak.peak_mib.filter(|_| !place.compile);
    other.peak_gpu_mib = peak.peak_gpu_mib;
    let manifest = &artifact.manifest;
    Ok(Speed {
        run: run().to_owned(),
        time: jiff::Timestamp::now().to_string(),
        model: model.name.to_owned(),
        family: model.family.to_owned(),
        task: entry.task.name.to_owned(),
        entry: model.digest.to_owned(),
        device: place.device.to_string(),
        engine: place.engine.name().to_owned(),
        dtype: Dtype::Float32.name().to_owned(),
        weights: manifest.weights.clone(),
        host: Host::of(Some(place.device)),
        commit: commit().map(str::to_owned),
        versions: manifest.versions.clone(),
        rust,
        python: other,
        batches,
        left_out,
    })
}

/// Measures every batch size in turns; and what could not be measured, with the reason.
///
/// # Errors
/// The traced inputs as they are do not run.
fn batches(
    context: &CheckContext,
    inputs: &[Tensor],
    mut compile: bool,
    python: &mut EagerProcess,
) -> Result<(Vec<Batch>, Vec<String>), Failure> {
    let (mut batches, mut left_out) = (Vec::new(), Vec::new());
    for (rows, picks) in selections(context) {
        let mut ways = vec![Way::Libtorch, Way::Eager];
        match compile.then(|| python.time(&picks, 1, true)) {
            Some(Ok(_)) => ways.push(Way::Compiled),
            Some(Err(failure)) => {
                // It concerns that column only, and would be the same at other sizes.
                left_out.push(format!("torch.compile: {failure}"));
                compile = false;
            }
            None => {}
        }
        let chosen = picked(inputs, &picks);
        let times = turns::in_turns(&ways, |way, count| match way {
            Way::Libtorch => Ok(milliseconds(&context.program.time(&chosen, count)?).collect()),
            Way::Eager => python.time(&picks, count, false),
            Way::Compiled => python.time(&picks, count, true),
        });
        match times.as_deref() {
            Ok([rust, python, rest @ ..]) => {
                batches.push(Batch { rows, rust: *rust, python: *python, compiled: rest.first().copied() });
            }
            Ok(_) => {}
            Err(failure) if picks.is_empty() => return Err(failure.clone()),
            Err(failure) => left_out.push(format!("{rows} rows: {failure}")),
        }
    }
    Ok((batches, left_out))
}

/// Batch sizes with what to pick of the traced inputs; where the batch is fixed, the traced inputs as they are.
fn selections(context: &CheckContext) -> Vec<(usize, Vec<Pick>)> {
    let batch = context.model.axes.iter().find(|(name, _)| *name == *"batch").map(|(_, axis)| *axis);
    match batch {
        Some(Axis::Dynamic { traced, .. }) => {
            ROWS.into_iter().map(|rows| (rows, picks(context.model, &context.rows(), traced, rows))).collect()
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
