//! The real engine: TorchScript programs on libtorch, through tch.
//!
//! In: `program.pt`. Out: a loaded module on a device. tch's fallible calls are used throughout, so a C++
//! exception becomes a [`Failure`]; nothing here panics on a bad file.

use super::{Device, Engine, Found, Program, Tensor, Values, archive};
use crate::failure::{At, Failure, Stage};
use crate::task::Dtype;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tch::{CModule, IValue, Kind};

/// libtorch's TorchScript interpreter.
pub struct TorchScript;

/// A module on a device.
struct Module {
    module: CModule,
    device: tch::Device,
}

impl Engine for TorchScript {
    fn name(&self) -> &'static str {
        "libtorch"
    }

    fn load(&self, path: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        prepare();
        let place = to_tch(device);
        // Programs are exported on the CPU: there the file is right as it is.
        let module = match device {
            Device::Cpu => CModule::load(path).at(Stage::Load, path.display())?,
            _ => {
                let moved = archive::for_device(path, device)?;
                CModule::load_data_on_device(&mut moved.as_slice(), place).at(Stage::Move, path.display())?
            }
        };
        Ok(Box::new(Module { module, device: place }))
    }
}

impl Program for Module {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        optimise(false);
        let _guard = tch::no_grad_guard();
        let output = self.forward(&self.moved(inputs)?)?;
        flatten(output)?.iter().map(to_host).collect()
    }

    fn served(&self, inputs: &[Tensor], count: usize) -> Result<Vec<Tensor>, Failure> {
        optimise(true);
        let _guard = tch::no_grad_guard();
        let inputs = self.moved(inputs)?;
        (1..count).try_for_each(|_| self.forward(&inputs).map(drop))?;
        flatten(self.forward(&inputs)?)?.iter().map(to_host).collect()
    }

    fn time(&self, inputs: &[Tensor], count: usize) -> Result<Vec<Duration>, Failure> {
        optimise(true);
        let _guard = tch::no_grad_guard();
        let inputs = self.moved(inputs)?;
        let timed = |_| {
            let started = Instant::now();
            let output = self.forward(&inputs)?;
            self.finish(&output)?;
            Ok(started.elapsed())
        };
        (0..count).map(timed).collect()
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

    /// Waits until the device has computed an output.
    fn finish(&self, output: &IValue) -> Result<(), Failure> {
        match self.device {
            tch::Device::Cuda(index) => tch::Cuda::synchronize(index as i64),
            // tch knows no synchronisation of MPS; reading one element waits for it.
            tch::Device::Mps => {
                if let Some(tensor) = first(output) {
                    tensor
                        .f_reshape([-1])
                        .and_then(|flat| flat.f_slice(0, 0, 1, 1)?.f_to(tch::Device::Cpu))
                        .map(drop)
                        .at(Stage::Move, "an output to the host")?;
                }
            }
            tch::Device::Cpu | tch::Device::Vulkan => {}
        }
        Ok(())
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

/// Whether libtorch optimises the programs that this thread runs from now on. Those that it has optimised stay so.
///
/// By itself it does, at the first two runs, and that takes far longer than a small model's run.
fn optimise(on: bool) {
    tch::jit::set_graph_executor_optimize(on);
}

/// What devices libtorch can use here.
pub fn devices() -> Found {
    prepare();
    let cuda = match load_cuda() {
        Err(reason) => Err(reason.clone()),
        Ok(()) => match usize::try_from(tch::Cuda::device_count()) {
            Ok(count) if count > 0 && tch::Cuda::is_available() => Ok(count),
            _ => Err("the driver lists no device".into()),
        },
    };
    let mps = match (cfg!(target_os = "macos"), tch::utils::has_mps()) {
        (false, _) => Err("not a Mac".into()),
        (true, false) => Err("this libtorch or macOS has no MPS".into()),
        (true, true) => Ok(()),
    };
    Found { cuda, mps }
}

/// Waits until everything sent to `device` is done; for timing.
pub fn synchronise(device: Device) {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
}

/// Settings that hold for the whole process, made before the first call into libtorch.
fn prepare() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        // Whoever chose a device was told of a number that is none.
        tch::set_num_threads(super::threads().unwrap_or(1));
    });
}

/// Brings libtorch's CUDA half into the process; without a driver that is neither possible nor useful.
///
/// A Linux linker drops `libtorch_cuda`, since no symbol of it is named, and CUDA then looks absent.
/// Opening it at run time registers its kernels, and spares CPU-only runs its start-up time.
fn load_cuda() -> &'static Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED.get_or_init(|| {
        // TF32 rounds products to 10 bits; references are full float32. Set before CUDA starts.
        // SAFETY: called once, before this process starts threads that read the environment in C.
        unsafe { std::env::set_var("NVIDIA_TF32_OVERRIDE", "0") };
        if cfg!(target_os = "macos") {
            return Err("not on macOS".into());
        }
        open("libcuda.so.1").map_err(|_| "no NVIDIA driver (libcuda.so.1)".to_owned())?;
        open("libtorch_cuda.so").map_err(|error| format!("this libtorch has no CUDA ({error})"))
    })
}

/// What the driver calls a CUDA device. tch does not say; the driver is open already when CUDA is in use.
pub fn gpu_name(index: usize) -> Option<String> {
    #[cfg(unix)]
    {
        use std::ffi::{CStr, c_char, c_int};
        let mut name: [c_char; 256] = [0; 256];
        // SAFETY: both functions have these signatures in every release of the CUDA driver API; the buffer's length
        // is passed along, and the driver ends the name with a zero.
        unsafe {
            let driver = libloading::Library::new("libcuda.so.1").ok()?;
            let init: libloading::Symbol<unsafe extern "C" fn(u32) -> c_int> = driver.get(b"cuInit").ok()?;
            let get: libloading::Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int> =
                driver.get(b"cuDeviceGetName").ok()?;
            let found = init(0) == 0 && get(name.as_mut_ptr(), 255, c_int::try_from(index).ok()?) == 0;
            found.then(|| CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned())
        }
    }
    #[cfg(not(unix))]
    {
        let _ = index;
        None
    }
}

