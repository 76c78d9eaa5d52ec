//! Decoding with a cache.
//!
//! In: tokens, as many at a time as one likes: a prompt, a chunk of it, one token. Out: the model's outputs for them. What was
//! read is a [`Cache`]: named tensors that never leave the program's device.

use super::{Device, DeviceTensor, Engine, Program, Tensor};
use crate::artifact::{self, CacheTensor, Decoding, Manifest, StepProgram};
use crate::failure::{At, Failure, Stage};
use crate::task::Dtype;
use std::path::Path;

/// A model that reads tokens after those that a cache holds.
pub struct Decoder {
    program: Box<dyn Program>,
    about: StepProgram,
    inputs: Vec<String>,
    outputs: usize,
}

/// What a decoder has read: the tensors of its cache, on its device, and which of the tokens are padding.
#[derive(Debug)]
pub struct Cache {
    names: Vec<String>,
    tensors: Vec<DeviceTensor>,
    /// `[rows, tokens]`: 0 where a token is padding.
    mask: Tensor,
}

impl Cache {
    /// How many rows are decoded.
    pub fn rows(&self) -> usize {
        self.mask.shape()[0]
    }

    /// How many tokens of every row were read, padding included.
    pub fn read(&self) -> usize {
        self.mask.shape()[1]
    }

    /// Names and shapes of its tensors, in the program's order.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, Vec<usize>)> {
        self.names.iter().map(String::as_str).zip(self.tensors.iter().map(DeviceTensor::shape))
    }
}

impl Decoder {
    /// The step program of the artifact in `folder`, on a device.
    ///
    /// # Errors
    /// Stage `export`: there is no artifact, or its class has no step program; stages `load` and `move`: its program's.
    pub fn open(folder: &Path, engine: &dyn Engine, device: Device) -> Result<Self, Failure> {
        let manifest = artifact::manifest(folder)?.ok_or_else(|| artifact::no_artifact(folder))?;
        Self::load(&artifact::step_program(folder), &manifest, engine, device)
    }

    /// The step program in a file, of the artifact with that manifest.
    ///
    /// # Errors
    /// As [`Decoder::open`].
    pub fn load(
        file: &Path,
        manifest: &Manifest,
        engine: &dyn Engine,
        device: Device,
    ) -> Result<Self, Failure> {
        let about = match &manifest.decoding {
            Some(Decoding::Program(about)) => about.clone(),
            Some(Decoding::Refused { why, .. }) => return Err(none(manifest, why)),
            None => return Err(none(manifest, "the entry leaves `decodes` out")),
        };
        let program = engine.load(file, device)?;
        Ok(Self { program, about, inputs: manifest.inputs.clone(), outputs: manifest.outputs.len() })
    }

    /// The program itself.
    pub fn program(&self) -> &dyn Program {
        self.program.as_ref()
    }

    /// What the manifest says of it.
    pub fn about(&self) -> &StepProgram {
        &self.about
    }

    /// A cache of so many rows that have read nothing.
    ///
    /// # Errors
    /// Stage `move`: the device has no room.
    pub fn empty(&self, rows: usize) -> Result<Cache, Failure> {
        let place = |tensor: &CacheTensor| {
            let zeros = Tensor::zeros(tensor.dtype, &tensor.shape(rows, 0));
            self.program.place(&zeros)
        };
        let names = self.about.cache.iter().map(|tensor| tensor.name.clone()).collect();
        let tensors = self.about.cache.iter().map(place).collect::<Result<_, Failure>>()?;
        Ok(Cache { names, tensors, mask: Tensor::zeros(Dtype::Int64, &[rows, 0]) })
    }

    /// Reads `tokens`, `[rows, count]`, after all that the cache holds, and returns the model's outputs for them in the
    /// artifact's order. A failure leaves the cache as it was.
    ///
    /// # Errors
    /// Stage `run`: tokens that are not rows as the cache's, or the program's own failure; stage `move`: its tensors'.
    pub fn read(&self, cache: &mut Cache, tokens: &Tensor) -> Result<Vec<Tensor>, Failure> {
        let ones = tokens.map_int(|_, _| 1);
        self.read_padded(cache, tokens, &ones)
    }

    /// The same where some tokens are padding: `mask`, of the tokens' shape, is 0 there. Padding comes before a row's text.
    ///
    /// # Errors
    /// As [`Decoder::read`].
    pub fn read_padded(
        &self,
        cache: &mut Cache,
        tokens: &Tensor,
        mask: &Tensor,
    ) -> Result<Vec<Tensor>, Failure> {
        if tokens.shape().len() != 2 || tokens.shape()[0] != cache.rows() || mask.shape() != tokens.shape() {
            let (given, rows) = (tokens.shape(), cache.rows());
            let shapes = format!("tokens are {given:?} and their mask {:?}, not {rows} rows", mask.shape());
            return Err(Failure::new(Stage::Run, shapes));
        }
        let whole = Tensor::joined(1, &[&cache.mask, mask]).at(Stage::Run, "the mask")?;
        let inputs = self.inputs.iter().map(|name| self.input(name, tokens, &whole));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let (outputs, grown) = self.program.step(&inputs, &cache.tensors, self.outputs)?;
        let (expected, returned) = (self.outputs + cache.tensors.len(), outputs.len() + grown.len());
        if returned != expected {
            let counts = format!("the step program returned {returned} tensors, not {expected}");
            return Err(Failure::new(Stage::Run, counts));
        }
        (cache.tensors, cache.mask) = (grown, whole);
        Ok(outputs)
    }

    /// What the program is given for an input of that name.
    fn input(&self, name: &str, tokens: &Tensor, mask: &Tensor) -> Result<Tensor, Failure> {
        match Some(name) {
            _ if name == self.about.tokens => Ok(tokens.clone()),
            mask_name if mask_name == self.about.mask.as_deref() => Ok(mask.clone()),
            positions if positions == self.about.positions.as_deref() => {
                Ok(positions_of(mask, tokens.shape()[1]))
            }
            _ => Err(Failure::new(Stage::Run, format!("a step has nothing for input {name}"))),
        }
    }
}

/// For every row, the index of the largest value at the last position of `[batch, positions, vocabulary]`: the next token of
/// greedy decoding.
///
/// # Errors
/// Stage `compare`: logits of another rank.
pub fn largest_at_end(logits: &Tensor) -> Result<Vec<i64>, Failure> {
    let &[rows, positions, vocabulary] = logits.shape() else {
        let shape = format!("logits are {:?}, not [batch, positions, vocabulary]", logits.shape());
        return Err(Failure::new(Stage::Compare, shape));
    };
    let values = logits.to_f64();
    let largest = |row: usize| {
        let start = (row * positions + positions - 1) * vocabulary;
        let scores = &values[start..start + vocabulary];
        // The first of equal values, as torch.argmax does on the CPU.
        let best = (0..vocabulary).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        best.unwrap_or(0) as i64
    };
    Ok((0..rows).map(largest).collect())
}

/// Positions of the last `count` tokens, counted from each row's first real one.
fn positions_of(mask: &Tensor, count: usize) -> Tensor {
    let before = mask.shape()[1] - count;
    let last: Vec<usize> = (before..before + count).collect();
    mask.select(1, &last).map_int(|index, _| {
        let real = (0..=before + index[1]).filter(|&at| mask.int_at(&[index[0], at]) == Some(1)).count();
        real.saturating_sub(1) as i64
    })
}

fn none(manifest: &Manifest, why: &str) -> Failure {
    Failure::new(Stage::Export, format!("{} has no step program: {why}", manifest.class))
}
