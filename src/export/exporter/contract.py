"""What the task promises of its outputs.

In: a case and the eager fp32 outputs. Out: nothing, or the first broken promise as an error.
"""

from collections.abc import Sequence

import torch

from .errors import ExportError
from .job import Case, Job, Output
from .program import Tensors


def dtype_name(dtype: torch.dtype) -> str:
    """An element type as jobs and manifests name it: `float32`."""
    return str(dtype).removeprefix("torch.")


def check(job: Job, case: Case, dims: dict[str, int], outputs: Tensors) -> None:
    """Shapes, element types, finite values, and that no output is one number throughout."""
    sizes = {**dims, **case.sizes}
    for entry in job.outputs:
        tensor = outputs[entry.name]
        dtype = dtype_name(tensor.dtype)
        if not _fits(entry, tensor.shape, sizes):
            raise ExportError(
                f"task {job.task} promises {entry.name} [{_spelt(entry, sizes)}], "
                f"{job.class_name} returned {list(tensor.shape)} at case {case.name}"
            )
        if dtype != entry.dtype:
            raise ExportError(
                f"task {job.task} promises {entry.name} as {entry.dtype}, {job.class_name} returned {dtype}"
            )
        if not tensor.isfinite().all():
            raise ExportError(f"{entry.name} is not finite at case {case.name}")
        if tensor.numel() > 1 and (tensor == tensor.flatten()[0]).all():
            raise ExportError(f"{entry.name} is constant at case {case.name}")


def _fits(entry: Output, shape: Sequence[int], sizes: dict[str, int]) -> bool:
    """Compares shapes; a symbol without a size takes the one it meets first, and keeps it for the case."""
    if len(shape) != len(entry.shape):
        return False
    return all(
        size == (sizes.setdefault(symbol, size) if isinstance(symbol, str) else symbol)
        for symbol, size in zip(entry.shape, shape, strict=True)
    )


def _spelt(entry: Output, sizes: dict[str, int]) -> str:
    return ", ".join(
        f"{symbol}={sizes.get(symbol, 'any')}" if isinstance(symbol, str) else str(symbol)
        for symbol in entry.shape
    )
