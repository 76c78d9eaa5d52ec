"""Choices that rounding can turn are found and turned, and no others."""

import torch
from torch import Tensor

from exporter.choices import Choice, Forced, Watched, doubts, turned

# Rank 0 stands alone; ranks 1 and 2 are near each other, and so are ranks 3 and 4.
SCORES = torch.tensor([[0.1, 0.9, 0.5004, 0.5001, 0.1004]])
ERROR = 2e-4


def watched(scores: Tensor) -> list[Choice]:
    """The choices of two best, and of an order, among some scores."""
    with Watched() as watch:
        scores.topk(2)
        scores.sort(descending=True)
    return watch.choices


def forced(scores: Tensor, first: int, error: float = ERROR) -> tuple[Tensor, Tensor]:
    """The two best of some scores, forced."""
    with Forced([torch.full((1, 1), error)], first):
        values, indices = scores.topk(2)
    return values, indices


def test_neighbours_within_reach_change_places_and_keep_their_values() -> None:
    """Ranks 1 and 2 are a pair when pairs start at rank 1; a score far from its neighbour stays."""
    values, indices = forced(SCORES, 1)
    assert indices.tolist() == [[1, 3]]
    assert values.tolist() == SCORES[:, [1, 3]].tolist()
    assert forced(SCORES, 0)[1].tolist() == [[1, 2]]
    assert forced(SCORES, 1, ERROR / 4)[1].tolist() == [[1, 2]]


def test_scores_that_are_whole_numbers_stay() -> None:
    """A masked score is no near tie with another masked one."""
    scores = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    assert forced(scores, 1)[1].tolist() == scores.topk(2)[1].tolist()


def test_the_largest_along_an_axis_and_of_everything_is_a_choice_too() -> None:
    """`argmax` and `max` along an axis rank; the value alone chooses nothing."""
    near = torch.tensor([[0.5, 0.1], [0.5001, 0.9]])
    lines = torch.full((2, 1), ERROR)
    with Forced([lines, lines, lines[0]], 0):
        assert near.max(0).indices.tolist() == [0, 1]
        assert near.max(0).values.tolist() == near[[0, 1], [0, 1]].tolist()
        assert near[:, :1].argmax() == 0
    with Watched() as watch:
        near.max()
        near.amax(0)
        torch.maximum(near, near)
    assert not watch.choices


def test_doubt_is_the_error_of_one_run_in_every_line_of_scores() -> None:
    """Seen from differences of runs, without what the scores of a line have in common; minus infinity is no error."""
    off = torch.tensor([1, -1, 0, 1, -1]) * ERROR * 2.5**0.5
    lines = torch.tensor([0.1, 0.9, 0.5, 0.7, 0.3]).repeat(3, 1)
    lines[2, 0] = -torch.inf
    moved = lines + torch.stack([off, off / 10 + 0.25, off])
    seen = doubts([watched(lines), watched(moved)])[0] / ERROR
    assert [round(line, 2) for line in seen.flatten().tolist()] == [1.0, 0.1, 0.93]


def test_runs_that_chose_among_other_scores_say_nothing() -> None:
    """Choices that are not the same ones are not compared."""
    assert doubts([watched(SCORES), watched(SCORES[:, :4])]) == []
    assert doubts([watched(SCORES), watched(SCORES)[:1]]) == []


def test_only_runs_that_a_choice_would_turn_are_worth_forcing() -> None:
    """With no score in reach of its neighbour a forced run is the run as it is."""
    made, error = watched(SCORES)[:1], torch.full((1, 1), ERROR)
    assert turned(made, [error], 1)
    assert not turned(made, [error], 0)
    assert not turned(made, [error / 4], 1)
    assert not turned(made, [], 1)
