//! The engine after TorchScript: `torch.export`'s programs, read and run here.
//!
//! In: `program.pt2`. Out: a program on a device. The file is data, and nothing in it is run: [`archive`] reads it,
//! [`from_schema`] makes a [`graph`] of what [`schema`] says, [`interpreter`] calls ATen's operators by name through [`shim`] and computes
//! sizes by [`sizes`]. Device arguments are replaced when a program is loaded, so one file runs on every device.
//!
//! The ranges of sizes that a file lists are not asserted: `torch.export` begins every one at 2, and what a program computes
//! of a single row is for checks to prove.

mod archive;
mod explain;
mod from_schema;
mod graph;
mod interpreter;
mod schema;
mod shim;
mod sizes;
#[cfg(test)]
mod tests;

use super::libtorch::{Computing, all_to_device, bytes, once, shape, times, to_host, to_tch};
use super::{Engine, Explained, Program};
use crate::artifact::Format;
use crate::device::Device;
use crate::failure::{At, Failure, Stage};
use crate::numerics::Tensor;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use archive::write as pack;
use archive::{Archive, Stored};
use graph::{Graph, Input};
use interpreter::Interpreter;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek};
use std::path::Path;
use std::time::Duration;
use tch::Kind;

/// This project's interpreter of exported graphs.
pub struct Pt2;

impl Engine for Pt2 {
    fn format(&self) -> Format {
        Format::Pt2
    }

    fn load(&self, path: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        boxed(Self::open(path, device, Elements::AsWritten, |_| Ok(())))
    }

    fn load_in_float64(&self, path: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        boxed(Self::open(path, device, Elements::Float64, |_| Ok(())))
    }

    fn explain(&self, path: &Path, device: Device, inputs: &[Tensor]) -> Result<Explained, Failure> {
        explain::explain(path, device, inputs)
    }

    fn load_spoilt(&self, path: &Path, device: Device, share: f64) -> Result<Box<dyn Program>, Failure> {
        boxed(Self::open(path, device, Elements::Float64, |graph| match graph.factor() {
            Some(factor) => {
                *factor *= 1.0 + share;
                Ok(())
            }
            None => Err(Failure::not_applicable("the graph multiplies by no constant")),
        }))
    }
}

impl Pt2 {
    /// Loads a program from wherever its file is; `shown` stands for it in messages.
    ///
    /// # Errors
    /// Stage `load`: it is no such file, or holds what this build does not run.
    pub fn read(file: impl Read + Seek, device: Device, shown: &str) -> Result<Box<dyn Program>, Failure> {
        let archive = Archive::read(file).at(Stage::Load, shown)?;
        Ok(Box::new(Loaded::new(archive, device, Elements::AsWritten, |_| Ok(()), shown)?))
    }

    fn open(
        path: &Path,
        device: Device,
        elements: Elements,
        edit: impl FnOnce(&mut Graph) -> Result<(), Failure>,
    ) -> Result<Loaded, Failure> {
        let (file, shown) = (File::open(path).at(Stage::Load, path.display())?, path.display().to_string());
        let archive = Archive::read(BufReader::new(file)).at(Stage::Load, &shown)?;
        Loaded::new(archive, device, elements, edit, &shown)
    }
}

/// In which element types a program computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Elements {
    AsWritten,
    /// In float64 wherever it says float32: weights, and what operators are told to make.
    Float64,
}

fn boxed(loaded: Result<Loaded, Failure>) -> Result<Box<dyn Program>, Failure> {
    Ok(Box::new(loaded?))
}

/// A program on a device.
struct Loaded {
    interpreter: Interpreter,
    /// For each input of the graph that is not given at a run, the tensor that stands for it.
    weights: Vec<Option<Weight>>,
    /// The files of the archive: those that are weights as tensors on the device, which the weights are views of.
    files: BTreeMap<String, Content>,
    device: tch::Device,
    elements: Elements,
}

/// A weight, and the file that its numbers are in.
struct Weight {
    tensor: tch::Tensor,
    stored: Stored,
}

enum Content {
    Bytes(Vec<u8>),
    Numbers(tch::Tensor),
}

// SAFETY: tensors are only read, and libtorch counts references atomically; `perturb`, which writes, is for the planting of
// faults, before anything else uses the program.
unsafe impl Sync for Loaded {}

