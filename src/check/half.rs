//! `half`: the program traced in a half precision computes what eager computes in that precision.

use super::context::{CheckContext, CheckResult, Expectation};
use super::loads;
use crate::failure::{Failure, Stage};
use crate::numerics::Tensor;
use crate::spec::Check;
use crate::task::{Dtype, Output};

/// How often the program runs.
const RUNS: usize = 3;

/// Runs the program in half precision on the traced case, three times in a row, and holds it to what eager computes in that
/// precision on that kind of device. One run is not enough: kernels that are compiled on the way have been wrong from the
/// second on.
///
/// How far those are from float64 is the precision's doing, not the program's. But where a zero would be nearer,
/// nobody can use the outputs, and to equal them proves nothing.
pub fn check(context: &CheckContext) -> CheckResult {
    let precision = context.artifact.lane.half;
    let program = context.load(&context.artifact.program(precision))?;
    loads::weights(program.as_ref(), context.artifact.digests(precision)?)?;
    let inputs: Vec<Tensor> = context.inputs("traced")?.iter().map(|input| input.cast(precision)).collect();
    for output in context.model.outputs {
        usable(context, output, precision)?;
    }
    let (mut measures, mut before) = (Vec::new(), Vec::new());
    for run in 1..=RUNS {
        let outputs = context.complete(program.run(&inputs)?)?;
        if run > 1
            && outputs.iter().zip(&before).all(|(now, before): (&Tensor, &Tensor)| now.same_bits(before))
        {
            continue;
        }
        let told =
            if run == 1 { precision.name().to_owned() } else { format!("{}, run {run}", precision.name()) };
        let expectation =
            Expectation { told, precision, truth: precision, ..context.whole(Check::Half, "traced") };
        measures.extend(context.hold(&expectation, context.model.outputs.iter().zip(&outputs))?);
        before = outputs;
    }
    Ok(measures)
}

/// Whether eager's half precision outputs are nearer to float64 than zeros are.
fn usable(context: &CheckContext, output: &Output, precision: Dtype) -> Result<(), Failure> {
    let of = |dtype| Ok(context.artifact.reference("traced", dtype, &output.name)?.to_f64());
    let (half, exact) = (of(precision)?, of(Dtype::Float64)?);
    let error = context.artifact.error("traced", precision, &output.name)?.to_f64();
    let seen =
        || half.iter().zip(&exact).zip(&error).filter(|(_, error)| !error.is_nan()).map(|(pair, _)| pair);
    let off: f64 = seen().filter(|(a, b)| a != b).map(|(a, b)| (a - b) * (a - b)).sum();
    let size: f64 = seen().filter(|(_, value)| value.is_finite()).map(|(_, value)| value * value).sum();
    match off < size || off == 0.0 {
        true => Ok(()),
        false => Err(Failure::no_yardstick(
            Stage::Compare,
            format!(
                "{}: eager {} is further from float64 than zeros would be ({:.0} % of the output's size)",
                output.name,
                precision.name(),
                100.0 * (off / size).sqrt()
            ),
        )),
    }
}
