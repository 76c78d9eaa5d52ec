//! Entries written by the machine: a name goes in, an entry that runs comes out.
//!
//! In: names of architectures. Out: the text of family files with their entries in it. The way of a name:
//! `suggest` (Python finds the class and shrinks its config) → [`draft`] (what the spec would say, as YAML) →
//! [`trial`] (the ordinary spec, export and checks on the draft) → [`SpecFiles`], which holds the files and writes them.

pub mod batch;
pub mod draft;
pub mod package;
pub mod readd;
mod refusal;
mod spec_files;
mod suggest;
pub mod trial;
pub mod validate;

// With the feature there is a Python environment: libtorch comes from it.
#[cfg(all(test, feature = "libtorch"))]
mod tests;

pub use draft::Draft;
pub use refusal::{Refusal, nearest};
pub use spec_files::{SpecFiles, SpecFilesError};
pub use suggest::{AddRequest, Answer, suggest};
pub use trial::{Added, Trial, Tried};
