"""Eager references: what the program must reproduce.

In: a model and the inputs of every case. Out: named tensors, `<case>/input|float32|float64|<half>/<name>`.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from . import contract
from .adapters.common import forget
from .job import Job
from .program import Tensors, evaluate


def references(
    model: nn.Module,
    job: Job,
    dims: dict[str, int],
    inputs: dict[str, Tensors],
    layers: list[str],
) -> Tensors:
    """Inputs, fp32 and fp64 outputs of all cases; for the traced case also layers and half outputs."""
    tensors: Tensors = {}

    def store(case: str, kind: str, values: Tensors) -> None:
        tensors.update(
            {f"{case}/{kind}/{name}": value for name, value in values.items()}
        )

    double = converted(model, torch.float64)
    for case in job.cases:
        hooked = layers if case is job.traced else []
        outputs, inner = evaluate(model, job, inputs[case.name], hooked)
        contract.check(job, case, dims, outputs)
        with in_float64():
            exact, exact_inner = evaluate(
                double, job, cast(inputs[case.name], torch.float64), hooked
            )
        store(case.name, "input", inputs[case.name])
        store(case.name, "float32", outputs)
        store(case.name, "float64", exact)
        store(case.name, "float32/layer", inner)
        store(case.name, "float64/layer", exact_inner)
    for name in job.half:
        dtype = getattr(torch, name)
        halved, _ = evaluate(
            converted(model, dtype), job, cast(inputs[job.traced.name], dtype), []
        )
        store(job.traced.name, name, halved)
    return tensors


def layer_names(job: Job, tensors: Tensors) -> list[str]:
    """The layers that `references` recorded, in order of execution."""
    prefix = f"{job.traced.name}/float32/layer/"
    return [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]


def converted(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of the model with that element type, which keeps nothing of earlier runs.

    Complex buffers stay complex, which `to` would cut to their real part. `train` drops what a class keeps for
    evaluation (LeViT).
    """
    copied = copy.deepcopy(model)
    complexes = {
        name: buffer for name, buffer in copied.named_buffers() if buffer.is_complex()
    }
    copied.to(dtype).train().eval()
    wide = torch.complex128 if dtype is torch.float64 else torch.complex64
    for name, buffer in complexes.items():
        owner, _, attribute = name.rpartition(".")
        setattr(copied.get_submodule(owner), attribute, buffer.to(wide))
    forget(copied)
    return copied


def cast(inputs: Tensors, dtype: torch.dtype) -> Tensors:
    """The inputs with every float one converted."""
    return {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in inputs.items()
    }


@contextmanager
def in_float64() -> Iterator[None]:
    """Makes an fp64 run fp64 throughout.

    Model code that asks for float32 by name (softmax, norms, rotary angles) gets float64; without this, its
    results are no better than fp32, and masked rows overflow to NaN.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64():
            yield
    finally:
        torch.set_default_dtype(default)


class _Float64(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        named = {key: _widened(value) for key, value in (kwargs or {}).items()}
        return function(*map(_widened, args), **named)


def _widened(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
