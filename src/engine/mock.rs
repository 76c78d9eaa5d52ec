//! The stand-in for builds without libtorch: shapes as the contract says, no numbers.
//!
//! It shows that generated modules compile and that their contracts hang together. It proves nothing
//! about a model, so its results are marked MOCK and never count.

use super::Tensor;
use crate::model::Card;
use crate::spec::{Case, cases};
use crate::task::{Dim, Shape};
use std::collections::BTreeMap;

/// Shapes of a model's inputs and outputs, worked out from its card alone.
pub struct Mock<'a> {
    card: &'a Card<'a>,
}

/// Size of a symbol that only a config could give.
const CONFIG_SIZE: usize = 8;

impl<'a> Mock<'a> {
    /// The stand-in for that model.
    pub fn new(card: &'a Card<'a>) -> Self {
        Self { card }
    }

    /// The cases the exporter would make.
    pub fn cases(&self) -> Vec<Case> {
        cases(self.card.axes.iter().map(|(name, axis)| (name.as_ref(), axis)))
    }

    /// Zero inputs of a case, in the contract's order.
    pub fn inputs(&self, case: &Case) -> Vec<Tensor> {
        let ports = self.card.inputs.iter();
        ports.map(|port| Tensor::zeros(port.dtype, &shape(port.shape, &case.sizes))).collect()
    }

    /// Zero outputs of a case, in the contract's order.
    pub fn outputs(&self, case: &Case) -> Vec<Tensor> {
        let ports = self.card.outputs.iter();
        ports.map(|port| Tensor::zeros(port.dtype, &shape(port.shape, &case.sizes))).collect()
    }
}

/// Sizes for the symbols of a shape.
fn shape(shape: Shape, sizes: &BTreeMap<String, usize>) -> Vec<usize> {
    let size = |dim: &Dim| match dim {
        Dim::Size(size) => *size,
        Dim::Named(name) => sizes.get(name.as_ref()).copied().unwrap_or(CONFIG_SIZE),
    };
    shape.iter().map(size).collect()
}
