//! What the modules that call C++ have in common: errors, and who owns what comes from there.
//!
//! No exception leaves a file of C++ (`shim.h`): a function returns null, or the text of an error.

use std::ffi::{CStr, c_char, c_void};
use tch::Tensor;

/// The error that a function of C++ returned, if it did.
///
/// # Safety
/// It is null, or a text that ends in a zero, allocated with `malloc` for its receiver.
///
/// # Errors
/// That text.
pub unsafe fn told(error: *mut c_char) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    // SAFETY: as above; it is not read again.
    unsafe { release(error.cast()) };
    Err(text)
}

/// The tensors in an array of handles, which is freed.
///
/// # Safety
/// The array was allocated with `malloc` for its receiver and has so many handles, each as for [`owned`].
pub unsafe fn owned_all(handles: *mut c_void, count: usize) -> Vec<Tensor> {
    // SAFETY: the caller's promise.
    let listed = unsafe { std::slice::from_raw_parts(handles.cast::<*const c_void>(), count) };
    // SAFETY: as above.
    let tensors = listed.iter().map(|handle| unsafe { owned(*handle) }).collect();
    // SAFETY: as above; it is not read again.
    unsafe { release(handles) };
    tensors
}

/// The tensor behind a handle.
///
/// # Safety
/// The handle is an `at::Tensor` made with `new`, and nobody else's.
pub unsafe fn owned(handle: *const c_void) -> Tensor {
    // SAFETY: the caller's promise; tch deletes it.
    unsafe { Tensor::from_ptr(handle.cast_mut().cast()) }
}

/// Frees what C++ allocated with `malloc`.
///
/// # Safety
/// It was, for its receiver, and nobody reads it again.
pub unsafe fn release(memory: *mut c_void) {
    unsafe extern "C" {
        fn free(memory: *mut c_void);
    }
    // SAFETY: the caller's promise.
    unsafe { free(memory) };
}
