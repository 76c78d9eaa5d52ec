//! What every engine on libtorch needs of it: its devices, settings of a thread, and the way of tensors there and back.
//!
//! In: host tensors. Out: tch's tensors on a device, and host tensors again. tch's fallible calls are used throughout, so
//! a C++ exception becomes a [`Failure`].

use super::shim::told;
use crate::device::{Device, Found};
use crate::failure::{At, Failure, Stage};
use crate::numerics::{Tensor, Values};
use crate::task::Dtype;
use std::cell::Cell;
use std::ffi::c_char;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use tch::Kind;

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

/// Inputs on a device.
///
/// # Errors
/// Stage `move`: the device refuses one.
pub fn all_to_device(inputs: &[Tensor], device: tch::Device) -> Result<Vec<tch::Tensor>, Failure> {
    inputs.iter().map(|input| to_device(input, device)).collect()
}

/// One forward, from the host and back to it.
///
/// # Errors
/// As the forward, and stage `move` for the tensors.
pub fn once(
    _computing: Computing,
    device: tch::Device,
    inputs: &[Tensor],
    forward: impl Fn(&[tch::Tensor]) -> Result<Vec<tch::Tensor>, Failure>,
) -> Result<Vec<Tensor>, Failure> {
    forward(&all_to_device(inputs, device)?)?.iter().map(to_host).collect()
}

/// How long each of `count` forwards takes, until the device is done with it; `first` is an output of it.
///
/// # Errors
/// As the forward, and stage `move`: the output does not come to the host.
pub fn times<T>(
    device: tch::Device,
    count: usize,
    forward: impl Fn() -> Result<T, Failure>,
    first: impl Fn(&T) -> Option<&tch::Tensor>,
) -> Result<Vec<Duration>, Failure> {
    let timed = |_| {
        let started = Instant::now();
        let outputs = forward()?;
        finish(device, first(&outputs))?;
        Ok(started.elapsed())
    };
    (0..count).map(timed).collect()
}

/// Waits until the device has computed an output.
///
/// # Errors
/// Stage `move`: the output does not come to the host.
fn finish(device: tch::Device, output: Option<&tch::Tensor>) -> Result<(), Failure> {
    match (device, output) {
        (tch::Device::Cuda(index), _) => tch::Cuda::synchronize(index as i64),
        // tch knows no synchronisation of MPS; reading one element waits for it.
        (tch::Device::Mps, Some(tensor)) => {
            tensor
                .f_reshape([-1])
                .and_then(|flat| flat.f_slice(0, 0, 1, 1)?.f_to(tch::Device::Cpu))
                .map(drop)
                .at(Stage::Move, "an output to the host")?;
        }
        _ => {}
    }
    Ok(())
}

/// What a thread tells libtorch before it computes: how many threads to use.
///
/// OpenMP and MKL keep that number thread by thread, and libtorch hands it on to a new thread only when it first needs
/// it itself: a product before that runs on all processors, in another order than those after it.
pub fn prepare() {
    thread_local! {
        static TOLD: Cell<i32> = const { Cell::new(0) };
    }
    // Whoever chose a device was told of a number that is none.
    let threads = super::threads().unwrap_or(1);
    if TOLD.replace(threads) != threads {
        tch::set_num_threads(threads);
    }
}

/// That this thread computes: without gradients, and with tensors of float32 where nothing says of which element type they
/// are, or of float64 while no other thread computes.
pub struct Computing {
    _gradients: tch::NoGradGuard,
    _default: Default,
}

