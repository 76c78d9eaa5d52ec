//! `batch_invariant`: a row's outputs do not depend on the rows beside it.

use super::context::{CheckContext, CheckResult, Expectation, rows_of};
use crate::artifact::Change;
use crate::spec::Check;

/// Runs every row of the traced case alone and holds it against its row of the batch's references.
pub fn check(context: &CheckContext) -> CheckResult {
    let rows = context.rows();
    let mut measures = Vec::new();
    for situation in context.situations(Check::BatchInvariant)? {
        let Change::Row { row } = situation.change else { continue };
        let returned = context.run(&context.inputs(&situation.name)?)?;
        let expectation = Expectation {
            yardstick: &situation.name,
            told: format!("row {row} alone"),
            part: &|port, reference| rows_of(&reference, port.shape, &rows, &[row]),
            ..context.whole(Check::BatchInvariant, "traced")
        };
        measures.extend(context.hold(&expectation, context.model.outputs.iter().zip(&returned))?);
    }
    Ok(measures)
}
