// Calls ATen's operators by name, for shim.rs.
//
// In: an operator's name, its arguments as plain values. Out: what it returns, in the same form. Tensors cross as pointers
// to at::Tensor, as tch holds them. No exception leaves this file: a function returns null, or an error's text.

#include "../shim.h"

#include <ATen/ScalarOps.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/InferenceMode.h>

#include <cstdlib>

namespace {

using c10::IValue;
using c10::TypeKind;

// The tags and fields of shim.rs.
enum Tag : int32_t { NONE, TENSOR, TENSORS, INT, INTS, FLOAT, FLOATS, BOOL, BOOLS, STRING, DEVICE, LATER };

struct Value {
  Tag tag;
  int64_t whole;      // INT, BOOL
  double real;        // FLOAT
  const void* items;  // TENSOR: it; TENSORS: pointers, null for none; lists and texts: elements
  size_t count;
};

struct Named { const char* name; Value value; };

// What an argument's type asks for: elements of a kind, in a list of so many or not.
struct Wanted { TypeKind kind; bool list; size_t count; };

// An operator with its constant arguments, and the defaults of those that a graph leaves out.
struct Call { c10::OperatorHandle op; std::vector<Wanted> wanted; std::vector<IValue> constants; };

template <class To, class From>
std::vector<To> items(const Value& value) {
  const From* first = static_cast<const From*>(value.items);
  return std::vector<To>(first, first + value.count);
}

template <class Item>
IValue tensors(const Value& value) {
  c10::List<Item> list;
  for (auto* tensor : items<const at::Tensor*, const at::Tensor*>(value)) list.push_back(tensor ? Item(*tensor) : Item());
  return list;
}

Wanted wanted(const c10::Argument& argument) {
  c10::TypePtr type = argument.type();
  if (auto optional = type->cast<c10::OptionalType>()) type = optional->getElementType();
  const auto list = type->cast<c10::ListType>();
  return {list ? list->getElementType()->kind() : type->kind(), list != nullptr, size_t(argument.N().value_or(1))};
}

// As Python does: a number stands for a tensor of no dimensions, and for as many as a list wants (stride=2).
IValue number(const c10::Scalar& value, const Wanted& wanted) {
  if (wanted.kind == TypeKind::TensorType && !wanted.list) {
    at::Tensor tensor = c10::scalar_to_tensor(value);
    tensor.unsafeGetTensorImpl()->set_wrapped_number(true);
    return tensor;
  }
  if (wanted.list) return wanted.kind == TypeKind::FloatType ? IValue(std::vector<double>(wanted.count, value.toDouble()))
                                                             : IValue(std::vector<int64_t>(wanted.count, value.toLong()));
  return wanted.kind == TypeKind::FloatType ? IValue(value.toDouble()) : IValue(value);
}

IValue to_ivalue(const Value& value, const Wanted& wanted) {
  switch (value.tag) {
    case NONE: case LATER: return IValue();
    case TENSOR: return *static_cast<const at::Tensor*>(value.items);
    case TENSORS: return wanted.kind == TypeKind::OptionalType ? tensors<std::optional<at::Tensor>>(value) : tensors<at::Tensor>(value);
    case INT: return number(value.whole, wanted);
    case FLOAT: return number(value.real, wanted);
    case BOOL: return number(value.whole != 0, wanted);
    case INTS: return wanted.kind == TypeKind::FloatType ? IValue(items<double, int64_t>(value)) : items<int64_t, int64_t>(value);
    case FLOATS: return items<double, double>(value);
    case BOOLS: return c10::List<bool>(c10::ArrayRef<bool>(static_cast<const bool*>(value.items), value.count));
    case STRING: return std::string(static_cast<const char*>(value.items), value.count);
    case DEVICE: return c10::Device(std::string(static_cast<const char*>(value.items), value.count));
  }
  throw std::runtime_error("an argument has an unknown tag");
}

// Tensors are new handles, which the caller owns.
Value from_ivalue(IValue&& given) {
  if (given.isNone()) return {NONE, 0, 0, nullptr, 0};
  if (given.isTensor()) return {TENSOR, 0, 0, new at::Tensor(std::move(given).toTensor()), 0};
  if (given.isInt()) return {INT, given.toInt(), 0, nullptr, 0};
  if (given.isDouble()) return {FLOAT, 0, given.toDouble(), nullptr, 0};
  if (given.isBool()) return {BOOL, given.toBool(), 0, nullptr, 0};
  if (!given.isTensorList()) throw std::runtime_error("it returned a " + given.tagKind());
  const auto list = given.toTensorVector();
  auto* handles = static_cast<at::Tensor**>(std::malloc(sizeof(at::Tensor*) * (list.size() + 1)));
  for (size_t place = 0; place < list.size(); ++place) handles[place] = new at::Tensor(list[place]);
  return {TENSORS, 0, 0, handles, list.size()};
}

}  // namespace

extern "C" {

// Keeps an operator's constants. `places` gets the position of every argument given, `returns` how many it returns.
char* pt2_prepare(const char* name, const char* overload, const Named* given, size_t count, int32_t* places,
                  size_t* returns, Call** out) {
  return guarded([&] {
    const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
    const auto& arguments = op.schema().arguments();
    std::vector<Wanted> types;
    std::vector<IValue> constants;
    std::vector<bool> missing;
    for (const auto& argument : arguments) {
      types.push_back(wanted(argument));
      constants.push_back(argument.default_value().value_or(IValue()));
      missing.push_back(!argument.default_value());
    }
    for (size_t each = 0; each < count; ++each) {
      const auto place = op.schema().argumentIndexWithName(given[each].name);
      if (!place) throw std::runtime_error(std::string("it has no argument '") + given[each].name + "'");
      constants[*place] = to_ivalue(given[each].value, types[*place]);
      missing[*place] = false;
      places[each] = *place;
    }
    for (size_t place = 0; place < missing.size(); ++place) {
      if (missing[place]) throw std::runtime_error("the graph gives it no '" + arguments[place].name() + "'");
    }
    *returns = op.schema().returns().size();
    *out = new Call{op, std::move(types), std::move(constants)};
  });
}

// Calls it with the arguments that were to come later; `outputs` has room for all that it returns.
char* pt2_call(const Call* call, const int32_t* places, const Value* values, size_t count, Value* outputs) {
  return guarded([&] {
    // Nothing here is differentiated, and operators need not look for what records it.
    const c10::InferenceMode inference;
    std::vector<IValue> stack = call->constants;
    for (size_t each = 0; each < count; ++each) stack[places[each]] = to_ivalue(values[each], call->wanted[places[each]]);
    call->op.callBoxed(stack);
    for (size_t place = 0; place < stack.size(); ++place) outputs[place] = from_ivalue(std::move(stack[place]));
  });
}

void pt2_forget(Call* call) { delete call; }

}  // extern "C"