/// Opens a shared library for the rest of the process.
fn open(library: &str) -> Result<(), libloading::Error> {
    #[cfg(unix)]
    {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        // SAFETY: libcuda and libtorch_cuda run no code at load time but their own registration.
        let library = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_GLOBAL)? };
        std::mem::forget(library);
    }
    #[cfg(not(unix))]
    let _ = library;
    Ok(())
}

fn to_tch(device: Device) -> tch::Device {
    match device {
        Device::Cpu => tch::Device::Cpu,
        Device::Cuda(index) => tch::Device::Cuda(index),
        Device::Mps => tch::Device::Mps,
    }
}

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Bool => Kind::Bool,
        Dtype::Uint8 => Kind::Uint8,
        Dtype::Int8 => Kind::Int8,
        Dtype::Int16 => Kind::Int16,
        Dtype::Int32 => Kind::Int,
        Dtype::Int64 => Kind::Int64,
        Dtype::Float16 => Kind::Half,
        Dtype::Bfloat16 => Kind::BFloat16,
        Dtype::Float32 => Kind::Float,
        Dtype::Float64 => Kind::Double,
    }
}

fn dtype(kind: Kind) -> Result<Dtype, Failure> {
    match kind {
        Kind::Bool => Ok(Dtype::Bool),
        Kind::Uint8 => Ok(Dtype::Uint8),
        Kind::Int8 => Ok(Dtype::Int8),
        Kind::Int16 => Ok(Dtype::Int16),
        Kind::Int => Ok(Dtype::Int32),
        Kind::Int64 => Ok(Dtype::Int64),
        Kind::Half => Ok(Dtype::Float16),
        Kind::BFloat16 => Ok(Dtype::Bfloat16),
        Kind::Float => Ok(Dtype::Float32),
        Kind::Double => Ok(Dtype::Float64),
        other => Err(Failure::new(Stage::Run, format!("the program returned elements of type {other:?}"))),
    }
}

fn shape(tensor: &tch::Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect()
}

fn to_device(tensor: &Tensor, device: tch::Device) -> Result<tch::Tensor, Failure> {
    let shape: Vec<i64> = tensor.shape().iter().map(|&size| size as i64).collect();
    let wide = match &tensor.values {
        Values::Int(array) => tch::Tensor::f_from_slice(&array.iter().copied().collect::<Vec<_>>()),
        Values::Float(array) => tch::Tensor::f_from_slice(&array.iter().copied().collect::<Vec<_>>()),
    };
    let moved = || wide?.f_to_kind(kind(tensor.dtype))?.f_reshape(&shape)?.f_to(device);
    moved().at(Stage::Move, format!("an input to {device:?}"))
}

fn to_host(tensor: &tch::Tensor) -> Result<Tensor, Failure> {
    let (dtype, shape) = (dtype(tensor.kind())?, shape(tensor));
    // The move comes first: MPS has no float64.
    let host = tensor.f_to(tch::Device::Cpu).at(Stage::Move, "an output to the host")?;
    let flat = || host.f_contiguous()?.f_view([-1]);
    let flat = flat().at(Stage::Move, "an output to the host")?;
    let tensor = match dtype.is_float() {
        true => {
            let values = flat.f_to_kind(Kind::Double).and_then(|flat| Vec::try_from(&flat));
            Tensor::float(dtype, &shape, values.at(Stage::Move, "an output to the host")?)
        }
        false => {
            let values = flat.f_to_kind(Kind::Int64).and_then(|flat| Vec::try_from(&flat));
            Tensor::int(dtype, &shape, values.at(Stage::Move, "an output to the host")?)
        }
    };
    tensor.at(Stage::Run, "an output")
}

/// The bytes of a tensor's elements, row-major.
fn bytes(tensor: &tch::Tensor) -> Result<Vec<u8>, tch::TchError> {
    let host = tensor.f_to(tch::Device::Cpu)?.f_contiguous()?;
    let mut bytes = vec![0; host.numel() * host.kind().elt_size_in_bytes()];
    host.f_copy_data_u8(&mut bytes, host.numel())?;
    Ok(bytes)
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

/// The tensors of a program's result, in order: it returns one tensor or a flat tuple of them.
fn flatten(value: IValue) -> Result<Vec<tch::Tensor>, Failure> {
    match value {
        IValue::Tensor(tensor) => Ok(vec![tensor]),
        IValue::TensorList(tensors) => Ok(tensors),
        IValue::Tuple(values) => values.into_iter().try_fold(Vec::new(), |mut tensors, value| {
            tensors.extend(flatten(value)?);
            Ok(tensors)
        }),
        other => Err(Failure::new(Stage::Run, format!("the program returned {other:?}, not tensors"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_keeps_its_kind_on_the_way_there_and_back() {
        for dtype in Dtype::ALL {
            let tensor = match dtype.is_float() {
                true => Tensor::float(dtype, &[2, 2], vec![0.0, 1.0, -0.0, f64::INFINITY]).unwrap(),
                false => Tensor::int(dtype, &[2, 2], vec![0, 1, 1, 0]).unwrap(),
            };
            let there = to_device(&tensor, tch::Device::Cpu).unwrap();
            assert_eq!(there.kind(), kind(dtype));
            assert!(to_host(&there).unwrap().same_bits(&tensor), "{}", dtype.name());
        }
    }
}
