//! Tensors that stay where a program computed them.

use crate::failure::Failure;
use crate::numerics::Tensor;

/// A tensor on the device of the program that it belongs to. Its values are that program's alone; others see its shape.
#[derive(Debug)]
pub enum DeviceTensor {
    /// Of a program that runs on the host.
    Host(Tensor),
    /// libtorch's.
    #[cfg(feature = "libtorch")]
    Torch(tch::Tensor),
}

impl DeviceTensor {
    /// The sizes of all dimensions.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Host(tensor) => tensor.shape().to_vec(),
            #[cfg(feature = "libtorch")]
            Self::Torch(tensor) => super::libtorch::shape(tensor),
        }
    }
}

impl TryFrom<&DeviceTensor> for Tensor {
    type Error = Failure;

    /// The tensor of a program that runs on the host.
    fn try_from(tensor: &DeviceTensor) -> Result<Self, Failure> {
        match tensor {
            DeviceTensor::Host(tensor) => Ok(tensor.clone()),
            #[cfg(feature = "libtorch")]
            DeviceTensor::Torch(_) => {
                Err(Failure::new(crate::failure::Stage::Run, "the tensor is another engine's"))
            }
        }
    }
}
