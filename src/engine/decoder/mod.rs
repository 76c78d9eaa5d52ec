//! Decoding with a cache.
//!
//! In: tokens, as many at a time as one likes: a prompt, a chunk of it, one token; and before the first of them, once, what else
//! the model takes. Out: the model's outputs for them. What was read is a [`Cache`]: named tensors that never leave the
//! program's device.

use super::{DeviceTensor, Engine, Program};
use crate::artifact::{self, CacheTensor, Format, Manifest, StepProgram};
use crate::device::Device;
use crate::failure::{At, Failure, Stage};
use crate::numerics::Tensor;
use crate::task::Dtype;
use std::path::Path;

/// A model that reads tokens after those that a cache holds.
pub struct Decoder {
    step: Box<dyn Program>,
    /// Where the step program is not the prefill too.
    prefill: Option<Box<dyn Program>>,
    about: StepProgram,
    inputs: Vec<String>,
    outputs: usize,
}

/// What a decoder has read: the tensors of its cache and what else it holds, on its device, and which of the tokens are
/// padding.
#[derive(Debug)]
pub struct Cache {
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

    /// Shapes of its tensors, in the order of [`StepProgram::tensors`].
    pub fn shapes(&self) -> impl Iterator<Item = Vec<usize>> {
        self.tensors.iter().map(DeviceTensor::shape)
    }
}

impl Decoder {
    /// The programs of the artifact in `folder`, on a device.
    ///
    /// # Errors
    /// Stage `export`: there is no artifact, its class has no step program, or none was made that the engine reads; stages
    /// `load` and `move`: its programs'.
    pub fn open(folder: &Path, engine: &dyn Engine, device: Device) -> Result<Self, Failure> {
        let manifest = artifact::manifest(folder)?.ok_or_else(|| artifact::no_artifact(folder))?;
        Self::load(folder, &manifest, engine.format(), |path| engine.load(path, device))
    }

    /// The same of an artifact whose manifest was read, with programs of a format that `load` brings to their device.
    ///
    /// # Errors
    /// As [`Decoder::open`].
    pub fn load(
        folder: &Path,
        manifest: &Manifest,
        format: Format,
        load: impl Fn(&Path) -> Result<Box<dyn Program>, Failure>,
    ) -> Result<Self, Failure> {
        let (about, step, prefill) = artifact::decoding_programs(folder, manifest, format)?;
        let (step, prefill) = (load(&step)?, prefill.map(|path| load(&path)).transpose()?);
        Ok(Self { step, prefill, about, inputs: manifest.inputs.clone(), outputs: manifest.outputs.len() })
    }

    /// Its programs.
    pub fn programs(&self) -> impl Iterator<Item = &dyn Program> {
        [&self.step].into_iter().chain(&self.prefill).map(AsRef::as_ref)
    }

    /// What the manifest says of them.
    pub fn about(&self) -> &StepProgram {
        &self.about
    }

    /// A cache of so many rows that have read nothing.
    ///
    /// # Errors
    /// Stage `move`: the device has no room; stage `run`: the model takes more than tokens, and begins with a prefill.
    pub fn empty(&self, rows: usize) -> Result<Cache, Failure> {
        if self.prefill.is_some() {
            return Err(Failure::new(
                Stage::Run,
                "the model takes more than tokens: begin with Decoder::prefill",
            ));
        }
        let place = |tensor: &CacheTensor| {
            let zeros = Tensor::zeros(tensor.dtype, &tensor.shape(rows, 0, |_| 0));
            self.step.place(&zeros)
        };
        let tensors = self.about.tensors().map(place).collect::<Result<_, Failure>>()?;
        Ok(Cache { tensors, mask: Tensor::zeros(Dtype::Int64, &[rows, 0]) })
    }

