//! How fast a model writes text: with its cache and without one on libtorch, and by Python's `generate`, in turns.
//!
//! In: an entry at [`Width::decoding`](super::Width::decoding) with its artifact. Out: a [`DecodeSpeed`] of every engine. A step
//! program passes the check `decodes` before it is measured, and the tokens that both sides write are compared.

use super::turns::in_turns;
use super::{BenchTarget, EagerProcess, Measured, by_engine, measurement, milliseconds};
use crate::artifact::{Artifact, Lane, Manifest};
use crate::check::{CheckContext, decodes};
use crate::engine::{self, Decoder, Engine, Program, largest_at_end};
use crate::failure::{At, Failure, Stage};
use crate::model::RuntimeSpec;
use crate::numerics::Tensor;
use crate::report::decoding::{DecodeCase, DecodeSpeed};
use crate::report::speed::{Measurement, Times};
use crate::task::Dtype;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Tokens of a prompt, and rows.
const CASES: [(usize, usize); 4] = [(32, 1), (32, 8), (512, 1), (512, 8)];
/// Tokens that are written after a prompt.
const NEW: usize = 64;
/// Ids below this one may be marks: of a beginning, an end, padding, a picture.
const ORDINARY: i64 = 16;

/// A way to write text; engines by their places among those that are measured.
#[derive(Clone, Copy)]
enum Way<'a> {
    Cached(usize),
    Uncached(usize),
    Python(&'a str),
}

/// A decoder that is right, and what a program of the same model without a cache is.
struct Ready {
    engine: &'static dyn Engine,
    decoder: Decoder,
    program: Box<dyn Program>,
    /// Place of the logits among the outputs.
    logits: usize,
    vocabulary: i64,
    manifest: Manifest,
}

/// What was written after the prompts.
#[derive(Clone, Default)]
struct Written {
    /// By row.
    tokens: Vec<Vec<i64>>,
    /// How long each step after the prompt took.
    steps: Vec<Duration>,
}

/// Measures one model whose artifact is in `folder`.
///
/// # Errors
/// Python does not run it.
pub fn measure(
    subject: &RuntimeSpec,
    folder: &Path,
    target: &BenchTarget,
    python: &mut EagerProcess,
) -> Result<Measured<DecodeSpeed>, Failure> {
    engine::share(i32::try_from(target.threads).unwrap_or(i32::MAX));
    let (ready, failed) = by_engine(target, |engine| prepared(subject, folder, engine, target));
    let Some(first) = ready.first() else { return Ok(Measured { speeds: Vec::new(), failed }) };
    python.load(subject.entry(), target.device, target.threads)?;
    let attention = first.manifest.attention.first().cloned().unwrap_or_else(|| "eager".to_owned());
    let speed = |ready: &Ready| DecodeSpeed {
        about: Measurement { attention: attention.clone(), ..measurement(subject, target, &ready.manifest) },
        engine: ready.engine.name().to_owned(),
        cases: Vec::new(),
        left_out: Vec::new(),
    };
    let mut speeds: Vec<DecodeSpeed> = ready.iter().map(speed).collect();
    for (prompt, rows) in CASES {
        match case(&ready, prompt, rows, &attention, python) {
            Ok(cases) => speeds.iter_mut().zip(cases).for_each(|(speed, case)| speed.cases.push(case)),
            Err(failure) => speeds[0].left_out.push(format!("prompt {prompt}, {rows} rows: {failure}")),
        }
    }
    Ok(Measured { speeds, failed })
}

/// Loads the programs of an engine, and holds the one with a cache to its references.
fn prepared(
    subject: &RuntimeSpec,
    folder: &Path,
    engine: &'static dyn Engine,
    target: &BenchTarget,
) -> Result<Ready, Failure> {
    let (model, contract, device) = (subject.model(), subject.entry().task, target.device);
    let artifact = Artifact::open(folder, &model, Lane::new(engine.format(), device))?;
    let program = engine.load(&artifact.program(Dtype::Float32), device)?;
    let generation = contract.generation.as_ref();
    let logits = model.outputs.iter().position(|port| Some(&*port.name) == generation.map(|one| one.logits));
    let vocabulary = artifact.manifest.dims.get("vocabulary").copied();
    let (Some(logits), Some(vocabulary)) = (logits, vocabulary) else {
        return Err(Failure::new(Stage::Load, "the entry has no logits over a vocabulary"));
    };
    let context = CheckContext::new(&model, contract, &artifact, program.as_ref(), engine);
    decodes::check(&context)?;
    let decoder = context.decoder()?;
    let manifest = artifact.manifest.clone();
    Ok(Ready { engine, decoder, program, logits, vocabulary: vocabulary as i64, manifest })
}

