//! What the manifest says of decoding with a cache.

use crate::task::Dtype;
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Deserialize as Derive, Serialize, Serializer};

/// The step program of a model, or why its class has none.
#[derive(Clone, Debug, PartialEq, Serialize, Derive)]
#[serde(untagged)]
pub enum Decoding {
    Refused { refused: Refusal, why: String },
    Program(StepProgram),
}

/// Why a class has no step program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Derive)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// What Python computes with its cache is not what it computes without.
    Unfaithful,
    /// It takes inputs that a step has nothing for.
    Inputs,
    /// Its `forward` takes no cache.
    Stateless,
    /// It keeps a cache of its own kind.
    Class,
    /// A layer of its cache is not read as tensors yet.
    Layer,
}

/// A program that reads tokens after those that a cache holds. Of the inputs of the model's program it takes tokens, their
/// mask and positions, in their order, for these tokens alone (the mask: for all tokens so far), then the tensors of the
/// cache, then what else is held; it returns the model's outputs for these tokens, then the tensors of the cache that holds
/// them too.
///
/// Where the model takes nothing else, a cache of no token makes it the prefill. Where it does, there is another program for
/// that: it takes all inputs of the model's program, for the first tokens, and returns their outputs, the tensors of the
/// cache, and what else is held.
#[derive(Clone, Debug, PartialEq, Serialize, Derive)]
pub struct StepProgram {
    /// The input of tokens, `[rows, tokens]`.
    pub tokens: String,
    /// The input that hides padding, `[rows, all tokens so far]`, where there is one.
    pub mask: Option<String>,
    /// The input of positions, counted from each row's first real token, `[rows, tokens]`, where there is one.
    pub positions: Option<String>,
    /// Tokens of the prompt of the stored row.
    pub prompt: usize,
    /// How many tokens the prefill must read at least; absent where the step program is the prefill too.
    pub prefill: Option<usize>,
    /// The tensors of the cache, in the program's order.
    pub cache: Vec<CacheTensor>,
    /// What else every step takes and none changes: what the prefill made of the inputs that are given once.
    pub held: Vec<CacheTensor>,
}

impl StepProgram {
    /// All tensors that a step takes beside its inputs.
    pub fn tensors(&self) -> impl Iterator<Item = &CacheTensor> {
        self.cache.iter().chain(&self.held)
    }
}

/// A tensor of a cache; before any token was read it is zeros.
#[derive(Clone, Debug, PartialEq, Serialize, Derive)]
pub struct CacheTensor {
    /// `cache/0/key`
    pub name: String,
    #[serde(deserialize_with = "named")]
    pub dtype: Dtype,
    pub shape: Vec<CacheAxis>,
}

/// An axis of a tensor of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheAxis {
    /// As many as there are rows.
    Batch,
    /// As many as tokens were read.
    Past,
    /// As many as tokens were read, but no more than so many.
    Window(usize),
    /// As many as there are whole blocks of so many tokens among those read.
    Blocks(usize),
    /// As many as tokens were read beyond whole blocks of so many.
    Rest(usize),
    /// Always as many.
    Size(usize),
    /// As many as the inputs that are given once decide: all axes of that name are as long.
    Given(String),
}

impl CacheTensor {
    /// Its shape when that many tokens of that many rows were read; `given` says how long an axis of that name is.
    pub fn shape(&self, rows: usize, read: usize, given: impl Fn(&str) -> usize) -> Vec<usize> {
        let size = |axis: &CacheAxis| match axis {
            CacheAxis::Batch => rows,
            CacheAxis::Past => read,
            CacheAxis::Window(most) => read.min(*most),
            CacheAxis::Blocks(of) => read.checked_div(*of).unwrap_or(0),
            CacheAxis::Rest(of) => read.checked_rem(*of).unwrap_or(0),
            CacheAxis::Size(size) => *size,
            CacheAxis::Given(name) => given(name),
        };
        self.shape.iter().map(size).collect()
    }
}

/// How an axis is written: `"batch"`, `"past"`, `{"window": 7}`, `{"blocks": 4}`, `{"rest": 4}`, `8`, or another name.
#[derive(Serialize, Derive)]
#[serde(untagged)]
enum Written {
    Size(usize),
    Name(String),
    Counted(Counted),
}

/// An axis that the number of tokens read decides.
#[derive(Serialize, Derive)]
#[serde(rename_all = "lowercase")]
enum Counted {
    Window(usize),
    Blocks(usize),
    Rest(usize),
}

impl Serialize for CacheAxis {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Self::Batch => Written::Name("batch".to_owned()),
            Self::Past => Written::Name("past".to_owned()),
            Self::Window(most) => Written::Counted(Counted::Window(*most)),
            Self::Blocks(of) => Written::Counted(Counted::Blocks(*of)),
            Self::Rest(of) => Written::Counted(Counted::Rest(*of)),
            Self::Size(size) => Written::Size(*size),
            Self::Given(name) => Written::Name(name.clone()),
        };
        written.serialize(to)
    }
}

impl<'de> Deserialize<'de> for CacheAxis {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::Size(size) => Self::Size(size),
            Written::Counted(Counted::Window(most)) => Self::Window(most),
            Written::Counted(Counted::Blocks(of)) => Self::Blocks(of),
            Written::Counted(Counted::Rest(of)) => Self::Rest(of),
            Written::Name(name) if name == "batch" => Self::Batch,
            Written::Name(name) if name == "past" => Self::Past,
            Written::Name(name) => Self::Given(name),
        })
    }
}

fn named<'de, D: Deserializer<'de>>(from: D) -> Result<Dtype, D::Error> {
    let name = String::deserialize(from)?;
    Dtype::named(&name).ok_or_else(|| D::Error::custom(format!("unknown element type '{name}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = r#"{"tokens":"input_ids","mask":"attention_mask","positions":null,"prompt":12,
        "prefill":1,"cache":[{"name":"cache/0/key","dtype":"float32","shape":["batch",2,{"window":7},8]},
        {"name":"cache/1/key","dtype":"float32","shape":["batch",2,"past",8]},
        {"name":"cache/1/block","dtype":"float32","shape":["batch",{"blocks":4},{"rest":4},8]}],
        "held":[{"name":"cross/0/key","dtype":"float32","shape":["batch",2,"encoded",8]}]}"#;

    #[test]
    fn a_step_program_is_read_as_it_is_written() {
        let Decoding::Program(program) = serde_json::from_str(WRITTEN).unwrap() else { panic!("no program") };
        let again = serde_json::to_value(&program).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(WRITTEN).unwrap());
        let refused = r#"{"refused":"layer","why":"states"}"#;
        let refused: Decoding = serde_json::from_str(refused).unwrap();
        assert_eq!(refused, Decoding::Refused { refused: Refusal::Layer, why: "states".to_owned() });
    }

    #[test]
    fn the_tokens_read_decide_how_much_a_cache_holds() {
        let Decoding::Program(program) = serde_json::from_str(WRITTEN).unwrap() else { panic!("no program") };
        let shapes = |read| program.tensors().map(|tensor| tensor.shape(3, read, |_| 9)).collect::<Vec<_>>();
        assert_eq!(shapes(0), [[3, 2, 0, 8], [3, 2, 0, 8], [3, 0, 0, 8], [3, 2, 9, 8]]);
        assert_eq!(shapes(5), [[3, 2, 5, 8], [3, 2, 5, 8], [3, 1, 1, 8], [3, 2, 9, 8]]);
        assert_eq!(shapes(50), [[3, 2, 7, 8], [3, 2, 50, 8], [3, 12, 2, 8], [3, 2, 9, 8]]);
    }
}
