//! Engines run programs. One trait, so that a check never knows which one it is talking to.
//!
//! In: an artifact's program file and a device. Out: a [`Program`] that maps host tensors to host tensors.

#[cfg(feature = "libtorch")]
pub mod aot;
mod decoder;
mod device_tensor;
#[cfg(feature = "libtorch")]
mod libtorch;
pub mod mock;
#[cfg(feature = "libtorch")]
pub mod pt2;
#[cfg(feature = "libtorch")]
mod shim;
#[cfg(feature = "libtorch")]
pub mod torchscript;

#[cfg(feature = "libtorch")]
pub use aot::Aot;
pub use decoder::{Cache, Decoder, largest_at_end};
pub use device_tensor::DeviceTensor;
#[cfg(feature = "libtorch")]
pub use pt2::Pt2;
#[cfg(all(feature = "libtorch", any(test, feature = "fuzz")))]
pub(crate) use pt2::pack;
#[cfg(feature = "libtorch")]
pub use torchscript::TorchScript;

use crate::artifact::Format;
#[cfg(feature = "libtorch")]
use crate::artifact::Target;
use crate::device::{Device, Found, Request};
use crate::failure::{At, Failure, Stage};
use crate::numerics::Tensor;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// Something that runs exported programs.
pub trait Engine: Sync {
    /// `torchscript`, `pt2`, `aot`, `python`.
    fn name(&self) -> &'static str {
        self.format().name()
    }

    /// What its programs are written in.
    fn format(&self) -> Format {
        Format::TorchScript
    }

    /// Reads the program at `path` and brings it to `device`.
    ///
    /// # Errors
    /// Stage `load` when the file is unreadable, stage `move` when the device refuses it.
    fn load(&self, path: &Path, device: Device) -> Result<Box<dyn Program>, Failure>;

    /// The same program, computing in float64 what it is written to compute in float32. It takes the same inputs, and widens
    /// them.
    ///
    /// # Errors
    /// As [`Engine::load`]; and stage `load` where the engine cannot do that: code that is compiled or interpreted by
    /// others has its element types in it.
    fn load_in_float64(&self, path: &Path, _: Device) -> Result<Box<dyn Program>, Failure> {
        let cannot = format!("{}: programs of the engine {} have one precision", path.display(), self.name());
        Err(Failure::new(Stage::Load, cannot))
    }

    /// By how much each operator of the program is off on a device, at these inputs.
    ///
    /// # Errors
    /// As [`Engine::load_in_float64`], and stage `run` for the operator that fails.
    fn explain(&self, path: &Path, _: Device, _: &[Tensor]) -> Result<Explained, Failure> {
        let cannot = format!(
            "{}: the operators of a {} program cannot be run one by one",
            path.display(),
            self.name()
        );
        Err(Failure::new(Stage::Load, cannot))
    }
}

/// A program, operator by operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// How many operators it has.
    pub operators: usize,
    /// Those that make tensors, in the order in which they run.
    pub reports: Vec<StepReport>,
}

/// By how much an operator is off, as a share of the size of what it makes.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Its place among all.
    pub place: usize,
    /// Its name: `aten::mul.Tensor`.
    pub operator: String,
    /// By itself: beside the same operator in float64, given the same numbers. The share is that of what it makes or is given,
    /// whichever is larger.
    pub own: f64,
    /// With all that came before it: beside the program in float64.
    pub so_far: f64,
    /// File and line that it comes from, and what is written there.
    pub line: Option<(String, String)>,
}

impl StepReport {
    /// Whether rounding does not explain by how much the operator is off by itself. One rounding is 2⁻²⁴, and of sums of a few
    /// thousand terms some ten times that; bfloat16 is 2⁻⁸, float16 and TF32 2⁻¹¹.
    pub fn is_wrong(&self) -> bool {
        self.own.is_nan() || self.own > 2f64.powi(-15)
    }
}

/// What a step returns: outputs on the host, and tensors that stay on the device.
pub type Stepped = (Vec<Tensor>, Vec<DeviceTensor>);

/// A loaded program.
pub trait Program: Send + Sync {
    /// Runs the program once, as it is written. Inputs and outputs are on the host, in the artifact's order.
    ///
    /// # Errors
    /// Stage `move` for the tensors, stage `run` for the program itself.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure>;

    /// Runs the program `count` times as a process that serves it does, letting the engine make of it what it makes of a
    /// program in use, and returns what the last run did. From then on [`Program::run`] may run that too.
    ///
    /// # Errors
    /// As [`Program::run`].
    fn served(&self, inputs: &[Tensor], count: usize) -> Result<Vec<Tensor>, Failure> {
        let _ = count;
        self.run(inputs)
    }

    /// Runs the program `count` times, as [`Program::served`] does, on inputs that are brought to the device once, and says
    /// how long each run took; outputs stay where they are, and a run ends when the device is done.
    ///
    /// # Errors
    /// As [`Program::run`].
    fn time(&self, inputs: &[Tensor], count: usize) -> Result<Vec<Duration>, Failure> {
        let timed = |_| {
            let started = Instant::now();
            self.run(inputs).map(|_| started.elapsed())
        };
        (0..count).map(timed).collect()
    }

