//! The toy: a program with an artifact and an engine of its own, and what may be wrong with it.

use super::artifact::BITS;
use super::step;
use crate::device::Device;
use crate::engine::{Engine, Program};
use crate::failure::{Failure, Stage};
use crate::numerics::Tensor;
use crate::task::Dtype;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

pub const VOCABULARY: usize = 16;

/// What is wrong with a toy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ToyFault {
    Nothing,
    Weight,
    MaskIgnored,
    FutureSeen,
    TokensIgnored,
    PositionsIgnored,
    PositionsFaint,
    PositionsHidden,
    PositionsBreak,
    LengthBaked,
    RowsMixed,
    Noise,
    Zero,
    NotANumber,
    Double,
    SavedWrong,
    OptimisedWrong,
    Slight,
    /// A billionth, in what decodes.
    SlightStep,
    HalfWrong,
    HalfWrongLater,
    OtherBits,
    OtherAttention,
    OtherParameters,
    OneOutputMissing,
    NarrowOutput,
    StaleCache,
    ShortCache,
    Fails,
    /// Its weight cannot be changed.
    Rigid,
    /// It does not load in float64, since a fault has nothing to take hold of.
    NothingToPlant,
}

pub struct Toy {
    pub fault: ToyFault,
    pub dtype: Dtype,
    scale: Mutex<f64>,
    runs: Mutex<usize>,
}

pub struct ToyEngine(pub ToyFault);

impl Toy {
    pub fn new(fault: ToyFault) -> Self {
        let scale = if fault == ToyFault::Weight { 1.001 } else { 1.0 };
        Self { fault, dtype: Dtype::Float32, scale: Mutex::new(scale), runs: Mutex::new(0) }
    }

    /// Logits in float64, `[batch, sequence, vocabulary]`.
    pub fn logits(&self, ids: &Tensor, mask: &Tensor, positions: &Tensor) -> Vec<f64> {
        let (rows, length) = (ids.shape()[0], ids.shape()[1]);
        let at = |tensor: &Tensor, row, position| tensor.int_at(&[row, position]).unwrap() as f64;
        let scale = *self.scale.lock().unwrap();
        let mut logits = Vec::new();
        for row in 0..rows {
            for t in 0..length {
                for v in 0..VOCABULARY {
                    let seen = if self.fault == ToyFault::FutureSeen { length } else { t + 1 };
                    let sum: f64 = (0..seen)
                        .filter(|&u| self.fault == ToyFault::MaskIgnored || at(mask, row, u) == 1.0)
                        .map(|u| {
                            let id =
                                if self.fault == ToyFault::TokensIgnored { 3.0 } else { at(ids, row, u) };
                            let distance = self.distance(at(positions, row, t) - at(positions, row, u));
                            ((id + 1.0) * (v as f64 + 1.0) * 0.37 + 0.3 * distance).sin()
                        })
                        .sum();
                    let hidden = match self.fault {
                        ToyFault::PositionsHidden if at(mask, row, t) == 0.0 => at(positions, row, t),
                        _ => 0.0,
                    };
                    logits.push(scale * sum + hidden);
                }
            }
        }
        logits
    }

    /// What the toy makes of the distance between two tokens.
    fn distance(&self, steps: f64) -> f64 {
        match self.fault {
            ToyFault::PositionsIgnored | ToyFault::PositionsHidden => 0.0,
            ToyFault::PositionsFaint => 8e-6 * steps,
            // Positions counted backwards have no root.
            ToyFault::PositionsBreak => steps.sqrt(),
            _ => steps,
        }
    }
}

