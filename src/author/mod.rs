//! Entries written by the machine: a name goes in, an entry that runs comes out.
//!
//! In: names of architectures. Out: the text of family files with their entries in it. The way of a name:
//! `suggest` (Python finds the class and shrinks its config) → [`draft`] (what the spec would say, as YAML) →
//! [`trial`] (the ordinary spec, export and checks on the draft) → [`Desk`], which holds the files and writes them.

pub mod batch;
mod desk;
pub mod draft;
mod suggest;
pub mod trial;
pub mod validate;

pub use desk::{Desk, DeskError};
pub use draft::Draft;
pub use suggest::{Answer, Wish, suggest};
pub use trial::{Added, Trial, Tried};
