"""The model as it is served: with the attention that `from_pretrained` gives its class.

In: a model with eager attention. Out: the same with the class's own choice, and what a mask hides of its outputs.
Attention kernels are free to compute anything for a query that sees nothing, and do: what stands at padding positions
is another there than eager's, and nobody reads it.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from . import model
from .adapters.common import forget
from .job import Input, Job, Output
from .program import Tensors, evaluate


def served(
    job: Job, eager: nn.Module, inputs: Tensors, prepare: Callable[[Job, nn.Module], None]
) -> nn.Module:
    """The model with the attention that its class chooses by itself; `eager` where that is no other, or not to be.

    `prepare` is what was done to a model after it was built.
    """
    if job.attention or not any(getattr(part, "_supports_sdpa", False) for part in eager.modules()):
        return eager
    other = model.with_attention(job, None)
    prepare(job, other)
    other.load_state_dict(eager.state_dict())
    return eager if _fused(other, job, inputs) == _fused(eager, job, inputs) else other


def names(job: Job, served: nn.Module, eager: nn.Module) -> list[str]:
    """The kinds of attention that programs have, that of the one to ship first."""
    return [job.attention or model.EAGER] if served is eager else [model.SDPA, model.EAGER]


class _Fused(TorchFunctionMode):
    """Counts how often attention is computed in one kernel."""

    calls = 0

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.calls += function is nn.functional.scaled_dot_product_attention
        return function(*args, **(kwargs or {}))


def _fused(model: nn.Module, job: Job, inputs: Tensors) -> int:
    with _Fused() as fused:
        evaluate(model, job, inputs, [])
    forget(model)
    return fused.calls


def hidden(job: Job, inputs: Tensors) -> Tensors:
    """Where the masks among the inputs hide positions of an output: booleans that broadcast to it."""
    found = {}
    for output in job.outputs:
        hiding = [
            _hiding(inputs[mask.name], mask, output, places)
            for mask in job.of_kind("mask")
            for places in _places(mask, output)
        ]
        if hiding:
            found[output.name] = torch.stack(torch.broadcast_tensors(*hiding)).any(0)
    return found


def _places(mask: Input, output: Output) -> Iterator[tuple[int, ...]]:
    """Where the axes of a mask are among those of an output: more than once where it has pairs of positions."""
    named = [(place, axis) for place, axis in enumerate(output.shape) if isinstance(axis, str)]
    axes = [[place for place, axis in named if axis == wanted] for wanted in mask.shape]
    return product(*axes)


def _hiding(value: Tensor, mask: Input, output: Output, places: tuple[int, ...]) -> Tensor:
    order = sorted(range(len(places)), key=places.__getitem__)
    sizes = [value.shape[places.index(dim)] if dim in places else 1 for dim in range(len(output.shape))]
    return value.permute(order).reshape(sizes) == 0
