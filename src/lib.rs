//! Proof that HuggingFace models, exported to TorchScript, compute on libtorch what Python computes.
//!
//! The way of a model, from YAML to verdict:
//!
//! 1. [`spec`] reads `spec/*.yaml` into checked entries. [`task`] holds what each HuggingFace task promises.
//! 2. [`codegen`] writes one test module per entry below `generated/`; `build.rs` calls it.
//! 3. [`export`] has Python make an [`artifact`] of each entry: the real class with a tiny config, traced,
//!    with inputs and eager outputs beside it.
//! 4. The test target (`src/suite.rs`) mounts `generated/`; each test puts a [`model`] to a [`check`], which
//!    runs it on an [`engine`] and ends in a [`verdict`] or a [`failure`] that names its stage.
//! 5. [`runner`] says which checks are due and what a run of them comes to.
//! 6. [`report`] keeps every outcome and tells of them; [`mod@bench`] measures speed, [`doctor`] the machine.
//!
//! [`process`] starts children and ends them, with all that they started, at an interrupt too.
//! [`author`] goes the other way: from a name to an entry that runs. [`roster`] lists the names that must have one.
//! [`certify`] goes from somebody's own weights to a bundle that can be shipped.
//! [`schema`] tells editors what entries look like.

pub mod artifact;
pub mod author;
pub mod bench;
pub mod certify;
pub mod check;
pub mod codegen;
pub mod device;
pub mod doctor;
pub mod engine;
pub mod export;
pub mod failure;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod interpreter;
pub mod model;
pub mod numerics;
pub mod process;
pub mod report;
#[cfg(test)]
mod rooms;
pub mod roster;
pub mod runner;
pub mod schema;
pub mod spec;
pub mod task;
pub mod typed;
pub mod verdict;

/// What generated modules use.
pub mod prelude {
    pub use crate::engine::mock;
    pub use crate::model::{Model, ModelSpec, dynamic, fixed, idle, per, text};
    pub use crate::runner::check;
    pub use crate::spec::{Check, Waiver};
    pub use crate::task::*;
    pub use crate::verdict::Verdict;
}
