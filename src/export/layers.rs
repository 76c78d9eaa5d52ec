//! In which layer a program first leaves the model that it was traced from.
//!
//! In: an entry. Out: the layer's name. The exporter traces the model anew, with what its layers return, so that the
//! programs that are shipped need not return it.

use super::driver::{TIMEOUT_SECONDS, job, request};
use super::{Order, Python};
use crate::artifact;
use crate::failure::{At, Failure, Stage};
use crate::spec::{Entry, Spec};
use serde::Deserialize;

/// A line of the exporter's standard output.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Ready {},
    Started {},
    Done { result: Option<String> },
    Failed { reason: String },
}

/// The first layer, in order of execution, whose output in the traced case is further from float64 than eager's rounding
/// explains; `None` where there is none.
///
/// # Errors
/// Stage `export`: no environment, or a model that cannot be traced.
pub fn first_differing(spec: &Spec, entry: &Entry) -> Result<Option<String>, Failure> {
    let order = job(spec, &artifact::root(), &Order::plain(entry))?;
    let mut found =
        Err(Failure::new(Stage::Export, "the exporter ended before it had looked into the layers"));
    Python::ready(&spec.versions, &entry.source)?.converse(
        "exporter.layers",
        &request(vec![order], TIMEOUT_SECONDS),
        |line| {
            match serde_json::from_str(line).at(Stage::Export, format!("exporter said '{line}'"))? {
                Event::Ready {} | Event::Started {} => {}
                Event::Done { result } => found = Ok(result),
                Event::Failed { reason } => found = Err(Failure::new(Stage::Export, reason)),
            }
            Ok(())
        },
    )?;
    found
}
