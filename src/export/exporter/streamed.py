"""References in fp64 where there is no room for a copy of the model in fp64.

In: a model in fp32. Out: what it returns in fp64, by the same arithmetic as a copy's: each weight is widened where an
operator computes with it, and dropped afterwards. fp32 is a part of fp64, so nothing is lost; beside the model there is
never more than what one operator takes.
"""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from .choices import Mode
from .errors import ExportError
from .job import Job
from .program import Tensors, evaluate
from .reference import Exact, cast, fresh, in_float64

WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}
# How a tensor's type is asked for.
TYPE: Any = vars(torch._C.TensorBase)["dtype"].__get__
# Operators that take a few rows of a weight as they are: widened is what they took.
TAKING = frozenset(("embedding", "gather", "index", "index_select", "take"))
# Functions that look at their tensors' types before any operator runs.
TYPED = frozenset(
    (
        nn.functional.scaled_dot_product_attention,
        *(torch.conv1d, torch.conv2d, torch.conv3d),
        *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
        *(torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu),
        *(torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell),
    )
)


def streamed(model: nn.Module) -> Exact:
    """The model in fp64 without a copy of its weights.

    Raises:
        ExportError: the class writes into its weights, which all runs share.
    """
    shared = _sharing(model)

    def run(job: Job, inputs: Tensors) -> Tensors:
        with in_float64(), _Typed(), _Widening(job.class_name):
            return evaluate(shared, job, cast(inputs, torch.float64), [])[0]

    return run


def _sharing(model: nn.Module) -> nn.Module:
    """The model with its own weights and whatever else it has copied: what it keeps of a run stays here."""
    copied = copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})
    for module in copied.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(_wider(buffer.dtype)))
    return fresh(copied)


class _Typed(TorchFunctionMode):
    """Says fp64 of what will be widened, to the class and to functions that ask before an operator does."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function == TYPE:
            kind = function(*args)
            return _wider(kind)
        if function in TYPED:
            args, kwargs = _widened((args, kwargs))
        return function(*args, **(kwargs or {}))


class _Widening(Mode):
    """Computes in fp64 with fp32 weights."""

    def __init__(self, class_name: str) -> None:
        super().__init__()
        self.class_name = class_name

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs an operator on widened tensors; a view of a weight is one, and stays it."""
        named, how = kwargs or {}, _how(func)
        if how.looks:
            return func(*args, **named)
        if how.name in TAKING:
            return _widened(func(*args, **named))
        written = [args[place] if isinstance(place, int) else named.get(place) for place in how.writes]
        if any(isinstance(value, Tensor) and value.dtype in WIDER for value in written):
            raise ExportError(
                f"{self.class_name} writes into its own weights ({how.name}), "
                "and there is no room for a copy of them in float64"
            )
        args, named = _widened((args, named))
        return func(*args, **{name: _wider(value) for name, value in named.items()})


class _How(NamedTuple):
    """What an operator does with its tensors: whether it looks at them from elsewhere, and which it writes into."""

    name: str
    looks: bool
    writes: tuple[int | str, ...]


@cache
def _how(func: Any) -> _How:
    schema = func._schema
    writes = tuple(
        argument.name if argument.kwarg_only else place
        for place, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    looks = not writes and any(result.alias_info is not None for result in schema.returns)
    return _How(func.overloadpacket.__name__, looks, writes)


def _widened(values: Any) -> Any:
    return tree_map_only(Tensor, lambda value: value.to(_wider(value.dtype)), values)


def _wider(kind: Any) -> Any:
    return WIDER.get(kind, kind)
