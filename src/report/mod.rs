//! What became of runs: the results store, and everything that is told from it.

pub mod compare;
pub mod cost;
pub mod coverage;
mod failure_text;
pub mod github;
pub mod junit;
pub mod machine;
pub mod matrix;
pub mod page;
mod record;
pub mod runs;
pub mod speed;
mod store;

pub use failure_text::failures;
pub use record::{About, Record, run};
pub use store::{Lines, append, append_to, end, last_by_check, line, lines, merged, path, read_since};
