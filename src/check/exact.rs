//! `exact`: without rounding, the graph is eager Python.
//!
//! The other checks allow what float32 may round, and a mistake that is smaller than that passes them. A graph is data: with
//! float64 in the place of every float32 (weights, constants, inputs, and what operators are told to make) it has to give
//! what eager gives in float64, to the order of its sums.

use super::context::{CheckContext, CheckResult};
use super::{body, decodes};
use crate::artifact::Decoding;
use crate::device::Device;
use crate::model::ModelSpec;
use crate::spec::Check;
use crate::task::Dtype;

/// Puts the graph in float64 to every comparison that is made of it in float32: all cases, and what is done to the traced one;
/// and the graphs that decode to every step of the stored row.
pub fn check(context: &CheckContext) -> CheckResult {
    // MPS has no float64; a graph is the same everywhere.
    let device = if context.device == Device::Mps { Device::Cpu } else { context.device };
    // What an entry waives is eager's rounding, which is not there.
    let model = ModelSpec { tolerance: &[], ..*context.model };
    let wide = CheckContext { model: &model, device, precision: Dtype::Float64, ..*context };
    let program = wide.load(&wide.artifact.program(Dtype::Float32))?;
    let exact = CheckContext { program: program.as_ref(), ..wide };
    let situations = &context.artifact.manifest.situations;
    let situated = [Check::BatchInvariant, Check::PaddingInvariant, Check::Causal]
        .into_iter()
        .filter(|check| situations.iter().any(|situation| situation.change.check() == *check));
    let mut measures = Vec::new();
    for check in [Check::MatchesReference, Check::Generalises].into_iter().chain(situated) {
        measures.extend(body(check)(&exact)?);
    }
    if let Some(Decoding::Program(_)) = context.artifact.manifest.decoding {
        measures.extend(decodes::reads(&exact, &exact.decoder()?)?);
    }
    Ok(measures)
}
