// libtorch's own switches, for libtorch.rs: whether products of float32 may be rounded to TF32's 10 bits on a GPU, and of
// which element type a tensor is when nothing says so.

#include "shim.h"

#include <ATen/Context.h>

extern "C" {

// Never again in this process.
char* tf32_forbid() {
  return guarded([] {
    at::globalContext().setAllowTF32CuBLAS(false);
    at::globalContext().setAllowTF32CuDNN(false);
  });
}

char* tf32_is_allowed(bool* allowed) {
  return guarded([=] {
    *allowed = at::globalContext().allowTF32CuBLAS() || at::globalContext().allowTF32CuDNN();
  });
}

// float64, or float32 as ever, for all threads of this process.
char* default_is_float64(bool wide) {
  return guarded([=] { c10::set_default_dtype(caffe2::TypeMeta::fromScalarType(wide ? at::kDouble : at::kFloat)); });
}

}
