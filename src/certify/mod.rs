//! Somebody's own weights → a bundle that can be shipped, and what was proved of it.
//!
//! In: a checkpoint, a hub id or a folder. Out: `certified/NAME/` with programs, the files beside the weights, and
//! `certificate.json`. [`found`] asks Python what the checkpoint is, [`mod@subject`] makes an entry of it, which no file of the
//! spec holds, [`mod@prove`] puts that to all checks that are due, by the runner that tests use, and [`bundle`] writes what
//! passed. [`example`] puts a crate beside them that goes from a text to an answer. [`verify`] looks at a bundle later,
//! [`queue`] says which checkpoints of the roster have none yet.

pub mod bundle;
pub mod certificate;
pub mod example;
pub mod found;
mod page;
pub mod prove;
pub mod queue;
pub mod subject;
pub mod verify;

pub use certificate::Certificate;
pub use found::{Found, examine};
pub use prove::prove;
pub use subject::{Subject, subject};
