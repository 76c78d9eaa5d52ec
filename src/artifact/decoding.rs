//! What the manifest says of decoding with a cache.

use crate::task::Dtype;
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Deserialize as Derive, Serialize, Serializer};

/// The file of the step program.
pub(super) const FILE: &str = "program.decode.pt";

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

/// A program that reads tokens after those that a cache holds: a cache of none makes it the prefill. It takes the inputs of
/// the model's program, in their order, for these tokens alone (the mask: for all tokens so far), then the tensors of the
/// cache; it returns the model's outputs for these tokens, then the tensors of the cache that holds them too.
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
    /// The tensors of the cache, in the program's order.
    pub cache: Vec<CacheTensor>,
}

/// A tensor of a cache.
#[derive(Clone, Debug, PartialEq, Serialize, Derive)]
pub struct CacheTensor {
    /// `cache/0/key`
    pub name: String,
    #[serde(deserialize_with = "named")]
    pub dtype: Dtype,
    pub shape: Vec<CacheAxis>,
}

/// An axis of a tensor of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheAxis {
    /// As many as there are rows.
    Batch,
    /// As many as tokens were read.
    Past,
    /// As many as tokens were read, but no more than so many.
    Window(usize),
    /// Always as many.
    Size(usize),
}

impl CacheTensor {
    /// Its shape when that many tokens of that many rows were read.
    pub fn shape(&self, rows: usize, read: usize) -> Vec<usize> {
        let size = |axis: &CacheAxis| match *axis {
            CacheAxis::Batch => rows,
            CacheAxis::Past => read,
            CacheAxis::Window(most) => read.min(most),
            CacheAxis::Size(size) => size,
        };
        self.shape.iter().map(size).collect()
    }
}

/// How an axis is written: `"batch"`, `"past"`, `{"window": 7}` or `8`.
#[derive(Serialize, Derive)]
#[serde(untagged)]
enum Written {
    Size(usize),
    Name(String),
    Window { window: usize },
}

impl Serialize for CacheAxis {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let written = match *self {
            Self::Batch => Written::Name("batch".to_owned()),
            Self::Past => Written::Name("past".to_owned()),
            Self::Window(window) => Written::Window { window },
            Self::Size(size) => Written::Size(size),
        };
        written.serialize(to)
    }
}

impl<'de> Deserialize<'de> for CacheAxis {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Written::deserialize(from)? {
            Written::Size(size) => Ok(Self::Size(size)),
            Written::Window { window } => Ok(Self::Window(window)),
            Written::Name(name) if name == "batch" => Ok(Self::Batch),
            Written::Name(name) if name == "past" => Ok(Self::Past),
            Written::Name(name) => Err(D::Error::custom(format!("a cache has no axis '{name}'"))),
        }
    }
}

fn named<'de, D: Deserializer<'de>>(from: D) -> Result<Dtype, D::Error> {
    let name = String::deserialize(from)?;
    let found = Dtype::ALL.into_iter().find(|dtype| dtype.name() == name);
    found.ok_or_else(|| D::Error::custom(format!("unknown element type '{name}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = r#"{"tokens":"input_ids","mask":"attention_mask","positions":null,"prompt":12,"cache":[
        {"name":"cache/0/key","dtype":"float32","shape":["batch",2,{"window":7},8]},
        {"name":"cache/1/key","dtype":"float32","shape":["batch",2,"past",8]}]}"#;

    #[test]
    fn a_step_program_is_read_as_it_is_written() {
        let Decoding::Program(program) = serde_json::from_str(WRITTEN).unwrap() else { panic!("no program") };
        let again = serde_json::to_value(&program).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(WRITTEN).unwrap());
        let refused = r#"{"refused":"layer","why":"states"}"#;
        let refused: Decoding = serde_json::from_str(refused).unwrap();
        assert_eq!(refused, Decoding::Refused { refused: Refusal::Layer, why: "states".to_owned() });
        assert!(serde_json::from_str::<CacheAxis>(r#""rows""#).is_err());
    }

    #[test]
    fn a_window_bounds_what_a_cache_holds() {
        let Decoding::Program(program) = serde_json::from_str(WRITTEN).unwrap() else { panic!("no program") };
        let shapes = |read| program.cache.iter().map(|tensor| tensor.shape(3, read)).collect::<Vec<_>>();
        assert_eq!(shapes(0), [[3, 2, 0, 8], [3, 2, 0, 8]]);
        assert_eq!(shapes(5), [[3, 2, 5, 8], [3, 2, 5, 8]]);
        assert_eq!(shapes(50), [[3, 2, 7, 8], [3, 2, 50, 8]]);
    }
}
