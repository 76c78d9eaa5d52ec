//! Entries → artifacts: starts the Python exporter for what changed and reports what became of it.
//!
//! In: spec entries. Out: `artifacts/<model>/`, and an outcome per entry. The exporter's own sources are part
//! of this binary, so that what runs is what the artifacts' keys were computed from.

pub mod adapters;
pub mod built;
mod driver;
pub mod environment;
mod jobs;
mod layers;
pub mod local;
pub mod lock;
mod pip;
mod python;
mod replay;
mod turn;
pub mod upstream;

pub use driver::{
    Anew, Certified, Embedding, ExportPlan, Exported, FaultOf, Freshness, Order, Progress, Reference,
    Weights, export, state,
};
pub use layers::first_differing;
pub use python::Python;
pub use replay::InPython;
pub use turn::Turn;

use crate::failure::{At, Failure, Stage};
use crate::spec::Versions;
use serde::Deserialize;
use serde::de::DeserializeOwned;
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
    told(versions, source, "exporter.inventory")
}

/// What the torch of a source says of TorchScript: `FutureWarning: …`, each once.
///
/// # Errors
/// Stage `export`: no environment, or a torch without TorchScript.
pub fn deprecated(versions: &Versions, source: &str) -> Result<Vec<String>, Failure> {
    told(versions, source, "exporter.deprecated")
}

/// What a module of the exporter prints that is asked nothing.
fn told<T: DeserializeOwned>(versions: &Versions, source: &str, module: &str) -> Result<T, Failure> {
    let mut said = String::new();
    Python::ready(versions, source)?.converse(module, &serde_json::Value::Null, |line| {
        said.push_str(line);
        Ok(())
    })?;
    serde_json::from_str(&said).at(Stage::Export, format!("reading what {module} says"))
}
