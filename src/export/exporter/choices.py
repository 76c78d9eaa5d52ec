"""Choices by rank, which rounding may turn: the k best scores, the largest, an order.

In: an eager run. Out: the choices it made, and the same run with those made the other way that rounding's reach holds.

A model that ranks its scores and keeps a few returns another output altogether where two of them change places. A few
disturbed runs (`rounding.py`) seldom meet the one case in a hundred in which a processor's roundings do that. So the
scores' own error is measured over those runs, and where two neighbours in rank stand no farther apart than that can
come to, a run is forced to take them the other way: what it costs is known whether or not luck shows it.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Operators that rank, by name and overload: where the axis stands among their arguments, and which it is by default.
RANKING: dict[str, tuple[int, int | None]] = {
    "topk.default": (2, -1),
    "sort.default": (1, -1),
    "sort.stable": (2, -1),
    "argmax.default": (1, None),
    "argmin.default": (1, None),
    "max.dim": (1, None),
    "min.dim": (1, None),
}
# Scores within this many times their own error of each other change places. The difference of two errs √2 times as
# much as one: one pair in 400 that stands farther apart still falls the other way.
REACH = 4.0


@dataclass(frozen=True)
class Choice:
    """One choice: the operator with its arguments, of which the first is the scores."""

    func: Any
    args: tuple[Any, ...]
    named: dict[str, Any]

    @property
    def scores(self) -> Tensor:
        """What is ranked."""
        return self.args[0]

    def made(self) -> Any:
        """The operator's result: indices, or values and indices."""
        return self.func(*self.args, **self.named)

    @property
    def lines(self) -> Tensor:
        """The scores in float64, ranked along the last axis."""
        scores = self.scores.double()
        return scores.reshape(-1) if self.axis is None else scores.movedim(self.axis, -1)

    @property
    def axis(self) -> int | None:
        """Along which the operator ranks; all of them at once where it is None."""
        place, default = RANKING[_ranking(self.func)]
        return self.args[place] if len(self.args) > place else self.named.get("dim", default)

    def forced(self, doubt: Tensor, first: int) -> Any:
        """The result where neighbours within reach change places: ranks 0 and 1, 2 and 3 …, or from 1 on.

        `doubt` is the error of the scores that are ranked together, one number for each such line.

        Scores that are whole numbers stay: they stand for "never" and "always".
        """
        axis, lines = self.axis, self.lines
        down_and_up = ((torch.arange(lines.shape[-1]) + first) % 2 * 2 - 1).double()
        order = lines.sort(-1, descending=True).indices
        sign = torch.empty_like(lines).scatter(-1, order, down_and_up.expand_as(lines))
        moved = torch.where(lines == lines.trunc(), lines, lines + sign * doubt * REACH / 2)
        moved = moved.view_as(self.scores) if axis is None else moved.movedim(-1, axis)
        result = self.func(moved, *self.args[1:], **self.named)
        if isinstance(result, Tensor):
            return result
        values, indices = result
        held = indices if indices.ndim == self.scores.ndim else indices.unsqueeze(axis)
        return self.scores.gather(axis, held).view_as(values), indices


class Mode(TorchDispatchMode):
    """Sees every operator that the block runs."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; to say so at every operator takes longer than the operator."""
        return False


class Watched(Mode):
    """Lists the choices that the block makes."""

    def __init__(self) -> None:
        super().__init__()
        self.choices: list[Choice] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Passes every operator on."""
        named = kwargs or {}
        if ranks(func):
            self.note(func, args, named)
        return func(*args, **named)

    def note(self, func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Lists a choice, if its scores are such that rounding can turn it."""
        scores, *others = args
        if _roundable(scores):
            # What follows may write into the scores.
            self.choices.append(Choice(func, (scores.clone(), *others), named))


class Forced(Mode):
    """Makes the block's choices the other way where they are in reach of their doubts; see `Choice.forced`."""

    def __init__(self, doubts: list[Tensor], first: int) -> None:
        super().__init__()
        self.doubts = iter(doubts)
        self.first = first

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Passes every operator on, a choice with its scores moved."""
        choice = Choice(func, args, kwargs or {})
        doubt = next(self.doubts, None) if ranks(func) and _roundable(args[0]) else None
        # After another choice was turned, this one may be among other scores: it is made as it is.
        if doubt is None or doubt.shape[:-1] != choice.lines.shape[:-1]:
            return choice.made()
        return choice.forced(doubt, self.first)


def doubts(runs: list[list[Choice]]) -> list[Tensor]:
    """The error of every choice's scores over runs of one model, one number for those that are ranked together.

    There are none where the runs made different choices.
    """
    if len({tuple(choice.scores.shape for choice in run) for run in runs}) != 1:
        return []
    return [_error(same) for same in zip(*runs, strict=True)]


def _error(same: tuple[Choice, ...]) -> Tensor:
    """The root mean square of one run's error, from the differences of every two, where both are finite.

    Rank by rank: an earlier choice that fell the other way can bring the same scores in another order. What all scores
    that are ranked together have in common turns no choice. Of the pairs the median counts: a run in which an earlier
    choice brought other scores says nothing of this one.
    """
    lines = [choice.lines.sort(-1).values for choice in same]
    pairs = torch.stack([one - other for one, other in combinations(lines, 2)]) / 2**0.5
    off = torch.where(pairs.isfinite(), pairs, torch.nan)
    off = off - off.nanmean(-1, keepdim=True)
    return off.square().nanmean(-1, keepdim=True).sqrt().nanmedian(0).values.nan_to_num()


def turned(made: list[Choice], doubts: list[Tensor], first: int) -> bool:
    """Whether any of the choices falls the other way when it is forced."""
    pairs = zip(made, doubts, strict=False)
    return any(
        not torch.equal(_indices(choice.forced(doubt, first)), _indices(choice.made()))
        for choice, doubt in pairs
    )


def _indices(result: Any) -> Tensor:
    return result if isinstance(result, Tensor) else result[1]


@cache
def ranks(func: Any) -> bool:
    """Whether an operator chooses by rank."""
    return _ranking(func) in RANKING


def _roundable(scores: Tensor) -> bool:
    return scores.is_floating_point() and scores.ndim > 0


def _ranking(func: Any) -> str:
    return f"{func.overloadpacket.__name__}.{func._overloadname}"
