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
mod tests {
    use super::*;
    use safetensors::{Dtype as Stored, SafeTensors};

    fn int(shape: &[usize], values: &[i64]) -> Tensor {
        Tensor::int(Dtype::Int64, shape, values.to_vec()).unwrap()
    }

    fn float(shape: &[usize], values: &[f64]) -> Tensor {
        Tensor::float(Dtype::Float32, shape, values.to_vec()).unwrap()
    }

    /// Bytes as safetensors stores them.
    fn bytes<T, const N: usize>(values: &[T], bytes: fn(&T) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(bytes).collect()
    }

    /// What is read back of bytes that were written to a safetensors file.
    fn stored(dtype: Stored, shape: &[usize], bytes: &[u8]) -> Result<Tensor, TensorError> {
        let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        let file = safetensors::serialize([("a", view)], None).unwrap();
        SafeTensors::deserialize(&file).unwrap().tensor("a").unwrap().try_into()
    }

    #[test]
    fn tensors_are_joined_where_they_fit_together() {
        let joined = |tensors: &[&Tensor]| Tensor::joined(1, tensors);
        let (short, long) = (int(&[2, 1], &[1, 4]), int(&[2, 2], &[2, 3, 5, 6]));
        assert_eq!(joined(&[&short, &long]).unwrap(), int(&[2, 3], &[1, 2, 3, 4, 5, 6]));
        assert_eq!(joined(&[&int(&[2, 0], &[]), &long]).unwrap(), long);
        let apart = joined(&[&long, &int(&[1, 2], &[1, 2])]).unwrap_err().to_string();
        assert_eq!(apart, "tensors of shapes [[2, 2], [1, 2]] do not fit together");
        assert!(joined(&[&long, &float(&[2, 1], &[1.0, 2.0])]).is_err());
    }

    #[test]
    fn every_element_type_is_read_as_it_was_stored() {
        let halves = [0.0, -0.0, 1.5, -2.0, f64::INFINITY, 0.0625];
        let whole = |dtype, values: [i64; 2]| Tensor::int(dtype, &[2], values.to_vec()).unwrap();
        let real = |dtype, values: [f64; 6]| Tensor::float(dtype, &[2, 3], values.to_vec()).unwrap();
        let read = |dtype: Dtype| match dtype {
            Dtype::Bool => (stored(Stored::BOOL, &[2], &[0, 1]), whole(dtype, [0, 1])),
            Dtype::Uint8 => (stored(Stored::U8, &[2], &[0, 255]), whole(dtype, [0, 255])),
            Dtype::Int8 => {
                let values = [i8::MIN, i8::MAX];
                (
                    stored(Stored::I8, &[2], &bytes(&values, |v| v.to_le_bytes())),
                    whole(dtype, values.map(i64::from)),
                )
            }
            Dtype::Int16 => {
                let values = [i16::MIN, i16::MAX];
                (
                    stored(Stored::I16, &[2], &bytes(&values, |v| v.to_le_bytes())),
                    whole(dtype, values.map(i64::from)),
                )
            }
            Dtype::Int32 => {
                let values = [i32::MIN, i32::MAX];
                (
                    stored(Stored::I32, &[2], &bytes(&values, |v| v.to_le_bytes())),
                    whole(dtype, values.map(i64::from)),
                )
            }
            Dtype::Int64 => {
                let values = [i64::MIN, i64::MAX];
                (stored(Stored::I64, &[2], &bytes(&values, |v| v.to_le_bytes())), whole(dtype, values))
            }
            Dtype::Float16 => {
                let values = halves.map(f16::from_f64);
                (stored(Stored::F16, &[2, 3], &bytes(&values, |v| v.to_le_bytes())), real(dtype, halves))
            }
            Dtype::Bfloat16 => {
                let values = halves.map(bf16::from_f64);
                (stored(Stored::BF16, &[2, 3], &bytes(&values, |v| v.to_le_bytes())), real(dtype, halves))
            }
            Dtype::Float32 => {
                let values = [f32::MIN, f32::MAX, 0.1, -0.0, f32::MIN_POSITIVE, f32::NEG_INFINITY];
                let read = stored(Stored::F32, &[2, 3], &bytes(&values, |v| v.to_le_bytes()));
                (read, real(dtype, values.map(f64::from)))
            }
            Dtype::Float64 => {
                let values = [f64::MIN, f64::MAX, 0.1, -0.0, f64::MIN_POSITIVE, f64::NAN];
                (stored(Stored::F64, &[2, 3], &bytes(&values, |v| v.to_le_bytes())), real(dtype, values))
            }
        };
        for dtype in Dtype::ALL {
            let (read, expected) = read(dtype);
            let read = read.unwrap();
            assert!(read.same_bits(&expected), "{}: {read:?}, not {expected:?}", dtype.name());
        }
    }

