//! Tensors on the host, in the widest type of their kind, so that checks need no case per element type.
//!
//! In: safetensors views, engine outputs. Out: [`Tensor`]: an element type and an n-dimensional array of
//! `i64` or `f64`. Widening is exact for every type in [`Dtype`], so bit equality survives it.

use crate::task::Dtype;
use half::{bf16, f16};
use ndarray::{ArrayD, Axis, IxDyn, concatenate};
use safetensors::View;
use safetensors::tensor::TensorView;
use std::borrow::Cow;

/// A host tensor: values widened, the original element type kept beside them.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dtype: Dtype,
    pub values: Values,
}

/// The values of a tensor, in row-major order of its shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Whole numbers and truth values.
    Int(ArrayD<i64>),
    /// Floating-point numbers of any width.
    Float(ArrayD<f64>),
}

/// A tensor whose type or bytes are not what this harness can hold.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    #[error("element type {0} is not supported")]
    Dtype(String),
    #[error("{0} values do not fill shape {1:?}")]
    Shape(usize, Vec<usize>),
    #[error("tensors of shapes {0:?} do not fit together")]
    Join(Vec<Vec<usize>>),
}

impl Tensor {
    /// A float tensor of `shape` from row-major values.
    pub fn float(dtype: Dtype, shape: &[usize], values: Vec<f64>) -> Result<Self, TensorError> {
        let count = values.len();
        ArrayD::from_shape_vec(IxDyn(shape), values)
            .map(|array| Self { dtype, values: Values::Float(array) })
            .map_err(|_| TensorError::Shape(count, shape.to_vec()))
    }

    /// A tensor of whole numbers or truth values of `shape` from row-major values.
    pub fn int(dtype: Dtype, shape: &[usize], values: Vec<i64>) -> Result<Self, TensorError> {
        let count = values.len();
        ArrayD::from_shape_vec(IxDyn(shape), values)
            .map(|array| Self { dtype, values: Values::Int(array) })
            .map_err(|_| TensorError::Shape(count, shape.to_vec()))
    }

    /// Zeros of `shape`.
    pub fn zeros(dtype: Dtype, shape: &[usize]) -> Self {
        let values = match dtype.is_float() {
            true => Values::Float(ArrayD::zeros(IxDyn(shape))),
            false => Values::Int(ArrayD::zeros(IxDyn(shape))),
        };
        Self { dtype, values }
    }

    /// The sizes of all dimensions.
    pub fn shape(&self) -> &[usize] {
        match &self.values {
            Values::Int(array) => array.shape(),
            Values::Float(array) => array.shape(),
        }
    }

