//! libtorch's loader of AOTInductor packages, through `shim.cpp`.
//!
//! In: the path of a package. Out: its metadata, and a [`Package`] that runs. Tensors cross as the pointers that tch holds,
//! without copies; errors of C++ come back as text.

use crate::engine::shim::{owned, owned_all, told};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use tch::Tensor;

/// An open package.
pub struct Package(NonNull<c_void>);

// SAFETY: the loader locks what runs share, and `replace`, which writes, is for the planting of faults, before anything else
// uses the package.
unsafe impl Send for Package {}
// SAFETY: as above.
unsafe impl Sync for Package {}

/// What a package says of itself: key → text. Nothing of it is run.
///
/// # Errors
/// It is no package.
pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let path = named(path)?;
    let mut found = BTreeMap::new();
    let mut hear = |key: String, text: *const c_void| {
        // SAFETY: what is told with a key is a text that ends in a zero, and lives for the call.
        let text = unsafe { CStr::from_ptr(text.cast()) }.to_string_lossy().into_owned();
        found.insert(key, text);
    };
    let (heard, listener) = listening(&mut hear);
    // SAFETY: path and listener outlive the call.
    unsafe { told(aot_metadata(path.as_ptr(), heard, listener)) }?;
    Ok(found)
}

impl Package {
    /// Opens a package, on the device of that place among those of its kind where it has one.
    ///
    /// # Errors
    /// It is no package, or its code cannot be opened here.
    pub fn open(path: &Path, index: Option<usize>) -> Result<Self, String> {
        let path = named(path)?;
        let index = index.map_or(Ok(-1), i8::try_from).map_err(|_| "no such device".to_owned())?;
        let mut loader = ptr::null_mut();
        // SAFETY: both pointers outlive the call.
        unsafe { told(aot_open(path.as_ptr(), index, &raw mut loader)) }?;
        NonNull::new(loader).map(Self).ok_or_else(|| "it was not opened".to_owned())
    }

    /// Runs it once.
    ///
    /// # Errors
    /// What its code says; another number of inputs than it takes.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let inputs: Vec<*const c_void> = inputs.iter().map(|input| input.as_ptr().cast()).collect();
        let (mut outputs, mut returned) = (ptr::null_mut(), 0);
        // SAFETY: the tensors and both places outlive the call; the package is open while this lives.
        unsafe {
            told(aot_run(
                self.0.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                &raw mut outputs,
                &raw mut returned,
            ))?;
            Ok(owned_all(outputs, returned))
        }
    }

    /// Its weights by their names in the exported module, sharing its memory.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>, String> {
        let mut found = BTreeMap::new();
        let mut hear = |name: String, tensor: *const c_void| {
            // SAFETY: what is told with a name is a handle made for its receiver.
            found.insert(name, unsafe { owned(tensor) });
        };
        let (heard, listener) = listening(&mut hear);
        // SAFETY: the listener outlives the call; the package is open while this lives.
        unsafe { told(aot_weights(self.0.as_ptr(), heard, listener)) }?;
        Ok(found)
    }

    /// Puts other numbers into a weight.
    ///
    /// # Errors
    /// No such weight, or one of another shape.
    pub fn replace(&self, name: &str, tensor: &Tensor) -> Result<(), String> {
        let name = CString::new(name).map_err(|error| error.to_string())?;
        // SAFETY: name and tensor outlive the call; the package is open while this lives.
        unsafe { told(aot_replace(self.0.as_ptr(), name.as_ptr(), tensor.as_ptr().cast())) }
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        // SAFETY: it was made by `aot_open`, and nobody else has it.
        unsafe { aot_close(self.0.as_ptr()) };
    }
}

/// A path as C++ takes it.
fn named(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())
}

/// `Hear` of the shim.
type Hear = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_void);

/// A closure as C++ calls it.
fn listening<F: FnMut(String, *const c_void)>(hear: &mut F) -> (Hear, *mut c_void) {
    unsafe extern "C" fn heard<F: FnMut(String, *const c_void)>(
        listener: *mut c_void,
        name: *const c_char,
        what: *const c_void,
    ) {
        // SAFETY: the shim gives back the listener it was given, which nobody else uses meanwhile.
        let hear = unsafe { &mut *listener.cast::<F>() };
        // SAFETY: a name is a text that ends in a zero, and lives for the call.
        hear(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned(), what);
    }
    (heard::<F>, ptr::from_mut(hear).cast())
}

unsafe extern "C" {
    fn aot_metadata(path: *const c_char, hear: Hear, listener: *mut c_void) -> *mut c_char;
    fn aot_open(path: *const c_char, index: i8, out: *mut *mut c_void) -> *mut c_char;
    fn aot_run(
        loader: *mut c_void,
        inputs: *const *const c_void,
        count: usize,
        outputs: *mut *mut c_void,
        returned: *mut usize,
    ) -> *mut c_char;
    fn aot_weights(loader: *mut c_void, hear: Hear, listener: *mut c_void) -> *mut c_char;
    fn aot_replace(loader: *mut c_void, name: *const c_char, tensor: *const c_void) -> *mut c_char;
    fn aot_close(loader: *mut c_void);
}
