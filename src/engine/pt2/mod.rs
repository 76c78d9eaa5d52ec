//! The engine after TorchScript: `torch.export`'s programs, read and run here.
//!
//! In: `program.pt2`. Out: a program on a device. The file is data, and nothing in it is run: `archive` reads it,
//! `from_schema` makes a `graph` of what `schema` says, `interpreter` calls ATen's operators by name through `shim` and computes
//! sizes by `sizes`. Device arguments are replaced when a program is loaded, so one file runs on every device.
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

use super::libtorch::{Computing, all_to_device, bytes, once, shape, times, to_device, to_host, to_tch};
use super::{DeviceTensor, Engine, Explained, Program, Stepped};
use crate::artifact::Format;
use crate::device::Device;
use crate::failure::{At, Failure, Stage};
use crate::numerics::Tensor;
use crate::task::Dtype;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use archive::write as pack;
use archive::{Archive, Stored};
use graph::{Graph, Input};
use interpreter::Interpreter;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
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
        Ok(Box::new(Opened::open(path)?.ready(device)?))
    }

    fn load_in_float64(&self, path: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        Ok(Box::new(Opened::open(path)?.in_float64().ready(device)?))
    }

    fn explain(&self, path: &Path, device: Device, inputs: &[Tensor]) -> Result<Explained, Failure> {
        explain::explain(path, device, inputs)
    }
}

impl Pt2 {
    /// Loads a program from wherever its file is; `shown` stands for it in messages.
    ///
    /// # Errors
    /// Stage `load`: it is no such file, or holds what this build does not run.
    pub fn read(file: impl Read + Seek, device: Device, shown: &str) -> Result<Box<dyn Program>, Failure> {
        Ok(Box::new(Opened::read(file, shown.to_owned())?.ready(device)?))
    }
}

/// A program in float64 with one factor that is written in it off by this share of it: how such a fault is planted.
///
/// # Errors
/// As [`Engine::load_in_float64`]; and [`Failure::not_applicable`] where nothing is multiplied by a constant.
pub fn spoilt(path: &Path, device: Device, share: f64) -> Result<Box<dyn Program>, Failure> {
    let mut opened = Opened::open(path)?.in_float64();
    let none = || Failure::not_applicable("the graph multiplies by no constant");
    *opened.graph.factor().ok_or_else(none)? *= 1.0 + share;
    Ok(Box::new(opened.ready(device)?))
}

/// In which element types a program computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Elements {
    AsWritten,
    /// In float64 wherever it says float32: weights, inputs, and what operators are told to make.
    Float64,
}

/// A program that was read. Its graph may be changed before it is readied.
struct Opened {
    graph: Graph,
    tensors: BTreeMap<String, Stored>,
    files: BTreeMap<String, Vec<u8>>,
    elements: Elements,
    /// What stands for its file in messages.
    shown: String,
}

impl Opened {
    /// The program at `path`.
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).at(Stage::Load, path.display())?;
        Self::read(BufReader::new(file), path.display().to_string())
    }

    /// The program in a file, wherever that is.
    fn read(file: impl Read + Seek, shown: String) -> Result<Self, Failure> {
        let Archive { program, tensors, files } = Archive::read(file).at(Stage::Load, &shown)?;
        let graph = Graph::try_from(program).at(Stage::Load, &shown)?;
        Ok(Self { graph, tensors, files, elements: Elements::AsWritten, shown })
    }

    /// The same program, to compute in float64 what it is written to compute in float32.
    fn in_float64(mut self) -> Self {
        self.graph.widen();
        Self { elements: Elements::Float64, ..self }
    }

    /// Looks up the operators, and brings the weights to a device.
    fn ready(self, device: Device) -> Result<Loaded, Failure> {
        let Self { graph, tensors, files, elements, shown } = self;
        let interpreter = Interpreter::new(graph, device).at(Stage::Load, &shown)?;
        let mut files = files.into_iter().map(|(name, bytes)| (name, Content::Bytes(bytes))).collect();
        let device = to_tch(device);
        let mut named = |name: &str| {
            let none = || Failure::new(Stage::Load, format!("{shown} has no weight '{name}'"));
            let stored = tensors.get(name).ok_or_else(none)?.clone();
            let tensor = weight(&stored, &mut files, device).and_then(|tensor| match elements {
                Elements::AsWritten => Ok(tensor),
                Elements::Float64 => widened(tensor),
            });
            let tensor = tensor.at(Stage::Load, format!("{shown}: weight {name}"))?;
            Ok(Weight { tensor, stored })
        };
        let inputs = interpreter.graph().inputs.iter();
        let weights = inputs.map(|input| input.weight().map(&mut named).transpose());
        let weights = weights.collect::<Result<_, Failure>>()?;
        Ok(Loaded { interpreter, weights, files, device, elements })
    }
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
    /// What is given at a run, in the element types that the program computes in.
    fn given<'a>(&self, inputs: &'a [Tensor]) -> Cow<'a, [Tensor]> {
        match self.elements {
            Elements::AsWritten => Cow::Borrowed(inputs),
            Elements::Float64 => inputs.iter().map(|input| input.cast(Dtype::Float64)).collect(),
        }
    }

    /// Begins to compute in those element types.
    fn computing(&self) -> Result<Computing, Failure> {
        match self.elements {
            Elements::AsWritten => Ok(Computing::begin()),
            Elements::Float64 => Computing::in_float64().at(Stage::Run, "computing in float64"),
        }
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
        once(self.computing()?, self.device, &self.given(inputs), |inputs| self.forward(inputs))
    }

    fn time(&self, inputs: &[Tensor], count: usize) -> Result<Vec<Duration>, Failure> {
        let _computing = Computing::begin();
        let inputs = all_to_device(&self.given(inputs), self.device)?;
        times(self.device, count, || self.forward(&inputs), |outputs| outputs.first())
    }

    fn place(&self, tensor: &Tensor) -> Result<DeviceTensor, Failure> {
        let given = self.given(std::slice::from_ref(tensor));
        to_device(&given[0], self.device).map(DeviceTensor::Torch)
    }

    fn step(&self, inputs: &[Tensor], held: &[DeviceTensor], shown: usize) -> Result<Stepped, Failure> {
        let _computing = self.computing()?;
        let mut all = all_to_device(&self.given(inputs), self.device)?;
        for tensor in held {
            all.push(match tensor {
                DeviceTensor::Torch(tensor) => tensor.shallow_clone(),
                DeviceTensor::Host(tensor) => to_device(tensor, self.device)?,
            });
        }
        let mut outputs = self.forward(&all)?;
        let kept = outputs.split_off(shown.min(outputs.len()));
        let outputs = outputs.iter().map(to_host).collect::<Result<_, _>>()?;
        Ok((outputs, kept.into_iter().map(DeviceTensor::Torch).collect()))
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
