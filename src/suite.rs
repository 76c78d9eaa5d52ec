//! The root of the generated tests: mounts `generated/` under the name of the engine that runs them.
//!
//! With the `libtorch` feature every check of a module is a test. Without it a module has one test, whose path begins
//! with MOCK: what was written apart was held together, no model ran. Either build compiles the functions of both.

// The family encoder-decoder has a model of that name; a function that is a test of the other build is never called.
#![allow(clippy::module_inception, dead_code)]

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
