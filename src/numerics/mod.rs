//! The ground floor: tensors of the host, how far two are apart, and how far they may be. It knows nothing of models.

pub mod rule;
mod tensor;

pub use rule::{Agreement, Measure, Reference, Ruling, Tolerance};
pub use tensor::{Tensor, TensorError, Values};