    #[test]
    fn every_element_type_is_stored_as_it_was_read() {
        let whole = [Dtype::Bool, Dtype::Uint8, Dtype::Int8, Dtype::Int16, Dtype::Int32, Dtype::Int64];
        let real = [Dtype::Float16, Dtype::Bfloat16, Dtype::Float32, Dtype::Float64];
        let ints = whole.map(|dtype| {
            let low = if matches!(dtype, Dtype::Bool | Dtype::Uint8) { 0 } else { -1 };
            Tensor::int(dtype, &[2], vec![1, low]).unwrap()
        });
        let floats = real.map(|dtype| Tensor::float(dtype, &[2], vec![-0.5, 3.0]).unwrap());
        for tensor in ints.iter().chain(&floats) {
            let bytes = safetensors::serialize([("x", tensor)], None).unwrap();
            let stored = SafeTensors::deserialize(&bytes).unwrap();
            let read = Tensor::try_from(stored.tensor("x").unwrap()).unwrap();
            assert!(read.same_bits(tensor), "{:?}", tensor.dtype);
        }
    }

    #[test]
    fn an_element_type_that_no_tensor_here_has_is_refused_by_name() {
        let error = stored(Stored::U32, &[1], &[0; 4]).unwrap_err();
        assert_eq!(error.to_string(), "element type U32 is not supported");
    }

    #[test]
    fn a_tensor_of_every_type_and_shape_begins_as_zeros() {
        for dtype in Dtype::ALL {
            let zeros = Tensor::zeros(dtype, &[2, 0, 3]);
            assert_eq!((zeros.dtype, zeros.shape()), (dtype, &[2, 0, 3][..]));
            assert_eq!(matches!(zeros.values, Values::Float(_)), dtype.is_float(), "{}", dtype.name());
            assert_eq!(Tensor::zeros(dtype, &[]).to_f64(), [0.0], "a scalar is one element");
        }
    }

    #[test]
    fn values_that_do_not_fill_a_shape_are_refused() {
        let error = Tensor::int(Dtype::Int64, &[2, 3], vec![1; 5]).unwrap_err();
        assert_eq!(error.to_string(), "5 values do not fill shape [2, 3]");
        assert!(Tensor::float(Dtype::Float32, &[], Vec::new()).is_err());
    }

    #[test]
    fn the_same_bits_are_more_than_equal_numbers() {
        let zero = float(&[2], &[0.0, 1.0]);
        assert!(zero.same_bits(&zero.clone()));
        assert!(!zero.same_bits(&float(&[2], &[-0.0, 1.0])), "0.0 == -0.0, but their bits differ");
        let nan = float(&[1], &[f64::NAN]);
        assert!(nan != nan.clone() && nan.same_bits(&nan.clone()), "NaN != NaN, but their bits are the same");
        let other = f64::from_bits(f64::NAN.to_bits() | 1);
        assert!(!nan.same_bits(&float(&[1], &[other])), "a NaN of another payload");
    }

    #[test]
    fn the_same_bits_have_one_type_and_one_shape() {
        let ids = int(&[2, 1], &[1, 2]);
        assert!(!ids.same_bits(&int(&[1, 2], &[1, 2])));
        assert!(!ids.same_bits(&int(&[2, 1], &[1, 3])));
        assert!(!ids.same_bits(&Tensor { dtype: Dtype::Int32, ..ids.clone() }));
        assert!(!ids.same_bits(&Tensor { values: float(&[2, 1], &[1.0, 2.0]).values, ..ids.clone() }));
    }