/// What tensors are of where nothing says so. libtorch has one such type for all threads.
enum Default {
    Float32 { _shared: RwLockReadGuard<'static, ()> },
    Float64 { _alone: RwLockWriteGuard<'static, ()> },
}

static DEFAULT: RwLock<()> = RwLock::new(());

impl Computing {
    /// Begins to compute as usual.
    pub fn begin() -> Self {
        prepare();
        let shared = DEFAULT.read().unwrap_or_else(PoisonError::into_inner);
        Self { _gradients: tch::no_grad_guard(), _default: Default::Float32 { _shared: shared } }
    }

    /// Waits until no other thread computes, and begins to compute in float64.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn in_float64() -> Result<Self, String> {
        prepare();
        let alone = DEFAULT.write().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: it sets what other threads read while they compute, and none does.
        unsafe { told(default_is_float64(true)) }?;
        Ok(Self { _gradients: tch::no_grad_guard(), _default: Default::Float64 { _alone: alone } })
    }
}

impl Drop for Default {
    fn drop(&mut self) {
        if let Self::Float64 { .. } = self {
            // SAFETY: as above; the lock is given back after this. float32 was set before, and is not refused.
            let _ = unsafe { told(default_is_float64(false)) };
        }
    }
}

/// Brings libtorch's CUDA half into the process; without a driver that is neither possible nor useful.
///
/// A Linux linker drops `libtorch_cuda`, since no symbol of it is named, and CUDA then looks absent.
/// Opening it at run time registers its kernels, and spares CPU-only runs its start-up time.
fn load_cuda() -> &'static Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED.get_or_init(|| {
        forbid_tf32()?;
        if cfg!(target_os = "macos") {
            return Err("not on macOS".into());
        }
        open("libcuda.so.1").map_err(|_| "no NVIDIA driver (libcuda.so.1)".to_owned())?;
        open("libtorch_cuda.so").map_err(|error| format!("this libtorch has no CUDA ({error})"))
    })
}

unsafe extern "C" {
    fn tf32_forbid() -> *mut c_char;
    fn default_is_float64(wide: bool) -> *mut c_char;
    #[cfg(test)]
    fn tf32_is_allowed(allowed: *mut bool) -> *mut c_char;
}

/// TF32 rounds products to 10 bits, and convolutions use it unless they are told not to; references are full float32.
fn forbid_tf32() -> Result<(), String> {
    // SAFETY: it takes nothing, and sets what all threads read.
    unsafe { told(tf32_forbid()) }
}

/// Brings `libtorch.so` into the process: compiled packages ask for it by that name, and a Linux linker drops it, since it is
/// but a name for its parts.
///
/// # Errors
/// It is not where this libtorch is.
pub fn open_whole() -> Result<(), String> {
    static OPENED: OnceLock<Result<(), String>> = OnceLock::new();
    let name = if cfg!(target_os = "macos") { "libtorch.dylib" } else { "libtorch.so" };
    OPENED.get_or_init(|| open(name).map_err(|error| error.to_string())).clone()
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
        // SAFETY: these libraries run no code at load time but their own registration.
        let library = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_GLOBAL)? };
        std::mem::forget(library);
    }
    #[cfg(not(unix))]
    let _ = library;
    Ok(())
}

/// tch's word for a device.
pub fn to_tch(device: Device) -> tch::Device {
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

/// The sizes of all dimensions.
pub fn shape(tensor: &tch::Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect()
}

/// A host tensor on a device, in its own element type.
///
/// # Errors
/// Stage `move`: the device refuses it.
pub fn to_device(tensor: &Tensor, device: tch::Device) -> Result<tch::Tensor, Failure> {
    let shape: Vec<i64> = tensor.shape().iter().map(|&size| size as i64).collect();
    let wide = match &tensor.values {
        Values::Int(array) => tch::Tensor::f_from_slice(&array.iter().copied().collect::<Vec<_>>()),
        Values::Float(array) => tch::Tensor::f_from_slice(&array.iter().copied().collect::<Vec<_>>()),
    };
    let moved = || wide?.f_to_kind(kind(tensor.dtype))?.f_reshape(&shape)?.f_to(device);
    moved().at(Stage::Move, format!("an input to {device:?}"))
}

/// A tensor on the host, with its values widened.
///
/// # Errors
/// Stage `move`: it does not come to the host; stage `run`: elements of a type that no host tensor has.
pub fn to_host(tensor: &tch::Tensor) -> Result<Tensor, Failure> {
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
///
/// # Errors
/// The tensor does not come to the host.
pub fn bytes(tensor: &tch::Tensor) -> Result<Vec<u8>, tch::TchError> {
    let host = tensor.f_to(tch::Device::Cpu)?.f_contiguous()?;
    let mut bytes = vec![0; host.numel() * host.kind().elt_size_in_bytes()];
    host.f_copy_data_u8(&mut bytes, host.numel())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_for_a_gpu_has_forbidden_tf32() {
        let mut allowed = true;
        drop(devices());
        // SAFETY: the flag outlives the call.
        unsafe { told(tf32_is_allowed(&raw mut allowed)) }.unwrap();
        assert!(!allowed);
    }

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