/// What every engine comes to in one case, in their order.
fn case(
    ready: &[Ready],
    prompt: usize,
    rows: usize,
    attention: &str,
    python: &mut EagerProcess,
) -> Result<Vec<DecodeCase>, Failure> {
    let prompts = prompts(prompt, rows, ready[0].vocabulary);
    let eager = Some("eager").filter(|eager| *eager != attention);
    let ways = (0..ready.len()).flat_map(|place| [Way::Cached(place), Way::Uncached(place)]);
    let ways: Vec<Way> = ways.chain([attention].into_iter().chain(eager).map(Way::Python)).collect();
    let mut ours = vec![Written::default(); ready.len()];
    let mut theirs = Vec::new();
    let times = in_turns(&ways, |way, count| match way {
        Way::Cached(place) => (0..count)
            .map(|_| {
                let started = Instant::now();
                ours[place] = ready[place].cached(&prompts)?;
                Ok(started.elapsed().as_secs_f64() * 1e3)
            })
            .collect(),
        Way::Uncached(place) => (0..count).map(|_| ready[place].uncached(&prompts)).collect(),
        Way::Python(name) => {
            let (times, written) = python.generate(&prompts, NEW, name, count)?;
            if name == attention {
                theirs = written;
            }
            Ok(times)
        }
    })?;
    let python = ways.iter().zip(&times).filter_map(|(way, times)| match way {
        Way::Python(name) => Some(((*name).to_owned(), *times)),
        Way::Cached(_) | Way::Uncached(_) => None,
    });
    let python = BTreeMap::from_iter(python);
    // An engine's two ways stand beside each other.
    let of = |(written, times): (&Written, &[Times])| DecodeCase {
        prompt,
        rows,
        new_tokens: NEW,
        cached: times[0],
        growth: growth(&written.steps),
        uncached: times[1],
        uncached_tokens: 1,
        python: python.clone(),
        alike: written.tokens.iter().zip(&theirs).filter(|(own, other)| own == other).count(),
    };
    Ok(ours.iter().zip(times.chunks(2)).map(of).collect())
}

impl Ready {
    /// What is written after the prompts with a cache.
    fn cached(&self, prompts: &[Vec<i64>]) -> Result<Written, Failure> {
        let (mut outputs, mut cache) = self.decoder.prefill(&self.decoder.whole(&tokens(prompts)?)?)?;
        let mut written = Written { tokens: vec![Vec::new(); prompts.len()], steps: Vec::new() };
        loop {
            let next = largest_at_end(&outputs[self.logits])?;
            written.tokens.iter_mut().zip(&next).for_each(|(row, token)| row.push(*token));
            if written.tokens[0].len() == NEW {
                return Ok(written);
            }
            let started = Instant::now();
            let next: Vec<Vec<i64>> = next.into_iter().map(|token| vec![token]).collect();
            outputs = self.decoder.read(&mut cache, &tokens(&next)?)?;
            written.steps.push(started.elapsed());
        }
    }

    /// Milliseconds for one token, before which the whole row is read.
    fn uncached(&self, prompts: &[Vec<i64>]) -> Result<f64, Failure> {
        let started = Instant::now();
        let outputs = self.program.run(&self.decoder.whole(&tokens(prompts)?)?)?;
        largest_at_end(&outputs[self.logits])?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }
}

/// Prompts of ordinary tokens; no row is another's.
fn prompts(length: usize, rows: usize, vocabulary: i64) -> Vec<Vec<i64>> {
    let ordinary = (vocabulary - ORDINARY).max(1);
    let token = |row: i64, place: i64| {
        (ORDINARY + (row * 7919 + place * 104_729 + place * place) % ordinary) % vocabulary
    };
    (0..rows as i64).map(|row| (0..length as i64).map(|place| token(row, place)).collect()).collect()
}

/// `[rows, tokens]`
fn tokens(rows: &[Vec<i64>]) -> Result<Tensor, Failure> {
    let shape = [rows.len(), rows.first().map_or(0, Vec::len)];
    Tensor::int(Dtype::Int64, &shape, rows.concat()).at(Stage::Run, "tokens")
}

/// How much longer a step of the last quarter takes than one of the first, by their medians.
fn growth(steps: &[Duration]) -> f64 {
    let quarter = (steps.len() / 4).max(1);
    let middle = |steps: &[Duration]| {
        let mut times: Vec<f64> = milliseconds(steps).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    };
    middle(&steps[steps.len().saturating_sub(quarter)..]) / middle(&steps[..quarter.min(steps.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_ordinary_tokens_and_differ_row_by_row() {
        let made = prompts(32, 8, 128);
        assert!(made.iter().flatten().all(|token| (ORDINARY..128).contains(token)));
        assert!(made.iter().all(|row| row.len() == 32));
        assert_eq!(made.iter().collect::<std::collections::BTreeSet<_>>().len(), 8);
    }

    #[test]
    fn steps_that_take_longer_and_longer_grow() {
        let steps: Vec<Duration> = (1..=64).map(Duration::from_millis).collect();
        assert!(growth(&steps) > 5.0);
        assert_eq!(growth(&[Duration::from_millis(2); 63]), 1.0);
    }
}