    /// All values as `f64`, in row-major order.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.values {
            Values::Int(array) => array.iter().map(|&value| value as f64).collect(),
            Values::Float(array) => array.iter().copied().collect(),
        }
    }

    /// Whether both hold the same type, shape and values to the last bit.
    pub fn same_bits(&self, other: &Self) -> bool {
        let floats = |array: &ArrayD<f64>| array.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        self.dtype == other.dtype
            && self.shape() == other.shape()
            && match (&self.values, &other.values) {
                (Values::Int(a), Values::Int(b)) => a == b,
                (Values::Float(a), Values::Float(b)) => floats(a) == floats(b),
                _ => false,
            }
    }

    /// Tensors of one kind, one after the other along `dim`; all other sizes are the same.
    ///
    /// # Errors
    /// They do not fit together.
    pub fn joined(dim: usize, tensors: &[&Self]) -> Result<Self, TensorError> {
        let apart = || TensorError::Join(tensors.iter().map(|tensor| tensor.shape().to_vec()).collect());
        let ints =
            || tensors.iter().map(|tensor| tensor.ints().map(ArrayD::view)).collect::<Option<Vec<_>>>();
        let floats =
            || tensors.iter().map(|tensor| tensor.floats().map(ArrayD::view)).collect::<Option<Vec<_>>>();
        let values = match (ints(), floats()) {
            (Some(ints), _) => Values::Int(concatenate(Axis(dim), &ints).map_err(|_| apart())?),
            (_, Some(floats)) => Values::Float(concatenate(Axis(dim), &floats).map_err(|_| apart())?),
            _ => return Err(apart()),
        };
        Ok(Self { dtype: tensors[0].dtype, values })
    }

    fn ints(&self) -> Option<&ArrayD<i64>> {
        match &self.values {
            Values::Int(array) => Some(array),
            Values::Float(_) => None,
        }
    }

    fn floats(&self) -> Option<&ArrayD<f64>> {
        match &self.values {
            Values::Float(array) => Some(array),
            Values::Int(_) => None,
        }
    }

    /// The slices at `indices` along `dim`, in that order.
    #[must_use]
    pub fn select(&self, dim: usize, indices: &[usize]) -> Self {
        let values = match &self.values {
            Values::Int(array) => Values::Int(array.select(Axis(dim), indices)),
            Values::Float(array) => Values::Float(array.select(Axis(dim), indices)),
        };
        Self { dtype: self.dtype, values }
    }

    /// The same shape with every whole number replaced by `f(index, value)`; floats stay.
    #[must_use]
    pub fn map_int(&self, mut f: impl FnMut(&[usize], i64) -> i64) -> Self {
        let mut mapped = self.clone();
        if let Values::Int(array) = &mut mapped.values {
            for (index, value) in array.indexed_iter_mut() {
                *value = f(ndarray::Dimension::slice(&index), *value);
            }
        }
        mapped
    }

    /// The same shape with every float replaced by `f(value)`; whole numbers stay.
    #[must_use]
    pub fn map_float(&self, f: impl Fn(f64) -> f64) -> Self {
        let mut mapped = self.clone();
        if let Values::Float(array) = &mut mapped.values {
            array.mapv_inplace(f);
        }
        mapped
    }

    /// `before` and `after` copies of `value` put around the values along `dim`.
    #[must_use]
    pub fn padded(&self, dim: usize, before: usize, after: usize, value: f64) -> Self {
        fn grown<T: Clone>(
            array: &ArrayD<T>,
            dim: usize,
            before: usize,
            after: usize,
            value: T,
        ) -> ArrayD<T> {
            let mut shape = array.shape().to_vec();
            let length = shape[dim];
            shape[dim] += before + after;
            let mut padded = ArrayD::from_elem(IxDyn(&shape), value);
            let inner = before as isize..(before + length) as isize;
            padded.slice_axis_mut(Axis(dim), inner.into()).assign(array);
            padded
        }
        let values = match &self.values {
            Values::Int(array) => Values::Int(grown(array, dim, before, after, value as i64)),
            Values::Float(array) => Values::Float(grown(array, dim, before, after, value)),
        };
        Self { dtype: self.dtype, values }
    }

    /// The whole number at `index`; `None` outside the shape or in a float tensor.
    pub fn int_at(&self, index: &[usize]) -> Option<i64> {
        match &self.values {
            Values::Int(array) => array.get(IxDyn(index)).copied(),
            Values::Float(_) => None,
        }
    }

    /// Floats rounded to another float type, ties to even; whole numbers stay as they are: inputs of half programs.
    ///
    /// # Panics
    /// When `dtype` is not a float type.
    #[must_use]
    pub fn cast(&self, dtype: Dtype) -> Self {
        let round: fn(f64) -> f64 = match dtype {
            Dtype::Bfloat16 => |value| bf16::from_f64(value).to_f64(),
            Dtype::Float16 => |value| f16::from_f64(value).to_f64(),
            Dtype::Float32 => |value| f64::from(value as f32),
            Dtype::Float64 => |value| value,
            whole => panic!("floats are cast to floats, not to {}", whole.name()),
        };
        match self.values {
            Values::Float(_) => Self { dtype, ..self.map_float(round) },
            Values::Int(_) => self.clone(),
        }
    }
}

