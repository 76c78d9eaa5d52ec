//! TorchScript programs on libtorch, through tch.
//!
//! In: `program.pt`. Out: a loaded module on a device. tch's fallible calls are used throughout, so a C++
//! exception becomes a [`Failure`]; nothing here panics on a bad file.

use super::libtorch::{Computing, bytes, shape, times, to_device, to_host, to_tch};
use super::{DeviceTensor, Engine, Program, Stepped};
use crate::device::Device;
use crate::failure::{At, Failure, Stage};
use crate::numerics::Tensor;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tch::{CModule, IValue};

/// libtorch's TorchScript interpreter.
pub struct TorchScript;

/// A module on a device.
struct Module {
    module: CModule,
    device: tch::Device,
}

impl Engine for TorchScript {
    fn load(&self, path: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        let device = to_tch(device);
        let module = CModule::load_on_device(path, device).at(Stage::Load, path.display())?;
        Ok(Box::new(Module { module, device }))
    }
}

impl Program for Module {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        let _computing = computing(false);
        let output = self.forward(&self.moved(inputs)?)?;
        flatten(output)?.iter().map(to_host).collect()
    }

    fn served(&self, inputs: &[Tensor], count: usize) -> Result<Vec<Tensor>, Failure> {
        let _computing = computing(true);
        let inputs = self.moved(inputs)?;
        (1..count).try_for_each(|_| self.forward(&inputs).map(drop))?;
        flatten(self.forward(&inputs)?)?.iter().map(to_host).collect()
    }

    fn time(&self, inputs: &[Tensor], count: usize) -> Result<Vec<Duration>, Failure> {
        let _computing = computing(true);
        let inputs = self.moved(inputs)?;
        times(self.device, count, || self.forward(&inputs), first)
    }

    fn place(&self, tensor: &Tensor) -> Result<DeviceTensor, Failure> {
        to_device(tensor, self.device).map(DeviceTensor::Torch)
    }

    fn step(&self, inputs: &[Tensor], held: &[DeviceTensor], shown: usize) -> Result<Stepped, Failure> {
        let _computing = computing(false);
        let mut all = self.moved(inputs)?;
        for tensor in held {
            all.push(IValue::Tensor(match tensor {
                DeviceTensor::Torch(tensor) => tensor.shallow_clone(),
                DeviceTensor::Host(tensor) => to_device(tensor, self.device)?,
            }));
        }
        let mut outputs = flatten(self.forward(&all)?)?;
        let kept = outputs.split_off(shown.min(outputs.len()));
        let outputs = outputs.iter().map(to_host).collect::<Result<_, _>>()?;
        Ok((outputs, kept.into_iter().map(DeviceTensor::Torch).collect()))
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>, Failure> {
        let parameters = self.named().at(Stage::Load, "listing parameters")?;
        Ok(parameters.into_iter().map(|(name, tensor)| (name, shape(&tensor))).collect())
    }

    fn save(&self, path: &Path) -> Result<(), Failure> {
        self.module.save(path).at(Stage::Load, format!("saving {}", path.display()))
    }

    fn digests(&self, names: &[String]) -> Result<BTreeMap<String, String>, Failure> {
        let mut tensors: BTreeMap<String, tch::Tensor> =
            self.named().at(Stage::Load, "listing parameters")?.into_iter().collect();
        let others: Vec<&String> = names.iter().filter(|name| !tensors.contains_key(*name)).collect();
        let none: &[IValue] = &[];
        let buffers = self.module.method_is("buffer_values", none).at(Stage::Load, "listing buffers")?;
        let buffers = flatten(buffers)?;
        if buffers.len() != others.len() {
            let counts = format!("the program has {} buffers, not {}", buffers.len(), others.len());
            return Err(Failure::new(Stage::Load, counts));
        }
        tensors.extend(others.into_iter().cloned().zip(buffers));
        let digest = |(name, tensor): (String, tch::Tensor)| {
            let bytes = bytes(&tensor).at(Stage::Load, format!("reading {name}"))?;
            Ok((name, format!("{:x}", Sha256::digest(bytes))))
        };
        tensors.into_iter().map(digest).collect()
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

impl Module {
    /// Inputs on the module's device.
    fn moved(&self, inputs: &[Tensor]) -> Result<Vec<IValue>, Failure> {
        inputs.iter().map(|input| Ok(IValue::Tensor(to_device(input, self.device)?))).collect()
    }

    fn forward(&self, inputs: &[IValue]) -> Result<IValue, Failure> {
        self.module.forward_is(inputs).at(Stage::Run, "the program failed")
    }

    /// Parameters by the names that they have in the model: a program writes `/` for the dot.
    fn named(&self) -> Result<Vec<(String, tch::Tensor)>, tch::TchError> {
        let parameters = self.module.named_parameters()?;
        Ok(parameters.into_iter().map(|(name, tensor)| (name.replace('/', "."), tensor)).collect())
    }

    /// A parameter, flat, sharing its memory.
    fn flat(&self, name: &str) -> Result<tch::Tensor, tch::TchError> {
        let found = self.named()?.into_iter().find(|(found, _)| found == name);
        let (_, tensor) = found.ok_or_else(|| tch::TchError::Kind(format!("no parameter '{name}'")))?;
        tensor.f_view([-1])
    }
}

/// Begins to compute; says whether libtorch optimises the programs that this thread runs from now on. Those that it has
/// optimised stay so.
///
/// By itself it does, at the first two runs, and that takes far longer than a small model's run.
fn computing(optimise: bool) -> Computing {
    let computing = Computing::begin();
    tch::jit::set_graph_executor_optimize(optimise);
    computing
}

/// The first tensor of a program's result.
fn first(value: &IValue) -> Option<&tch::Tensor> {
    match value {
        IValue::Tensor(tensor) => Some(tensor),
        IValue::TensorList(tensors) => tensors.first(),
        IValue::Tuple(values) => values.iter().find_map(first),
        _ => None,
    }
}

/// The tensors of a program's result, in order: it returns one tensor, a tuple or, as others write them, a dictionary.
fn flatten(value: IValue) -> Result<Vec<tch::Tensor>, Failure> {
    match value {
        IValue::Tensor(tensor) => Ok(vec![tensor]),
        IValue::TensorList(tensors) => Ok(tensors),
        IValue::Tuple(values) => values.into_iter().try_fold(Vec::new(), |mut tensors, value| {
            tensors.extend(flatten(value)?);
            Ok(tensors)
        }),
        IValue::GenericDict(pairs) => {
            flatten(IValue::Tuple(pairs.into_iter().map(|(_, value)| value).collect()))
        }
        other => Err(Failure::new(Stage::Run, format!("the program returned {other:?}, not tensors"))),
    }
}
