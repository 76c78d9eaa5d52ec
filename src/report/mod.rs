//! What became of a run: the results store and the words for a failure.

mod failure_text;
mod store;

pub use store::{Record, all, append, last, path, read};