    #[test]
    fn slices_come_in_the_order_that_is_asked_for() {
        let ids = int(&[2, 3], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(ids.select(1, &[2, 0, 2]), int(&[2, 3], &[3, 1, 3, 6, 4, 6]));
        assert_eq!(ids.select(0, &[1]), int(&[1, 3], &[4, 5, 6]));
        assert_eq!(ids.select(0, &[]).shape(), [0, 3]);
        assert_eq!(float(&[3], &[0.5, 1.5, 2.5]).select(0, &[1]), float(&[1], &[1.5]));
    }

    #[test]
    fn padding_goes_around_the_values_of_one_dimension() {
        let ids = int(&[2, 2], &[1, 2, 3, 4]);
        assert_eq!(ids.padded(1, 1, 2, 9.0), int(&[2, 5], &[9, 1, 2, 9, 9, 9, 3, 4, 9, 9]));
        assert_eq!(ids.padded(0, 0, 1, -1.0), int(&[3, 2], &[1, 2, 3, 4, -1, -1]));
        assert_eq!(ids.padded(1, 0, 0, 9.0), ids);
        assert_eq!(float(&[1], &[2.5]).padded(0, 1, 0, 0.5), float(&[2], &[0.5, 2.5]));
        let mask = Tensor::int(Dtype::Bool, &[1], vec![1]).unwrap().padded(0, 1, 0, 0.0);
        assert_eq!((mask.dtype, mask.to_f64()), (Dtype::Bool, vec![0.0, 1.0]));
    }

    #[test]
    fn whole_numbers_and_floats_are_mapped_each_by_its_own_function() {
        let ids = int(&[2, 2], &[1, 2, 3, 4]);
        let indexed = ids.map_int(|index, value| 100 * index[0] as i64 + 10 * index[1] as i64 + value);
        assert_eq!(indexed, int(&[2, 2], &[1, 12, 103, 114]));
        assert_eq!(ids.map_float(|_| f64::NAN), ids, "whole numbers stay");
        let floats = float(&[2], &[0.5, -0.0]);
        assert!(floats.map_int(|_, _| 7).same_bits(&floats), "floats stay, to the bit");
        assert_eq!(floats.map_float(|value| value + 1.0), float(&[2], &[1.5, 1.0]));
    }

    #[test]
    fn a_whole_number_is_found_by_its_index_and_nothing_else_is() {
        let ids = int(&[2, 2], &[1, 2, 3, 4]);
        assert_eq!(ids.int_at(&[1, 0]), Some(3));
        assert_eq!([ids.int_at(&[2, 0]), ids.int_at(&[0])], [None; 2]);
        assert_eq!(float(&[1], &[1.0]).int_at(&[0]), None);
    }

    #[test]
    fn a_cast_rounds_floats_to_even_and_leaves_whole_numbers_alone() {
        let cast = |value: f64, dtype| {
            let cast = Tensor::float(Dtype::Float64, &[1], vec![value]).unwrap().cast(dtype);
            assert_eq!(cast.dtype, dtype);
            cast.to_f64()[0]
        };
        // bfloat16 keeps 8 bits of a number, float16 11, float32 24: one half of the last bit is a tie.
        assert_eq!(
            [1.0 + 2f64.powi(-8), 1.0 + 3.0 * 2f64.powi(-8)].map(|v| cast(v, Dtype::Bfloat16)),
            [1.0, 1.015_625]
        );
        assert_eq!(cast(1.0 + 2f64.powi(-11), Dtype::Float16), 1.0);
        assert_eq!(cast(1.0 + 2f64.powi(-24), Dtype::Float32), 1.0);
        assert_eq!(cast(70_000.0, Dtype::Float16), f64::INFINITY);
        assert_eq!(cast(0.1, Dtype::Float64), 0.1);
        assert!(cast(f64::NAN, Dtype::Bfloat16).is_nan());
        assert!(cast(-0.0, Dtype::Bfloat16).is_sign_negative());
        let ids = int(&[2], &[1 << 40, -1]);
        assert!(ids.cast(Dtype::Bfloat16).same_bits(&ids));
    }

    #[test]
    #[should_panic(expected = "floats are cast to floats, not to int32")]
    fn a_cast_to_whole_numbers_is_a_mistake_of_the_program() {
        let _ = int(&[1], &[1]).cast(Dtype::Int32);
    }
}