impl Loaded {
    /// `edit` has the graph before it is readied to be run.
    fn new(
        archive: Archive,
        device: Device,
        elements: Elements,
        edit: impl FnOnce(&mut Graph) -> Result<(), Failure>,
        shown: &str,
    ) -> Result<Self, Failure> {
        let Archive { program, tensors, files } = archive;
        let mut graph = Graph::try_from(program).at(Stage::Load, shown)?;
        if elements == Elements::Float64 {
            graph.widen();
        }
        edit(&mut graph)?;
        let interpreter = Interpreter::new(graph, device).at(Stage::Load, shown)?;
        let mut files: BTreeMap<String, Content> =
            files.into_iter().map(|(name, bytes)| (name, Content::Bytes(bytes))).collect();
        let place = to_tch(device);
        let mut weights = Vec::new();
        for input in &interpreter.graph().inputs {
            weights.push(match input {
                Input::Given(_) => None,
                Input::Parameter(name) | Input::Buffer(name) | Input::Constant(name) => {
                    let none = || Failure::new(Stage::Load, format!("{shown} has no weight '{name}'"));
                    let stored = tensors.get(name).ok_or_else(none)?.clone();
                    let tensor = weight(&stored, &mut files, place)
                        .and_then(
                            |tensor| if elements == Elements::Float64 { widened(tensor) } else { Ok(tensor) },
                        )
                        .map_err(|why| Failure::new(Stage::Load, format!("{shown}: weight {name}: {why}")))?;
                    Some(Weight { tensor, stored })
                }
            });
        }
        Ok(Self { interpreter, weights, files, device: place, elements })
    }

    /// The graph's inputs in their order: what is given at a run, and weights.
    fn all<'a>(&'a self, inputs: &'a [tch::Tensor]) -> Result<Vec<&'a tch::Tensor>, Failure> {
        let expected = self.weights.iter().filter(|weight| weight.is_none()).count();
        if inputs.len() != expected {
            let counts = format!("the program takes {expected} inputs, not {}", inputs.len());
            return Err(Failure::new(Stage::Run, counts));
        }
        let mut given = inputs.iter();
        let all = self
            .weights
            .iter()
            .filter_map(|weight| weight.as_ref().map_or_else(|| given.next(), |weight| Some(&weight.tensor)));
        Ok(all.collect())
    }

    fn forward(&self, inputs: &[tch::Tensor]) -> Result<Vec<tch::Tensor>, Failure> {
        self.interpreter.run(&self.all(inputs)?).at(Stage::Run, "the program failed")
    }

    /// Parameters and buffers by their names in the model, each tensor once, under its first name.
    fn named(&self) -> Vec<(&Input, &str, &tch::Tensor)> {
        let mut seen: Vec<&Stored> = Vec::new();
        let mut named = Vec::new();
        for (input, weight) in self.interpreter.graph().inputs.iter().zip(&self.weights) {
            let (Input::Parameter(name) | Input::Buffer(name), Some(weight)) = (input, weight) else {
                continue;
            };
            if !seen.contains(&&weight.stored) {
                seen.push(&weight.stored);
                named.push((input, name.as_str(), &weight.tensor));
            }
        }
        named
    }

    /// A parameter, flat, sharing its memory.
    fn flat(&self, name: &str) -> Result<tch::Tensor, tch::TchError> {
        let found = self.named().into_iter().find(|(_, found, _)| *found == name);
        let (_, _, tensor) = found.ok_or_else(|| tch::TchError::Kind(format!("no parameter '{name}'")))?;
        tensor.f_view([-1])
    }
}

/// A weight on a device; the numbers of its file are brought there once.
fn weight(
    stored: &Stored,
    files: &mut BTreeMap<String, Content>,
    device: tch::Device,
) -> Result<tch::Tensor, String> {
    let content = files.get_mut(&stored.file).ok_or_else(|| format!("no file {}", stored.file))?;
    if let Content::Bytes(bytes) = content {
        let kind = kind(stored.kind).ok_or_else(|| format!("element type {} is not known", stored.kind))?;
        let count = bytes.len() / kind.elt_size_in_bytes();
        let numbers = tch::Tensor::f_from_data_size(bytes, &[count as i64], kind);
        let moved = numbers.and_then(|numbers| numbers.f_to(device)).map_err(|error| error.to_string())?;
        *content = Content::Numbers(moved);
    }
    let Content::Numbers(numbers) = content else { return Err(format!("{} holds no numbers", stored.file)) };
    let Stored { sizes, strides, offset, .. } = stored;
    numbers.f_as_strided(sizes, strides, *offset).map_err(|error| error.to_string())
}

