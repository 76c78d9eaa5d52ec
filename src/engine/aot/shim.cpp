// Loads and runs AOTInductor's packages, for shim.rs.
//
// In: the path of a package, tensors as tch holds them. Out: tensors that the caller owns. A package is machine code: what
// it is for is read from its metadata before it is opened. No exception leaves this file.

#include "../shim.h"

#include <ATen/core/Tensor.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdlib>

namespace {

using Loader = torch::inductor::AOTIModelPackageLoader;

// The name that `aoti_compile_and_package` gives to the only model of a package.
constexpr const char* MODEL = "model";

// For each text and what is told with it.
using Hear = void (*)(void* listener, const char* name, const void* told);

at::Tensor** handles(const std::vector<at::Tensor>& tensors) {
  auto* all = static_cast<at::Tensor**>(std::malloc(sizeof(at::Tensor*) * (tensors.size() + 1)));
  for (size_t place = 0; place < tensors.size(); ++place) all[place] = new at::Tensor(tensors[place]);
  return all;
}

}  // namespace

extern "C" {

// Tells every key of a package's metadata with its text; nothing of the package is run.
char* aot_metadata(const char* path, Hear hear, void* listener) {
  return guarded([&] {
    for (const auto& [key, text] : Loader::load_metadata_from_package(path, MODEL)) hear(listener, key.c_str(), text.c_str());
  });
}

// `index` is the place of a CUDA device among others, and -1 on devices that have no place.
char* aot_open(const char* path, int8_t index, Loader** out) {
  return guarded([&] { *out = new Loader(path, MODEL, /*run_single_threaded=*/false, /*num_runners=*/1, index); });
}

char* aot_run(Loader* loader, const at::Tensor* const* inputs, size_t count, at::Tensor*** outputs, size_t* returned) {
  return guarded([&] {
    std::vector<at::Tensor> given;
    for (size_t each = 0; each < count; ++each) given.push_back(*inputs[each]);
    const auto made = loader->run(given);
    *outputs = handles(made);
    *returned = made.size();
  });
}

// Tells every weight by its name in the exported module; the tensor told shares the package's memory, and is a new handle.
char* aot_weights(Loader* loader, Hear hear, void* listener) {
  return guarded([&] {
    for (const auto& [name, tensor] : loader->get_runner()->extract_constants_map(/*use_inactive=*/false)) {
      hear(listener, name.c_str(), new at::Tensor(tensor));
    }
  });
}

// Puts other numbers into a weight.
char* aot_replace(Loader* loader, const char* name, const at::Tensor* tensor) {
  return guarded([&] {
    std::unordered_map<std::string, at::Tensor> one{{name, *tensor}};
    loader->load_constants(one, /*use_inactive=*/false, /*check_full_update=*/false);
  });
}

void aot_close(Loader* loader) { delete loader; }

}  // extern "C"
