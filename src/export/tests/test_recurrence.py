"""Recurrences: the loop in a graph of `torch.export` is the one in a trace, at every length."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from exporter import recurrence


def _drawn(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _linear(length: int) -> tuple[Tensor, ...]:
    return _drawn(0, 2, length, 3), _drawn(1, 2, length, 3)


def _average(length: int) -> tuple[Tensor, ...]:
    return -_drawn(0, 3), _drawn(1, 3), _drawn(2, 2, length, 3), _drawn(3, 2, length, 3)


def _corrected(length: int) -> tuple[Tensor, ...]:
    along = [_drawn(seed, 2, length, 2, 3) for seed in range(4)]
    return _drawn(5, 2, 2, 3, 3), *along, _drawn(6, 2, length, 2, 1)


def _matrix(length: int) -> tuple[Tensor, ...]:
    along = [_drawn(seed, 2, 2, length, 3) for seed in range(3)]
    return *along, -_drawn(3, 2, 2, length), _drawn(4, 2, 2, length)


class _Called(nn.Module):
    def __init__(self, function: Callable[..., Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        returned = self.function(*given)
        return (returned,) if isinstance(returned, Tensor) else returned


def _matrix_memory(*given: Tensor) -> tuple[Tensor, ...]:
    read, memory = recurrence.matrix_memory(*given, eps=1e-6)
    return read, *memory


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (recurrence.linear, _linear),
        (recurrence.weighted_average, _average),
        (recurrence.corrected_memory, _corrected),
        (_matrix_memory, _matrix),
    ],
)
def test_a_graph_loops_as_a_trace_does_at_lengths_that_it_has_not_seen(
    function: Callable[..., Tensor], inputs: Callable[[int], tuple[Tensor, ...]]
) -> None:
    """Bit by bit: both are made of the same step."""
    called, given = _Called(function), inputs(4)
    free = tuple(dict.fromkeys(range(tensor.dim()), torch.export.Dim.AUTO) for tensor in given)
    with torch.no_grad():
        graph = torch.export.export(called, given, dynamic_shapes=(free,), strict=False)
        for length in (4, 7):
            expected = called(*inputs(length))
            for ours, looped in zip(graph.module()(*inputs(length)), expected, strict=True):
                assert torch.equal(ours, looped)