/// A weight with its float32 numbers in float64.
fn widened(weight: tch::Tensor) -> Result<tch::Tensor, String> {
    let wide = match weight.kind() {
        Kind::Float => weight.f_to_kind(Kind::Double),
        Kind::ComplexFloat => weight.f_to_kind(Kind::ComplexDouble),
        _ => Ok(weight),
    };
    wide.map_err(|error| error.to_string())
}

/// tch's word for ATen's number of an element type.
fn kind(number: i64) -> Option<Kind> {
    Some(match number {
        0 => Kind::Uint8,
        1 => Kind::Int8,
        2 => Kind::Int16,
        3 => Kind::Int,
        4 => Kind::Int64,
        5 => Kind::Half,
        6 => Kind::Float,
        7 => Kind::Double,
        8 => Kind::ComplexHalf,
        9 => Kind::ComplexFloat,
        10 => Kind::ComplexDouble,
        11 => Kind::Bool,
        15 => Kind::BFloat16,
        _ => return None,
    })
}

impl Program for Loaded {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        let computing = match self.elements {
            Elements::AsWritten => Computing::begin(),
            Elements::Float64 => Computing::in_float64().at(Stage::Run, "computing in float64")?,
        };
        once(computing, self.device, inputs, |inputs| self.forward(inputs))
    }

    fn time(&self, inputs: &[Tensor], count: usize) -> Result<Vec<Duration>, Failure> {
        let _computing = Computing::begin();
        let inputs = all_to_device(inputs, self.device)?;
        times(self.device, count, || self.forward(&inputs), |outputs| outputs.first())
    }

    fn takes(&self) -> Vec<String> {
        let inputs = self.interpreter.graph().inputs.iter();
        let given = inputs.filter_map(|input| match input {
            Input::Given(name) => Some(name.clone()),
            Input::Parameter(_) | Input::Buffer(_) | Input::Constant(_) => None,
        });
        given.collect()
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>, Failure> {
        let is_parameter =
            |(input, _, _): &(&Input, &str, &tch::Tensor)| matches!(input, Input::Parameter(_));
        let parameters = self.named().into_iter().filter(is_parameter);
        Ok(parameters.map(|(_, name, tensor)| (name.to_owned(), shape(tensor))).collect())
    }

    fn digests(&self, names: &[String]) -> Result<BTreeMap<String, String>, Failure> {
        let named = self.named();
        let digest = |name: &String| {
            let none =
                || Failure::new(Stage::Load, format!("the program has no parameter or buffer '{name}'"));
            let (_, _, tensor) = named.iter().find(|(_, found, _)| found == name).ok_or_else(none)?;
            let bytes = bytes(tensor).at(Stage::Load, format!("reading {name}"))?;
            Ok((name.clone(), format!("{:x}", Sha256::digest(bytes))))
        };
        names.iter().map(digest).collect()
    }

    fn save(&self, path: &Path) -> Result<(), Failure> {
        let saving = || format!("saving {}", path.display());
        let mut written = Vec::new();
        for (name, content) in &self.files {
            written.push((
                name.as_str(),
                match content {
                    Content::Bytes(bytes) => bytes.clone(),
                    Content::Numbers(numbers) => bytes(numbers).at(Stage::Load, saving())?,
                },
            ));
        }
        let file = File::create(path).at(Stage::Load, saving())?;
        let files = written.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
        archive::write(BufWriter::new(file), files).at(Stage::Load, saving())
    }

    fn parameter(&self, name: &str) -> Result<Tensor, Failure> {
        to_host(&self.flat(name).at(Stage::Load, format!("reading {name}"))?)
    }

    fn perturb(&self, parameter: &str, element: usize, delta: f64) -> Result<(), Failure> {
        let _guard = tch::no_grad_guard();
        let changed = || self.flat(parameter)?.f_get(element as i64)?.f_add_scalar_(delta).map(drop);
        changed().at(Stage::Load, format!("changing {parameter}[{element}]"))
    }
}