impl Program for Toy {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        let [ids, mask, positions] = inputs else { unreachable!("the toy has three inputs") };
        let (rows, length) = (ids.shape()[0], ids.shape()[1]);
        let mut logits = self.logits(ids, mask, positions);
        let mut runs = self.runs.lock().unwrap();
        *runs += 1;
        match self.fault {
            ToyFault::Fails => {
                return Err(Failure::new(Stage::Run, "the program failed: out of toys"));
            }
            ToyFault::OneOutputMissing => return Ok(Vec::new()),
            ToyFault::Noise => logits[0] += 1e-7 * *runs as f64,
            ToyFault::Zero => logits.fill(0.0),
            ToyFault::NotANumber => logits[5] = f64::NAN,
            ToyFault::HalfWrong if self.dtype == Dtype::Bfloat16 => {
                logits.iter_mut().for_each(|value| *value *= 1.1)
            }
            ToyFault::HalfWrongLater if self.dtype == Dtype::Bfloat16 && *runs == 2 => {
                logits.iter_mut().for_each(|value| *value *= 1.1)
            }
            ToyFault::Slight => logits.iter_mut().for_each(|value| *value *= 1.0 + 1e-9),
            ToyFault::LengthBaked if length > 6 => logits[6 * VOCABULARY..].fill(0.25),
            ToyFault::RowsMixed => {
                let mean = logits.iter().sum::<f64>() / logits.len() as f64;
                logits.iter_mut().for_each(|value| *value += 1e-3 * mean);
            }
            _ => {}
        }
        let dtype = if self.fault == ToyFault::Double { Dtype::Float64 } else { self.dtype };
        let width = if self.fault == ToyFault::NarrowOutput { VOCABULARY - 1 } else { VOCABULARY };
        logits.truncate(rows * length * width);
        let logits = Tensor::float(dtype, &[rows, length, width], logits).unwrap().cast(dtype);
        Ok(vec![logits])
    }

    fn served(&self, inputs: &[Tensor], _: usize) -> Result<Vec<Tensor>, Failure> {
        let wrong = if self.fault == ToyFault::OptimisedWrong { 1e-3 } else { 0.0 };
        self.perturb("", 0, wrong)?;
        self.run(inputs)
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>, Failure> {
        let name =
            if self.fault == ToyFault::OtherParameters { "model.other" } else { "model.layers.0.scale" };
        Ok(vec![(name.to_owned(), vec![1, 1])])
    }

    fn save(&self, path: &Path) -> Result<(), Failure> {
        let wrong = if self.fault == ToyFault::SavedWrong { 0.5 } else { 0.0 };
        std::fs::write(path, (*self.scale.lock().unwrap() + wrong).to_string()).unwrap();
        Ok(())
    }

    fn digests(&self, names: &[String]) -> Result<BTreeMap<String, String>, Failure> {
        let bits = if self.fault == ToyFault::OtherBits { "1001" } else { BITS };
        Ok(names.iter().map(|name| (name.clone(), bits.to_owned())).collect())
    }

    fn parameter(&self, _: &str) -> Result<Tensor, Failure> {
        Ok(Tensor::float(Dtype::Float32, &[1], vec![*self.scale.lock().unwrap()]).unwrap())
    }

    fn perturb(&self, _: &str, _: usize, delta: f64) -> Result<(), Failure> {
        *self.scale.lock().unwrap() += if self.fault == ToyFault::Rigid { 0.0 } else { delta };
        Ok(())
    }
}

/// Whether the program of that file decodes with a cache.
fn decodes(path: &Path) -> bool {
    path.ends_with("program.decode.pt") || path.ends_with("program.prefill.pt")
}

impl Engine for ToyEngine {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn load(&self, path: &Path, _: Device) -> Result<Box<dyn Program>, Failure> {
        let other = self.0 == ToyFault::OtherAttention && path.ends_with("program.eager.pt");
        let mut toy = Toy::new(if other { ToyFault::OtherBits } else { self.0 });
        if decodes(path) {
            return Ok(Box::new(step::Step(toy)));
        }
        if path.ends_with("program.bfloat16.pt") {
            toy.dtype = Dtype::Bfloat16;
        } else {
            // A saved copy; the artifact's own program is no file.
            let saved = std::fs::read_to_string(path).ok().map(|scale| scale.parse().unwrap());
            saved.into_iter().for_each(|scale| toy.scale = Mutex::new(scale));
        }
        Ok(Box::new(toy))
    }

    fn load_in_float64(&self, path: &Path, _: Device) -> Result<Box<dyn Program>, Failure> {
        if self.0 == ToyFault::NothingToPlant {
            return Err(Failure::not_applicable("a toy is all of a piece"));
        }
        let toy = Toy { dtype: Dtype::Float64, ..Toy::new(self.0) };
        match decodes(path) {
            true => Ok(Box::new(step::Step(toy))),
            false => Ok(Box::new(toy)),
        }
    }
}