    /// Reads the first tokens of rows beside what else the model takes, and returns its outputs for them, and their cache.
    /// `inputs` are those of the model's program, in the artifact's order.
    ///
    /// # Errors
    /// As [`Decoder::read`].
    pub fn prefill(&self, inputs: &[Tensor]) -> Result<(Vec<Tensor>, Cache), Failure> {
        let named = |wanted: &str| {
            let found = self.inputs.iter().zip(inputs).find(|(name, _)| *name == wanted);
            let missing = || Failure::new(Stage::Run, format!("the prefill is given no {wanted}"));
            found.map(|(_, tensor)| tensor.clone()).ok_or_else(missing)
        };
        let tokens = named(&self.about.tokens)?;
        let mask = self.about.mask.as_deref().map_or_else(|| Ok(ones(&tokens)), named)?;
        let Some(program) = &self.prefill else {
            let mut cache = self.empty(tokens.shape()[0])?;
            let outputs = self.read_padded(&mut cache, &tokens, &mask)?;
            return Ok((outputs, cache));
        };
        let (outputs, tensors) = program.step(inputs, &[], self.outputs)?;
        self.complete("prefill", &outputs, &tensors, self.about.tensors().count())?;
        Ok((outputs, Cache { tensors, mask }))
    }

    /// Reads `tokens`, `[rows, count]`, after all that the cache holds, and returns the model's outputs for them in the
    /// artifact's order. A failure leaves the cache as it was.
    ///
    /// # Errors
    /// Stage `run`: tokens that are not rows as the cache's, or the program's own failure; stage `move`: its tensors'.
    pub fn read(&self, cache: &mut Cache, tokens: &Tensor) -> Result<Vec<Tensor>, Failure> {
        self.read_padded(cache, tokens, &ones(tokens))
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
        let inputs: Vec<_> = self.inputs.iter().filter_map(|name| self.input(name, tokens, &whole)).collect();
        let (outputs, grown) = self.step.step(&inputs, &cache.tensors, self.outputs)?;
        self.complete("step", &outputs, &grown, self.about.cache.len())?;
        cache.tensors.splice(..grown.len(), grown);
        cache.mask = whole;
        Ok(outputs)
    }

    /// What the model's program, which has no cache, takes for a whole row of text, in its order.
    ///
    /// # Errors
    /// Stage `run`: it takes more than text.
    pub fn whole(&self, tokens: &Tensor) -> Result<Vec<Tensor>, Failure> {
        let mask = ones(tokens);
        let given = |name: &String| {
            let more = || Failure::new(Stage::Run, format!("the model takes {name} beside text"));
            self.input(name, tokens, &mask).ok_or_else(more)
        };
        self.inputs.iter().map(given).collect()
    }

    /// What the step program is given for an input of the model's program; nothing for what is given once.
    fn input(&self, name: &str, tokens: &Tensor, mask: &Tensor) -> Option<Tensor> {
        match Some(name) {
            _ if name == self.about.tokens => Some(tokens.clone()),
            mask_name if mask_name == self.about.mask.as_deref() => Some(mask.clone()),
            positions if positions == self.about.positions.as_deref() => {
                Some(positions_of(mask, tokens.shape()[1]))
            }
            _ => None,
        }
    }

    /// Whether a program returned all outputs, and so many other tensors.
    fn complete(
        &self,
        program: &str,
        outputs: &[Tensor],
        kept: &[DeviceTensor],
        count: usize,
    ) -> Result<(), Failure> {
        let (expected, returned) = (self.outputs + count, outputs.len() + kept.len());
        match returned == expected {
            true => Ok(()),
            false => {
                let counts = format!("the {program} program returned {returned} tensors, not {expected}");
                Err(Failure::new(Stage::Run, counts))
            }
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
    let values = logits.select(1, &[positions - 1]).to_f64();
    let largest = |row: usize| {
        let scores = &values[row * vocabulary..(row + 1) * vocabulary];
        // The first of equal values, as torch.argmax does on the CPU.
        let best = (0..vocabulary).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        best.unwrap_or(0) as i64
    };
    Ok((0..rows).map(largest).collect())
}

/// A mask that hides none of the tokens.
fn ones(tokens: &Tensor) -> Tensor {
    tokens.map_int(|_, _| 1)
}

/// Positions of the last `count` tokens, counted from each row's first real one.
fn positions_of(mask: &Tensor, count: usize) -> Tensor {
    let (rows, read) = (mask.shape()[0], mask.shape()[1]);
    let counted = |row: usize| {
        let is_real = move |at| i64::from(mask.int_at(&[row, at]) == Some(1));
        Vec::from_iter((0..read).map(is_real).scan(-1, |position, real| {
            *position += real;
            Some((*position).max(0))
        }))
    };
    let positions: Vec<Vec<i64>> = (0..rows).map(counted).collect();
    let last: Vec<usize> = (read - count..read).collect();
    mask.select(1, &last).map_int(|index, _| positions[index[0]][read - count + index[1]])
}
