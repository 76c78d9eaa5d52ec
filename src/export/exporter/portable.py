"""A traced graph that runs on any device.

In: the graph of a trace. Out: the same with every number where it is one in Python, and no device by name.

The tracer makes tensors of numbers, on the CPU: of constants, and of the sizes that a program reads and computes with.
And where a model makes a tensor on its own device, it writes down which device that was.
"""

from typing import Any

import torch

# Operators that compute with two numbers, of which the right one may be a tensor or a number.
ARITHMETIC = frozenset(
    f"aten::{name}{in_place}"
    for name in ("add", "sub", "rsub", "mul", "div", "pow", "remainder", "fmod", "floor_divide")
    for in_place in ("", "_")
) | {f"aten::{name}" for name in ("eq", "ne", "lt", "le", "gt", "ge")}
# Operators that take a tensor or a number at these places, and no tensor of another device than their first.
COUNTED = {
    "aten::repeat_interleave": (1,),
    **{f"aten::clamp{in_place}": (1, 2) for in_place in ("", "_")},
    **{f"aten::clamp_{end}{in_place}": (1,) for end in ("min", "max") for in_place in ("", "_")},
}


def make_portable(graph: Any) -> None:
    """Writes numbers as numbers, and asks the first input for the device."""
    _write_constants(graph)
    _write_counts(graph)
    _ask_for_device(graph)


def _write_constants(graph: Any) -> None:
    """Constants on the right of an operator.

    The tracer knows which tensors were numbers; a saved program does not, and there a whole tensor times a float
    becomes float64. libtorch's optimiser would mend that, for those who let it.
    """
    for constant in graph.findAllNodes("prim::Constant", recurse=True):
        value = constant.output()
        held = _number(value)
        if held is None:
            continue
        for use in value.uses():
            if use.offset > 0 and use.user.kind() in ARITHMETIC:
                number = graph.insertConstant(held)
                number.node().moveBefore(use.user)
                use.user.replaceInput(use.offset, number)


def _write_counts(graph: Any) -> None:
    """Numbers made of sizes, which are on the CPU, where an operator wants them beside its tensor, on a GPU say."""
    for kind, places in COUNTED.items():
        for node in graph.findAllNodes(kind, recurse=True):
            given = list(node.inputs())
            for place in places:
                if place < len(given) and _counts_sizes(given[place]):
                    count = graph.create("aten::Int", [given[place]])
                    count.insertBefore(node)
                    count.output().setType(torch._C.IntType.get())
                    node.replaceInput(place, count.output())


def _ask_for_device(graph: Any) -> None:
    """A tensor that a program makes stands beside its inputs, wherever those are."""
    devices = [
        constant.output()
        for constant in graph.findAllNodes("prim::Constant", recurse=True)
        if isinstance(constant.output().type(), torch._C.DeviceObjType)
    ]
    if not devices:
        return
    _, first, *_ = graph.inputs()
    asked = graph.create("prim::device", [first])
    graph.prependNode(asked)
    asked.output().setType(torch._C.DeviceObjType.get())
    for device in devices:
        device.replaceAllUsesWith(asked.output())
    torch._C._jit_pass_dce(graph)


def _counts_sizes(value: Any) -> bool:
    """Whether a tensor is a whole number that was made of sizes and constants alone."""
    node = value.node()
    if node.kind() == "prim::NumToTensor":
        return True
    return node.kind() in ARITHMETIC and all(
        _counts_sizes(operand) or operand.node().kind() == "prim::Constant" for operand in node.inputs()
    )


def _number(value: Any) -> int | float | None:
    """The number that a constant is by its value where it is a tensor by its type: only those were numbers."""
    if not isinstance(value.type(), torch._C.TensorType):
        return None
    held = value.toIValue()
    return held if isinstance(held, int | float) else None
