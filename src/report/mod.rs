//! What became of runs: the results store, the words for a failure, the coverage of the roster.

pub mod coverage;
mod failure_text;
pub mod roster;
mod store;

pub use store::{Metric, Record, append, end, path, read_since};
