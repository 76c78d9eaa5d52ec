//! Entries → artifacts: starts the Python exporter for what changed and reports what became of it.
//!
//! In: spec entries. Out: `artifacts/<model>/`, and an outcome per entry. The exporter's own sources are part
//! of this binary, so that what runs is what the artifacts' keys were computed from.

pub mod adapters;
mod code;
mod driver;
pub mod environment;
mod layers;
pub mod local;
pub mod lock;
mod pip;
mod python;
mod replay;
mod sources;
pub mod upstream;

pub use driver::{
    Certified, Embedding, ExportPlan, Exported, FaultOf, Freshness, Order, Progress, Weights, export, state,
};
pub use layers::first_differing;
pub use python::Python;
pub use replay::InPython;
pub use sources::unpack;

use crate::artifact::Beside;
use crate::failure::{At, Failure, Stage};
use crate::numerics::rule;
use crate::spec::Versions;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What a release of transformers holds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Inventory {
    /// Where its files are.
    pub folder: PathBuf,
    /// Those that have a model class.
    pub model_types: BTreeSet<String>,
    /// What the auto classes build of them.
    pub classes: BTreeSet<String>,
}

/// Asks a source for what it holds.
///
/// # Errors
/// Stage `export`: no environment, or a package without such lists.
pub fn inventory(versions: &Versions, source: &str) -> Result<Inventory, Failure> {
    let mut said = String::new();
    Python::ready(versions, source)?.converse("exporter.inventory", &serde_json::Value::Null, |line| {
        said.push_str(line);
        Ok(())
    })?;
    serde_json::from_str(&said).at(Stage::Export, "reading the inventory")
}

/// What the exporter is told of the numerical rule: it looks for parameters that move no output by more than it allows.
pub(crate) fn rule() -> serde_json::Value {
    serde_json::json!({"k": rule::K, "floor": rule::FLOOR, "mark": rule::MARK})
}

/// What an artifact of a model type was made from: `asked` of the entry, and the digest of the exporter's code for
/// that type. Only who has built the model knows its type: the exporter puts the two together in the same way.
pub fn key(entry_digest: &str, model_type: Option<&str>) -> String {
    format!("{}-{}", asked(entry_digest), code::digests().of(model_type))
}

/// What the exporter is asked for: a sha256 over the entry (with its pins) and the numerical rule.
fn asked(entry_digest: &str) -> String {
    format!("{:x}", Sha256::new().chain_update(entry_digest).chain_update(rule().to_string()).finalize())
}

/// What the files beside an artifact were made from: what the artifact was, by its key, and the code for those files alone.
pub fn key_beside(what: Beside, artifact: &str) -> String {
    let code = sources::of(what).iter();
    format!("{:x}", code.fold(Sha256::new().chain_update(artifact), Sha256::chain_update).finalize())
}
