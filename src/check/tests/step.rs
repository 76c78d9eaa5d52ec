//! The toy with a cache, which holds the ids and the positions that it has read.

use super::artifact::{INPUTS, artifact, greedy, inputs};
use super::outcome_of;
use super::toy::{Toy, ToyEngine, ToyFault, VOCABULARY};
use crate::artifact::{CacheAxis, CacheTensor, Decoding, Manifest, Refusal, StepProgram};
use crate::device::Device;
use crate::engine::{Decoder, Engine, Program};
use crate::failure::Failure;
use crate::numerics::Tensor;
use crate::spec::Check;
use crate::task::Dtype;
use std::collections::BTreeMap;

/// Tokens of the prompt, and those that are written after it.
pub const PROMPT: usize = 6;
const NEW: usize = 9;

/// Places that the encoder of a toy with a prefill saw.
const ENCODED: usize = 4;

/// The step program of a toy; without a cache, its prefill.
pub struct Step(pub Toy);

impl Program for Step {
    fn run(&self, given: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        let [ids, mask, positions, held @ ..] = given else { unreachable!("the toy has three inputs") };
        let (rows, new) = (ids.shape()[0], ids.shape()[1]);
        let none = Tensor::zeros(Dtype::Int64, &[rows, 0]);
        let grown =
            |place: usize, new: &Tensor| Tensor::joined(1, &[held.get(place).unwrap_or(&none), new]).unwrap();
        let (ids, positions) = (grown(0, ids), grown(1, positions));
        let mut logits = self.0.logits(&ids, mask, &positions);
        if self.0.fault == ToyFault::SlightStep {
            logits.iter_mut().for_each(|value| *value *= 1.0 + 1e-9);
        }
        let logits = Tensor::float(self.0.dtype, &[rows, ids.shape()[1], VOCABULARY], logits).unwrap();
        let last = |count: usize, whole: &Tensor| {
            let length = whole.shape()[1];
            whole.select(1, &(length - count..length).collect::<Vec<_>>())
        };
        let kept = match self.0.fault {
            ToyFault::StaleCache => {
                ids.map_int(|index, id| if index[1] + 1 == ids.shape()[1] { 3 } else { id })
            }
            ToyFault::ShortCache => last(ids.shape()[1] - 1, &ids),
            _ => ids.clone(),
        };
        let mut returned = vec![last(new, &logits).cast(self.0.dtype), kept, positions];
        if held.is_empty() && self.0.fault != ToyFault::ShortCache {
            returned.push(Tensor::zeros(Dtype::Int64, &[rows, ENCODED]));
        }
        Ok(returned)
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>, Failure> {
        self.0.parameters()
    }

    fn digests(&self, names: &[String]) -> Result<BTreeMap<String, String>, Failure> {
        self.0.digests(names)
    }

    fn save(&self, path: &std::path::Path) -> Result<(), Failure> {
        self.0.save(path)
    }

    fn parameter(&self, name: &str) -> Result<Tensor, Failure> {
        self.0.parameter(name)
    }

    fn perturb(&self, parameter: &str, element: usize, delta: f64) -> Result<(), Failure> {
        self.0.perturb(parameter, element, delta)
    }
}

/// What the manifest says of the step program.
pub fn decoding() -> Decoding {
    let [tokens, mask, positions] = INPUTS.map(str::to_owned);
    let tensor = |name: &str| tensor(name, CacheAxis::Past);
    Decoding::Program(StepProgram {
        tokens,
        mask: Some(mask),
        positions: Some(positions),
        prompt: PROMPT,
        prefill: None,
        held: Vec::new(),
        cache: vec![tensor("cache/0/id"), tensor("cache/0/position")],
    })
}

/// The same of a toy that has a prefill.
fn with_prefill() -> Decoding {
    let Decoding::Program(program) = decoding() else { unreachable!("the toy decodes with a cache") };
    let encoded = CacheAxis::Given("encoded".to_owned());
    Decoding::Program(StepProgram { prefill: Some(2), held: vec![tensor("cross/0/key", encoded)], ..program })
}

/// The programs of a healthy toy.
fn opened(manifest: &Manifest) -> Result<Decoder, Failure> {
    let engine = ToyEngine(ToyFault::Nothing);
    Decoder::load("".as_ref(), manifest, engine.format(), |path| engine.load(path, Device::Cpu))
}

fn tensor(name: &str, axis: CacheAxis) -> CacheTensor {
    CacheTensor { name: name.to_owned(), dtype: Dtype::Int64, shape: vec![CacheAxis::Batch, axis] }
}

#[test]
fn what_is_given_once_is_read_by_a_prefill_and_held_by_every_step() {
    let mut artifact = artifact();
    artifact.manifest.decoding = Some(with_prefill());
    assert_eq!(outcome_of(&artifact, ToyFault::Nothing, Check::Decodes), Ok(()));
    let failure = outcome_of(&artifact, ToyFault::ShortCache, Check::Decodes).unwrap_err();
    assert_eq!(failure.message, "the prefill program returned 3 tensors, not 4");

    let decoder = opened(&artifact.manifest).unwrap();
    let refused = decoder.empty(2).unwrap_err();
    assert_eq!(refused.message, "the model takes more than tokens: begin with Decoder::prefill");
    let (outputs, mut cache) = decoder.prefill(&inputs(2, 3)).unwrap();
    assert_eq!(outputs[0].shape(), [2, 3, VOCABULARY]);
    let tokens = Tensor::int(Dtype::Int64, &[2, 1], vec![1, 2]).unwrap();
    decoder.read(&mut cache, &tokens).unwrap();
    assert_eq!(cache.shapes().collect::<Vec<_>>(), [[2, 4], [2, 4], [2, ENCODED]]);
    let missing = decoder.prefill(&inputs(2, 3)[..1]).unwrap_err();
    assert_eq!(missing.message, "the prefill is given no attention_mask");
}

#[test]
fn a_step_that_fails_leaves_the_cache_as_it_was() {
    let artifact = artifact();
    let decoder = opened(&artifact.manifest).unwrap();
    let mut cache = decoder.empty(2).unwrap();
    let tokens = Tensor::int(Dtype::Int64, &[2, 3], vec![1, 2, 3, 4, 5, 6]).unwrap();
    decoder.read(&mut cache, &tokens).unwrap();
    let one_row = tokens.select(0, &[0]);
    let failure = decoder.read(&mut cache, &one_row).unwrap_err();
    assert_eq!(failure.message, "tokens are [1, 3] and their mask [1, 3], not 2 rows");
    assert_eq!((cache.rows(), cache.read()), (2, 3));
    let shapes: Vec<_> = cache.shapes().collect();
    assert_eq!(shapes, [[2, 3], [2, 3]]);
}

#[test]
fn a_class_without_a_step_program_says_why() {
    let mut manifest = artifact().manifest;
    let why = "ToyForCausalLM.forward takes no cache".to_owned();
    manifest.decoding = Some(Decoding::Refused { refused: Refusal::Stateless, why });
    let Err(failure) = opened(&manifest) else {
        panic!("there is a decoder");
    };
    assert_eq!(failure.message, "ToyForCausalLM has no step program: ToyForCausalLM.forward takes no cache");
}

/// What a healthy toy writes after the prompt, and the inputs of the row of all of it but the last token.
pub fn row(toy: &Toy) -> (Tensor, Vec<Tensor>) {
    let written = Tensor::int(Dtype::Int64, &[2, NEW], greedy(toy, NEW)).unwrap();
    let mut row: Vec<Tensor> =
        inputs(2, PROMPT).iter().map(|input| input.padded(1, 0, NEW - 1, 1.0)).collect();
    row[0] = row[0].map_int(|index, id| match index[1].checked_sub(PROMPT) {
        Some(new) => written.int_at(&[index[0], new]).unwrap(),
        None => id,
    });
    let last = [0, 1].map(|row| inputs(2, PROMPT)[2].int_at(&[row, PROMPT - 1]).unwrap());
    row[2] = row[2].map_int(|index, position| match index[1].checked_sub(PROMPT) {
        Some(new) => last[index[0]] + 1 + new as i64,
        None => position,
    });
    (written, row)
}