    /// Puts a tensor where the program runs.
    ///
    /// # Errors
    /// Stage `move`: the device refuses it.
    fn place(&self, tensor: &Tensor) -> Result<DeviceTensor, Failure> {
        Ok(DeviceTensor::Host(tensor.clone()))
    }

    /// Runs the program once on inputs from the host and, after them, tensors that are on its device already. The first
    /// `shown` outputs come to the host, all others stay where they are.
    ///
    /// # Errors
    /// As [`Program::run`].
    fn step(&self, inputs: &[Tensor], held: &[DeviceTensor], shown: usize) -> Result<Stepped, Failure> {
        let mut all = inputs.to_vec();
        for tensor in held {
            all.push(tensor.try_into()?);
        }
        let mut outputs = self.run(&all)?;
        let kept = outputs.split_off(shown.min(outputs.len()));
        Ok((outputs, kept.into_iter().map(DeviceTensor::Host).collect()))
    }

    /// What the program calls its inputs, in order; nothing where its file does not say.
    fn takes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Names and shapes of all parameters.
    fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>, Failure>;

    /// The sha256 of the bytes of these parameters and buffers, in ascending order of their names, as the loaded program
    /// has them.
    ///
    /// # Errors
    /// Stage `load` when the program has others.
    fn digests(&self, names: &[String]) -> Result<BTreeMap<String, String>, Failure>;

    /// Writes the program to `path`, in the engine's own format.
    fn save(&self, path: &Path) -> Result<(), Failure>;

    /// The values of a parameter.
    fn parameter(&self, name: &str) -> Result<Tensor, Failure>;

    /// Adds `delta` to one element of a parameter: how weight faults are planted.
    fn perturb(&self, parameter: &str, element: usize, delta: f64) -> Result<(), Failure>;
}

/// The engine of this build that runs programs of a format; `None` in a build without the `libtorch` feature.
pub fn of(format: Format) -> Option<&'static dyn Engine> {
    #[cfg(feature = "libtorch")]
    return Some(match format {
        Format::TorchScript => &TorchScript,
        Format::Pt2 => &Pt2,
        Format::Aot(Target::Cpu) => &Aot(Target::Cpu),
        Format::Aot(Target::Cuda) => &Aot(Target::Cuda),
        Format::Aot(Target::Mps) => &Aot(Target::Mps),
    });
    #[cfg(not(feature = "libtorch"))]
    {
        let _ = format;
        None
    }
}

/// A pt2 program in float64 with one factor that is written in it off by this share of it: how such a fault is planted.
///
/// # Errors
/// As [`Engine::load_in_float64`]; and [`Failure::not_applicable`] where nothing is multiplied by a constant.
pub fn spoilt(path: &Path, device: Device, share: f64) -> Result<Box<dyn Program>, Failure> {
    #[cfg(feature = "libtorch")]
    return pt2::spoilt(path, device, share);
    #[cfg(not(feature = "libtorch"))]
    {
        let _ = (path, device, share);
        Err(Failure::new(Stage::Load, "this build has no libtorch"))
    }
}

/// The engine that runs models where no other is asked for.
pub fn real() -> Option<&'static dyn Engine> {
    of(Format::default())
}

/// The device asked for by `auto`, `cpu`, `cuda`, `cuda:N` or `mps`, and the choice explained.
///
/// # Errors
/// Stage `move` when the device is unknown or not there.
pub fn choose(asked: &str) -> Result<(Device, String), Failure> {
    threads()?;
    let request: Request = asked.parse().at(Stage::Move, "choosing a device")?;
    let found = devices();
    let device = request.choose(&found).at(Stage::Move, "choosing a device")?;
    Ok((device, request.explain(device, &found)))
}

/// What [`share`] asked for; 0 before that.
static THREADS: AtomicI32 = AtomicI32::new(0);

/// Has so many threads share one operator from now on, whatever the environment says.
pub fn share(threads: i32) {
    THREADS.store(threads, Ordering::Relaxed);
}

/// Threads that share one operator: what [`share`] asked for, or `HF_CONFORMANCE_THREADS`, or 1, with which tiny models are
/// fastest.
///
/// # Errors
/// Stage `move` when it is no number of threads.
pub fn threads() -> Result<i32, Failure> {
    const NAME: &str = "HF_CONFORMANCE_THREADS";
    let shared = THREADS.load(Ordering::Relaxed);
    if shared > 0 {
        return Ok(shared);
    }
    let Ok(asked) = std::env::var(NAME) else { return Ok(1) };
    match asked.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(Failure::new(Stage::Move, format!("{NAME} is '{asked}', not a number of threads"))),
    }
}

/// The devices the real engine can use here.
pub fn devices() -> Found {
    #[cfg(feature = "libtorch")]
    return libtorch::devices();
    #[cfg(not(feature = "libtorch"))]
    {
        let none = || "this build has no libtorch".to_owned();
        Found { cuda: Err(none()), mps: Err(none()) }
    }
}

/// The name of a CUDA device, as its driver says it; none without a driver.
pub fn gpu_name(index: usize) -> Option<String> {
    #[cfg(feature = "libtorch")]
    return libtorch::gpu_name(index);
    #[cfg(not(feature = "libtorch"))]
    {
        let _ = index;
        None
    }
}