impl TryFrom<TensorView<'_>> for Tensor {
    type Error = TensorError;

    fn try_from(view: TensorView<'_>) -> Result<Self, TensorError> {
        use safetensors::Dtype as Stored;
        let (data, shape) = (view.data(), view.shape());
        let int = |dtype, values| Self::int(dtype, shape, values);
        let float = |dtype, values| Self::float(dtype, shape, values);
        match view.dtype() {
            Stored::BOOL => int(Dtype::Bool, data.iter().map(|&byte| i64::from(byte)).collect()),
            Stored::U8 => int(Dtype::Uint8, data.iter().map(|&byte| i64::from(byte)).collect()),
            Stored::I8 => int(Dtype::Int8, chunks(data).map(|b| i64::from(i8::from_le_bytes(b))).collect()),
            Stored::I16 => {
                int(Dtype::Int16, chunks(data).map(|b| i64::from(i16::from_le_bytes(b))).collect())
            }
            Stored::I32 => {
                int(Dtype::Int32, chunks(data).map(|b| i64::from(i32::from_le_bytes(b))).collect())
            }
            Stored::I64 => int(Dtype::Int64, chunks(data).map(i64::from_le_bytes).collect()),
            Stored::F16 => {
                float(Dtype::Float16, chunks(data).map(|b| f16::from_le_bytes(b).to_f64()).collect())
            }
            Stored::BF16 => {
                float(Dtype::Bfloat16, chunks(data).map(|b| bf16::from_le_bytes(b).to_f64()).collect())
            }
            Stored::F32 => {
                float(Dtype::Float32, chunks(data).map(|b| f64::from(f32::from_le_bytes(b))).collect())
            }
            Stored::F64 => float(Dtype::Float64, chunks(data).map(f64::from_le_bytes).collect()),
            other => Err(TensorError::Dtype(format!("{other:?}"))),
        }
    }
}

impl View for &Tensor {
    fn dtype(&self) -> safetensors::Dtype {
        use safetensors::Dtype as Stored;
        match self.dtype {
            Dtype::Bool => Stored::BOOL,
            Dtype::Uint8 => Stored::U8,
            Dtype::Int8 => Stored::I8,
            Dtype::Int16 => Stored::I16,
            Dtype::Int32 => Stored::I32,
            Dtype::Int64 => Stored::I64,
            Dtype::Float16 => Stored::F16,
            Dtype::Bfloat16 => Stored::BF16,
            Dtype::Float32 => Stored::F32,
            Dtype::Float64 => Stored::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        Tensor::shape(self)
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // Values are widened, so that narrowing them gives what was stored.
        let narrow: fn(f64) -> Vec<u8> = match self.dtype {
            Dtype::Float16 => |value| f16::from_f64(value).to_le_bytes().to_vec(),
            Dtype::Bfloat16 => |value| bf16::from_f64(value).to_le_bytes().to_vec(),
            Dtype::Float32 => |value| (value as f32).to_le_bytes().to_vec(),
            _ => |value| value.to_le_bytes().to_vec(),
        };
        let width = View::dtype(self).bitsize() / 8;
        Cow::Owned(match &self.values {
            Values::Float(array) => array.iter().flat_map(|&value| narrow(value)).collect(),
            // Of a whole number in little-endian order, the first bytes are the narrower one.
            Values::Int(array) => {
                array.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect()
            }
        })
    }

    fn data_len(&self) -> usize {
        Tensor::shape(self).iter().product::<usize>() * View::dtype(self).bitsize() / 8
    }
}

/// Little-endian elements of `N` bytes.
fn chunks<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> {
    data.chunks_exact(N).map(|chunk| chunk.try_into().expect("chunks are exact"))
}

#[cfg(test)]
mod tests;
