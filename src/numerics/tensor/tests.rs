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
