//! The root of the generated tests: mounts `generated/` under the name of the engine that runs them.
//!
//! Without the `libtorch` feature the path of every test begins with MOCK: shapes were checked against
//! contracts, no model ran.

// The family encoder-decoder has a model of that name.
#![allow(clippy::module_inception)]

mod prelude {
    pub use hf_conformance::prelude::*;
}

#[cfg(feature = "libtorch")]
#[rustfmt::skip]
#[path = "../generated/mod.rs"]
mod libtorch;

#[cfg(not(feature = "libtorch"))]
#[allow(non_snake_case)]
#[rustfmt::skip]
#[path = "../generated/mod.rs"]
mod MOCK;
