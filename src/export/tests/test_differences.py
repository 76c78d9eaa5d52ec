"""Every row of the table is told of the jobs that have it, and of no others."""

from typing import Any

import pytest
import samples
from torch import nn
from transformers import BertConfig, BertForMaskedLM, GenerationMixin, PreTrainedModel

from exporter.differences import ALL, applying, table

GENERATION = {"grows": "input_ids", "mask": None, "positions": None, "logits": "logits"}
WRITES = {"generation": GENERATION}


class Plain(nn.Module):
    """No model of the library's."""

    config = BertConfig()

    def forward(self, input_ids: Any) -> Any:
        """The same."""
        return input_ids


class Normed(Plain):
    """One with statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)


class Keeping(Plain):
    """One that keeps what it computed."""

    def __init__(self) -> None:
        super().__init__()
        self.cached_rotary_positional_embedding = None


class Returning(Plain):
    """One that is asked for names."""

    def forward(self, input_ids: Any, *, return_dict: bool = False) -> Any:
        """The same."""
        return input_ids


class Writing(Plain, GenerationMixin):
    """The library's loop is its own."""


class Acting(Writing):
    """One with a loop of its own."""

    def generate(self, *_: Any, **__: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Something else first."""


def bert() -> PreTrainedModel:
    return BertForMaskedLM(BertConfig(**samples.SMALL))


def told(model: nn.Module, **changes: Any) -> list[str]:
    return [one["what"] for one in applying(model, samples.job(**changes))]


@pytest.mark.parametrize(
    ("what", "has", "has_not"),
    [
        ("attention: eager", (bert(), {}), (bert(), {"attention": "sdpa"})),
        ("attention: eager", (bert(), {"attention": "eager"}), (Plain(), {})),
        ("forward(return_dict=True)", (Returning(), {}), (Plain(), {})),
        ("weights: drawn from the entry's seed", (Plain(), {}), (Plain(), {"weights": "checkpoint"})),
        ("batch norms: statistics of the traced inputs", (Normed(), {}), (Plain(), {})),
        (
            "batch norms: statistics of the traced inputs",
            (Normed(), {}),
            (Normed(), {"weights": "checkpoint"}),
        ),
        ("between runs: forgotten", (Keeping(), {}), (Plain(), {})),
        ("generate: a loop over forward", (Plain(), WRITES), (Writing(), WRITES)),
        ("generate: the library's loop", (Acting(), WRITES), (Writing(), WRITES)),
        ("generate: the library's loop", (Acting(), WRITES), (Acting(), {})),
        ("generate: the end token is one that is written late", (Writing(), WRITES), (Writing(), {})),
    ],
)
def test_a_difference_is_told_of_those_that_have_it(what: str, has: Any, has_not: Any) -> None:
    assert what in told(has[0], **has[1])
    assert what not in told(has_not[0], **has_not[1])


def test_a_row_for_a_type_or_class_is_told_of_no_other() -> None:
    """BERT has rows of everybody's, and of no class or type by name."""
    of_bert = {one.what for one in table() if one.applies(bert(), samples.job(**WRITES))}
    named = {one.what for one in table() if one.of != ALL and " " not in one.of}
    assert not of_bert & named
