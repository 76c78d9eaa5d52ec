//! Where a graph's error comes from, operator by operator.
//!
//! In: a program and inputs. Out: for every operator by how much it is off by itself (beside the same operator in float64 on
//! the very same numbers), and by how much all before it have been off too (beside the graph in float64). Both runs
//! go on side by side, so that no more is held than the graph needs.

use super::graph::Line;
use super::interpreter::{Running, operator};
use super::{Loaded, Opened, widened};
use crate::device::Device;
use crate::engine::libtorch::{Computing, all_to_device, to_host};
use crate::engine::{Explained, StepReport};
use crate::failure::{At, Failure, Stage};
use crate::numerics::rule::{self, Tolerance};
use crate::numerics::{Reference, Tensor};
use crate::task::Dtype;
use std::path::Path;
use tch::Kind;

/// What every operator of the program at `path` adds on that device.
///
/// # Errors
/// As [`crate::engine::Engine::load`], and stage `run` for the operator that fails.
pub fn explain(path: &Path, device: Device, inputs: &[Tensor]) -> Result<Explained, Failure> {
    let narrow = Opened::open(path)?.ready(device)?;
    let wide = Opened::open(path)?.in_float64().ready(Device::Cpu)?;
    compared(&narrow, &wide, inputs)
}

/// What every operator of a program adds, beside those of the same program in float64.
pub(super) fn compared(narrow: &Loaded, wide: &Loaded, inputs: &[Tensor]) -> Result<Explained, Failure> {
    let moved = |to: &Loaded| all_to_device(&to.given(inputs), to.device);
    let (given, given_wide) = (moved(narrow)?, moved(wide)?);
    let (all, all_wide) = (narrow.all(&given)?, wide.all(&given_wide)?);
    let mut runs =
        Runs { narrow: narrow.interpreter.begin(&all), wide: wide.interpreter.begin(&all_wide), exact: wide };
    let steps = &narrow.interpreter.graph().steps;
    let mut reports = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        if let Some((own, so_far)) = runs.step(place)? {
            let line = step
                .line
                .as_ref()
                .map(|Line { file, number, code }| (format!("{file}:{number}"), code.clone()));
            reports.push(StepReport { place, operator: operator(step), own, so_far, line });
        }
    }
    Ok(Explained { operators: steps.len(), reports })
}

/// The same graph twice.
struct Runs<'a> {
    narrow: Running<'a>,
    wide: Running<'a>,
    exact: &'a Loaded,
}

impl Runs<'_> {
    /// Takes both one step further: by how much the step is off, by itself and in all; nothing where it makes no tensor.
    fn step(&mut self, place: usize) -> Result<Option<(f64, f64)>, Failure> {
        let failed = "the program failed";
        let alone = {
            let _computing = Computing::in_float64().at(Stage::Run, "computing in float64")?;
            let converted = |tensor: &tch::Tensor| {
                let copied = || {
                    let tensor = tensor.f_to(tch::Device::Cpu)?;
                    let mut copy = tensor.f_empty_like()?;
                    copy.f_copy_(&tensor).map(|()| copy)
                };
                copied().map_err(|error: tch::TchError| error.to_string()).and_then(widened)
            };
            self.wide.step(place).at(Stage::Run, failed)?;
            self.narrow.elsewhere(place, &self.exact.interpreter, converted).at(Stage::Run, failed)?
        };
        let _computing = Computing::begin();
        let size = self.narrow.given(place).into_iter().map(size).collect::<Result<Vec<_>, _>>()?;
        let size = size.into_iter().fold(0.0, f64::max);
        self.narrow.step(place).at(Stage::Run, failed)?;
        let made = self.narrow.made(place);
        let off = |exact: &[&tch::Tensor], size: f64| {
            let pairs = made.iter().zip(exact).map(|(made, exact)| difference(made, exact, size));
            pairs.collect::<Result<Vec<_>, _>>().map(|all| all.into_iter().fold(0.0, rule::nan_max))
        };
        let own = off(&Vec::from_iter(&alone), size)?;
        let so_far = off(&self.wide.made(place), 0.0)?;
        let any = !made.is_empty();
        self.narrow.forget_after(place);
        self.wide.forget_after(place);
        Ok(any.then_some((own, so_far)))
    }
}

/// The root mean square of what is finite in a float tensor; of others nothing.
fn size(tensor: &tch::Tensor) -> Result<f64, Failure> {
    let host = on_host(tensor)?;
    let finite = Vec::from_iter(host.to_f64().into_iter().filter(|value| value.abs() < rule::MARK));
    let squares = finite.iter().map(|value| value * value).sum::<f64>();
    Ok(if host.dtype.is_float() { (squares / finite.len().max(1) as f64).sqrt() } else { 0.0 })
}

/// A tensor on the host; complex numbers are two.
fn on_host(tensor: &tch::Tensor) -> Result<Tensor, Failure> {
    match tensor.kind() {
        Kind::ComplexFloat | Kind::ComplexDouble => {
            to_host(&tensor.f_view_as_real().at(Stage::Move, "a complex tensor to the host")?)
        }
        _ => to_host(tensor),
    }
}

/// The same tensor with zeros for what is not a number.
fn numbers(tensor: &Tensor) -> Tensor {
    tensor.map_float(|value| if value.is_nan() { 0.0 } else { value })
}

/// By how much a tensor is off, as a share of the size of the exact one or of `size`, whichever is larger: a difference of
/// large numbers is rounded as they are. A whole number is right or wrong.
fn difference(made: &tch::Tensor, exact: &tch::Tensor, size: f64) -> Result<f64, Failure> {
    let (x, r) = (on_host(made)?, on_host(exact)?);
    if x.shape() != r.shape() {
        return Ok(f64::INFINITY);
    }
    // What a softmax makes of nothing but minus infinities is not a number, and right.
    let (x, r) =
        match r.to_f64().iter().map(|value| value.is_nan()).eq(x.to_f64().iter().map(|value| value.is_nan()))
        {
            true => (numbers(&x), numbers(&r)),
            false => (x, r),
        };
    let none = Tensor::zeros(Dtype::Float64, r.shape());
    let whole = !r.dtype.is_float();
    let agreement =
        rule::judge(&x, &Reference { exact: r, error: none }, Tolerance::of(Dtype::Float64), |_| true);
    Ok(match agreement.error {
        0.0 => 0.0,
        _ if whole => 1.0,
        error => error / agreement.scale.max(size),
    })
}
