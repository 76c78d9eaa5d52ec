"""What is exported of a checkpoint beside what an entry's checks ask for."""

import samples
from test_invariance import ROWS, OfPlace, Words
from torch import nn

from exporter.certify import other_side
from exporter.job import Json
from exporter.prepared import Prepared


def beside(eager: nn.Module, **changes: object) -> dict[str, Json]:
    """The situations beside those of a job, and what was changed in each."""
    sizes = {"name": "traced", "sizes": {"batch": 2, "sequence": 3}}
    job = samples.job(**{"outputs": [ROWS], "cases": [sizes], **changes})
    traced = samples.inputs()
    ready = Prepared(eager, eager, samples.CONFIG, {"vocabulary": 32}, {"traced": traced}, traced)
    return {situation.name: situation.facts for situation in other_side(job, ready)}


def test_padding_is_added_on_the_other_side_too_where_eager_promises_both() -> None:
    ((name, facts),) = beside(Words()).items()
    assert (name, facts["before"], facts["after"]) == ("padding-attention_mask-left", 3, 0)
    assert list(beside(Words(), padding="left")) == ["padding-attention_mask-right"]


def test_padding_is_left_on_one_side_where_eager_itself_counts_from_the_left() -> None:
    assert beside(OfPlace()) == {}


def test_nothing_is_padded_that_has_no_padding() -> None:
    assert beside(Words(), padding="none") == {}
    assert beside(Words(), pads=False) == {}
