//! ATen's operators by name, through `shim.cpp`.
//!
//! In: an operator's name and its arguments. Out: a [`Call`] that has been looked up and has its constants, to be made
//! again and again. Tensors cross as the pointers that tch holds, without copies; errors of C++ come back as text.

use super::sizes::Number;
use crate::engine::shim::{owned, owned_all, told};
use std::ffi::{CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use tch::Tensor;

/// An argument, as it is given to an operator.
pub enum Given<'a> {
    None,
    Tensor(&'a Tensor),
    Tensors(Pointers<'a>),
    Number(Number),
    Ints(Vec<i64>),
    Floats(&'a [f64]),
    Bools(&'a [bool]),
    Text(&'a str),
    Device(&'a str),
    /// It comes with each call.
    Later,
}

/// Tensors, or none, for an operator that takes a list.
pub struct Pointers<'a> {
    pointers: Vec<*const c_void>,
    tensors: PhantomData<&'a Tensor>,
}

impl<'a> FromIterator<Option<&'a Tensor>> for Pointers<'a> {
    fn from_iter<I: IntoIterator<Item = Option<&'a Tensor>>>(tensors: I) -> Self {
        let pointer = |tensor: Option<&Tensor>| tensor.map_or(ptr::null(), |tensor| tensor.as_ptr().cast());
        Self { pointers: tensors.into_iter().map(pointer).collect(), tensors: PhantomData }
    }
}

/// What an operator returned.
#[derive(Debug)]
pub enum Returned {
    None,
    Tensor(Tensor),
    Tensors(Vec<Tensor>),
    Number(Number),
}

/// An operator with its constants.
pub struct Call {
    call: NonNull<c_void>,
    /// Positions of the arguments that were given, in the order in which they were.
    places: Vec<i32>,
    returns: usize,
}

// SAFETY: a call is only read once it is made: its operator's handle and its constants, none of which is a tensor.
unsafe impl Send for Call {}
// SAFETY: as above.
unsafe impl Sync for Call {}

impl Call {
    /// Looks up an operator; what is not given has the default that its schema says.
    ///
    /// # Errors
    /// No such operator in this libtorch, an argument that it does not have, or one that it needs and is not given.
    pub fn prepare(name: &str, overload: &str, given: &[(&str, Given)]) -> Result<Self, String> {
        let text = |text: &str| CString::new(text).map_err(|_| format!("'{text}' is no name"));
        let (name, overload) = (text(name)?, text(overload)?);
        let names = given.iter().map(|(name, _)| text(name)).collect::<Result<Vec<_>, _>>()?;
        let named: Vec<RawNamed> = names
            .iter()
            .zip(given)
            .map(|(name, (_, given))| RawNamed { name: name.as_ptr(), value: given.into() })
            .collect();
        let (mut places, mut returns, mut call) = (vec![0; given.len()], 0, ptr::null_mut());
        // SAFETY: all pointers are to values that outlive the call; `places` has room for every argument given.
        let error = unsafe {
            pt2_prepare(
                name.as_ptr(),
                overload.as_ptr(),
                named.as_ptr(),
                named.len(),
                places.as_mut_ptr(),
                &raw mut returns,
                &raw mut call,
            )
        };
        // SAFETY: it is what the shim returned.
        unsafe { told(error) }?;
        let call = NonNull::new(call).ok_or("it was not found")?;
        Ok(Self { call, places, returns })
    }

    /// The position of an argument, by its place among those given.
    pub fn place(&self, given: usize) -> i32 {
        self.places[given]
    }

    /// How many values the operator returns.
    pub fn returns(&self) -> usize {
        self.returns
    }

    /// Calls the operator with the arguments that come with each call, by their positions.
    ///
    /// # Errors
    /// What the operator says.
    pub fn call(&self, places: &[i32], given: &[Given]) -> Result<Vec<Returned>, String> {
        let values: Vec<RawValue> = given.iter().map(RawValue::from).collect();
        let mut outputs: Vec<RawValue> = (0..self.returns).map(|_| RawValue::from(&Given::None)).collect();
        let count = values.len().min(places.len());
        // SAFETY: `places` come from `place`; the values' pointers outlive the call; there is room for all outputs.
        let error = unsafe {
            pt2_call(self.call.as_ptr(), places.as_ptr(), values.as_ptr(), count, outputs.as_mut_ptr())
        };
        // SAFETY: it is what the shim returned.
        unsafe { told(error) }?;
        outputs.into_iter().map(RawValue::returned).collect()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // SAFETY: it was made by `pt2_prepare`, and nobody else has it.
        unsafe { pt2_forget(self.call.as_ptr()) };
    }
}

/// `Value` of the shim.
#[repr(C)]
struct RawValue {
    tag: i32,
    whole: i64,
    real: f64,
    items: *const c_void,
    count: usize,
}

/// `Named` of the shim.
#[repr(C)]
struct RawNamed {
    name: *const c_char,
    value: RawValue,
}

/// `Tag` of the shim.
const NONE: i32 = 0;
const TENSOR: i32 = 1;
const TENSORS: i32 = 2;
const INT: i32 = 3;
const INTS: i32 = 4;
const FLOAT: i32 = 5;
const FLOATS: i32 = 6;
const BOOL: i32 = 7;
const BOOLS: i32 = 8;
const STRING: i32 = 9;
const DEVICE: i32 = 10;
const LATER: i32 = 11;

impl From<&Given<'_>> for RawValue {
    fn from(given: &Given) -> Self {
        let plain = |tag| Self { tag, whole: 0, real: 0.0, items: ptr::null(), count: 0 };
        let list = |tag, items: *const c_void, count| Self { items, count, ..plain(tag) };
        match given {
            Given::None => plain(NONE),
            Given::Later => plain(LATER),
            Given::Tensor(tensor) => list(TENSOR, tensor.as_ptr().cast(), 1),
            Given::Tensors(all) => list(TENSORS, all.pointers.as_ptr().cast(), all.pointers.len()),
            Given::Number(Number::Int(value)) => Self { whole: *value, ..plain(INT) },
            Given::Number(Number::Float(value)) => Self { real: *value, ..plain(FLOAT) },
            Given::Number(Number::Bool(value)) => Self { whole: i64::from(*value), ..plain(BOOL) },
            Given::Ints(all) => list(INTS, all.as_ptr().cast(), all.len()),
            Given::Floats(all) => list(FLOATS, all.as_ptr().cast(), all.len()),
            Given::Bools(all) => list(BOOLS, all.as_ptr().cast(), all.len()),
            Given::Text(text) => list(STRING, text.as_ptr().cast(), text.len()),
            Given::Device(text) => list(DEVICE, text.as_ptr().cast(), text.len()),
        }
    }
}

impl RawValue {
    /// What the shim put here; its tensors are this side's from now on.
    fn returned(self) -> Result<Returned, String> {
        match self.tag {
            NONE => Ok(Returned::None),
            INT => Ok(Returned::Number(Number::Int(self.whole))),
            FLOAT => Ok(Returned::Number(Number::Float(self.real))),
            BOOL => Ok(Returned::Number(Number::Bool(self.whole != 0))),
            // SAFETY: the shim made this handle for its receiver.
            TENSOR => Ok(Returned::Tensor(unsafe { owned(self.items) })),
            // SAFETY: the shim made an array of so many handles, and both for their receiver.
            TENSORS => Ok(Returned::Tensors(unsafe { owned_all(self.items.cast_mut(), self.count) })),
            other => Err(format!("it returned a value with the tag {other}")),
        }
    }
}

unsafe extern "C" {
    fn pt2_prepare(
        name: *const c_char,
        overload: *const c_char,
        given: *const RawNamed,
        count: usize,
        places: *mut i32,
        returns: *mut usize,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn pt2_call(
        call: *const c_void,
        places: *const i32,
        values: *const RawValue,
        count: usize,
        outputs: *mut RawValue,
    ) -> *mut c_char;
    fn pt2_forget(call: *mut c_void);
}
