//! The ground floor: how far two tensors are apart, and how far they may be. It knows nothing of models.

pub mod rule;

pub use rule::{Agreement, Measure, Reference, Ruling, Tolerance};
