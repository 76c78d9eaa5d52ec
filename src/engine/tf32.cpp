// Whether products of float32 may be rounded to TF32's 10 bits on a GPU: libtorch's own switches.

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

}
