"""Patches for models that see how far things are."""

import builtins
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..patches import (
    Adapter,
    Upstream,
    hooked,
    module_of,
    of_tensor,
    replaced,
    rows_of,
    shadowed,
    whole_sizes,
)


def _sizes_kept(model: Upstream) -> AbstractContextManager[None]:
    """Code that calls `int` on a size makes it a constant of the trace."""
    return whole_sizes(module_of(model))


# DepthPro lets patches overlap where there are at least so many.
FEWEST_WITH_PADDING = 4


@contextmanager
def _patches_of_any_number(model: Upstream) -> Iterator[None]:
    """DepthPro counts its patches by `len`, puts them together in a loop, and takes `math.log2` of a size.

    In its module `len` and `log2` keep sizes as tensors, and `merge_patches` lays all patches out, then drops the
    rows and columns at which two of them overlap.
    """

    def log2(value: Any) -> Any:
        return torch.log2(value) if isinstance(value, Tensor) else math.log2(value)

    def merge(patches: Tensor, batch_size: Any, padding: Any) -> Tensor:
        count, hidden, side, _ = patches.shape
        count = count // batch_size
        across = (count**0.5).to(torch.int64)
        if count < FEWEST_WITH_PADDING:
            padding = 0
        padding = min(builtins.int(side) // 4, builtins.int(padding))
        grid = patches.reshape(count, batch_size, hidden, side, side)[: across**2]
        grid = grid.reshape(across, across, batch_size, hidden, side, side)
        whole = grid.permute(2, 3, 0, 4, 1, 5).reshape(batch_size, hidden, across * side, across * side)
        line = torch.arange(across * side)
        patch, place = line // side, line % side
        doubled = ((patch > 0) & (place < padding)) | ((patch < across - 1) & (place >= side - padding))
        kept = line[~doubled]
        return whole[:, :, kept][:, :, :, kept]

    module = module_of(model)
    with (
        shadowed(module, "len", rows_of, of_tensor),
        replaced(module, "math", SimpleNamespace(log2=log2)),
        replaced(module, "merge_patches", merge),
    ):
        yield


class _Choice:
    """Runs all of several modules alike; what the one chosen by `index()` returned."""

    def __init__(self, modules: list[nn.Module], index: Callable[[], Tensor]) -> None:
        self.modules, self.index = modules, index

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._chosen([module(*args, **named) for module in self.modules])

    def _chosen(self, returned: list[Any]) -> Any:
        if isinstance(returned[0], tuple):
            return tuple(self._chosen(list(parts)) for parts in zip(*returned, strict=True))
        return torch.stack(returned)[self.index()]


@contextmanager
def _both_domains(model: Upstream) -> Iterator[None]:
    """ZoeDepth lets a classifier choose between its heads for inside and outside, in Python.

    `ZoeDepthMultipleMetricDepthEstimationHeads.forward` looks modules up by the domain's name; here each look-up
    gives all of that kind, and the classifier's vote, a tensor, picks among what they return.
    """
    heads = model.metric_head
    votes: list[Tensor] = []
    chosen = (heads.seed_bin_regressors, heads.conditional_log_binomial)

    def vote() -> Tensor:
        return votes[-1].sum(dim=0).argmax()

    original = nn.ModuleDict.__getitem__

    def look_up(self: nn.ModuleDict, name: str) -> Any:
        if any(self is one for one in chosen):
            return _Choice(list(self.values()), vote)
        if self is heads.attractors:
            return [_Choice(list(alike), vote) for alike in zip(*self.values(), strict=True)]
        return original(self, name)

    def note(_module: Upstream, _inputs: Any, logits: Tensor) -> None:
        votes.append(logits)

    with (
        hooked(heads.mlp_classifier.register_forward_hook, note),
        replaced(nn.ModuleDict, "__getitem__", look_up),
    ):
        yield


ADAPTERS: dict[str, list[Adapter]] = {
    "depth_anything": [_sizes_kept],
    "depth_pro": [_patches_of_any_number],
    "zoedepth": [_both_domains],
}
