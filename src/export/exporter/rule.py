"""The numerical rule, as `src/numerics/rule.rs` has it: how far an output may be from what it should be.

In: what an output should be, by how much eager itself is off there, and a job's rule. Out: a `Bound`. Whatever the
exporter compares itself, it holds to this one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .job import Rule


@dataclass(frozen=True)
class Bound:
    """The rmse that the numerical rule allows an output, and which of its elements it compares."""

    limit: float
    compared: Tensor

    def distance(self, value: Tensor, other: Tensor) -> float:
        """The rmse between two tensors of the output's shape, where it is compared; equal infinities do not differ."""
        one, two = value[self.compared].double(), other[self.compared].double()
        return size(torch.where(one == two, 0.0, one - two))

    def exceeded(self, distance: float) -> bool:
        """Whether that is further than the rule allows; not-a-number is."""
        return not distance <= self.limit


def bound(rule: Rule, exact: Tensor, error: Tensor) -> Bound:
    """What the rule makes of an output; `error` is not a number where nothing is compared.

    Marks are left aside, lest their size hide what moves all others; where there is nothing else, they count.
    """
    seen = ~error.isnan()
    measured = seen & (exact.abs() < rule.mark)
    compared = measured if measured.any() else seen
    return Bound(rule.k * size(error[compared]) + rule.floor * size(exact[compared]), compared)


def size(value: Tensor) -> float:
    """Root mean square."""
    return value.double().square().mean().sqrt().item()
