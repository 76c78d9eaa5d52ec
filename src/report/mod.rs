//! What became of runs: the results store, and everything that is told from it.

pub mod compare;
pub mod cost;
pub mod coverage;
pub mod decoding;
mod failure_text;
pub mod github;
pub mod journal;
pub mod junit;
pub mod latest;
pub mod machine;
pub mod matrix;
pub mod page;
mod record;
pub mod runs;
#[cfg(test)]
pub(crate) mod samples;
mod share;
pub mod speed;
mod store;

pub use failure_text::told;
pub use record::{About, RUN, Record, run};
pub use share::Share;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use store::lines_in;
pub use store::{Lines, append, append_to, end, line, lines, lines_since, merged, path, read_since};
