"""What a handful of runs on other processors says of the error to expect."""

import torch

from exporter.job import Json
from exporter.reference import Others

QUIET, LOUD = torch.full((4,), 1.0), torch.tensor([1.0, 1.0, 1.0, 97.0])


def squares(**outputs: torch.Tensor) -> Json:
    """Squared errors of outputs."""
    return outputs


def test_runs_that_are_alike_are_averaged_and_of_others_the_worst_counts() -> None:
    """One run in six that goes astray is no sixth of an error: it goes astray on some machine."""
    others = Others([squares(a=QUIET, b=QUIET), squares(a=1.5 * QUIET, b=LOUD)], [])
    off = others.off([squares(a=0.5 * QUIET, b=QUIET)])
    assert off["a"].square().tolist() == [1.0] * 4
    assert torch.allclose(off["b"].square(), LOUD)


def test_a_forced_run_is_never_averaged() -> None:
    """What a choice costs that falls the other way is known, whether or not luck shows it."""
    off = Others([squares(a=QUIET), squares(a=QUIET)], [squares(a=LOUD)]).off([])
    assert torch.allclose(off["a"].square(), LOUD)


def test_what_a_mask_hides_stays_hidden() -> None:
    """Not a number in every run, and in what they come to."""
    hidden = torch.tensor([torch.nan, 1.0])
    off = Others([squares(a=hidden), squares(a=9 * hidden)], [squares(a=hidden)]).off([])
    assert off["a"].isnan().tolist() == [True, False]
