//! In which layer a program first leaves the model that it was traced from.
//!
//! In: an entry. Out: the layer's name. The exporter traces the model anew, with what its layers return, so that the
//! programs that are shipped need not return it.

use super::jobs::{Answer, Question, ask};
use crate::failure::{Failure, Stage};
use crate::spec::{Entry, Spec};

/// The first layer, in order of execution, whose output in the traced case is further from float64 than eager's rounding
/// explains; `None` where there is none.
///
/// # Errors
/// Stage `export`: no environment, or a model that cannot be traced.
pub fn first_differing(spec: &Spec, entry: &Entry) -> Result<Option<String>, Failure> {
    let failed = |reason: String| Failure::new(Stage::Export, reason);
    let mut layer = Err(failed("the exporter ended before it had looked into the layers".to_owned()));
    ask(spec, "exporter.layers", [Question { entry, without: None }], |Answer { found, .. }| {
        layer = found.map_err(failed);
        Ok(())
    })?;
    layer
}
