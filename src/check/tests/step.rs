//! The toy with a cache, which holds the ids and the positions that it has read.

use super::{Fault, INPUTS, Toy, VOCABULARY, greedy, inputs};
use crate::artifact::{CacheAxis, CacheTensor, Decoding, Refusal, StepProgram};
use crate::engine::{Decoder, Device, Program, Tensor};
use crate::failure::Failure;
use crate::task::Dtype;
use std::collections::BTreeMap;

/// Tokens of the prompt, and those that are written after it.
pub const PROMPT: usize = 6;
const NEW: usize = 9;

/// The step program of a toy.
pub struct Step(pub Toy);

impl Program for Step {
    fn run(&self, given: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        let [ids, mask, positions, held_ids, held_positions] = given else {
            unreachable!("the step has five inputs")
        };
        let grown = |held: &Tensor, new: &Tensor| Tensor::joined(1, &[held, new]).unwrap();
        let (ids, positions) = (grown(held_ids, ids), grown(held_positions, positions));
        let (rows, new) = (ids.shape()[0], given[0].shape()[1]);
        let logits = self.0.logits(&ids, mask, &positions);
        let logits = Tensor::float(Dtype::Float32, &[rows, ids.shape()[1], VOCABULARY], logits).unwrap();
        let last = |count: usize, whole: &Tensor| {
            let length = whole.shape()[1];
            whole.select(1, &(length - count..length).collect::<Vec<_>>())
        };
        let kept = match self.0.fault {
            Fault::StaleCache => ids.map_int(|index, id| if index[1] + 1 == ids.shape()[1] { 3 } else { id }),
            Fault::ShortCache => last(ids.shape()[1] - 1, &ids),
            _ => ids.clone(),
        };
        Ok(vec![last(new, &logits).cast(Dtype::Float32), kept, positions])
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
    let tensor = |name: &str| CacheTensor {
        name: name.to_owned(),
        dtype: Dtype::Int64,
        shape: vec![CacheAxis::Batch, CacheAxis::Past],
    };
    let [tokens, mask, positions] = INPUTS.map(str::to_owned);
    Decoding::Program(StepProgram {
        tokens,
        mask: Some(mask),
        positions: Some(positions),
        prompt: PROMPT,
        cache: vec![tensor("cache/0/id"), tensor("cache/0/position")],
    })
}

#[test]
fn a_step_that_fails_leaves_the_cache_as_it_was() {
    let artifact = super::artifact();
    let engine = super::ToyEngine(Fault::Nothing);
    let decoder = Decoder::load(&artifact.step_program(), &artifact.manifest, &engine, Device::Cpu).unwrap();
    let mut cache = decoder.empty(2).unwrap();
    let tokens = Tensor::int(Dtype::Int64, &[2, 3], vec![1, 2, 3, 4, 5, 6]).unwrap();
    decoder.read(&mut cache, &tokens).unwrap();
    let one_row = tokens.select(0, &[0]);
    let failure = decoder.read(&mut cache, &one_row).unwrap_err();
    assert_eq!(failure.message, "tokens are [1, 3] and their mask [1, 3], not 2 rows");
    assert_eq!((cache.rows(), cache.read()), (2, 3));
    let shapes: Vec<_> = cache.shapes().collect();
    assert_eq!(shapes, [("cache/0/id", vec![2, 3]), ("cache/0/position", vec![2, 3])]);
}

#[test]
fn a_class_without_a_step_program_says_why() {
    let mut manifest = super::artifact().manifest;
    let why = "ToyForCausalLM.forward takes no cache".to_owned();
    manifest.decoding = Some(Decoding::Refused { refused: Refusal::Stateless, why });
    let engine = super::ToyEngine(Fault::Nothing);
    let Err(failure) = Decoder::load("program.decode.pt".as_ref(), &manifest, &engine, Device::Cpu) else {
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
