"""Caches that models hand out as tuples of tensors."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from exporter.cache import CROSS, OWN, fresh, parts, slots
from exporter.tuples import Handed, layered

READ, ENCODED = 5, 3


def _tensors(count: int, size: int = READ) -> tuple[Tensor, ...]:
    return tuple(torch.randn(2, 4, size, 8) for _ in range(count))


PAIRS = (_tensors(2), _tensors(2))
CROSSED = tuple(_tensors(2) + _tensors(2, ENCODED) for _ in range(2))
MEMORIES = [torch.randn(7, 2, 8) for _ in range(2)]


@pytest.mark.parametrize("returned", [PAIRS, CROSSED, MEMORIES], ids=["pairs", "crossed", "memories"])
def test_what_a_model_handed_out_is_handed_back_tensor_by_tensor(returned: Any) -> None:
    """As a step does it: the slots of what was left, read from it and put into an empty cache."""
    left = layered(returned)
    config: Any = SimpleNamespace()
    empty = fresh(config, left)
    assert empty.given is None
    for slot in slots(config, left, fresh(config, left), 2, READ):
        slot.put(empty, slot.of(left), lambda: READ)
    torch.testing.assert_close(empty.given, returned, rtol=0, atol=0)


def test_layers_that_look_at_an_encoder_are_a_cache_beside_their_own() -> None:
    assert list(parts(layered(PAIRS))) == [OWN]
    assert list(parts(layered(CROSSED))) == [OWN, CROSS]
    shapes = {
        slot.name: slot.shape
        for slot in slots(SimpleNamespace(), layered(CROSSED), layered(CROSSED), 2, READ)
    }
    assert shapes["cache/1/value"] == ("batch", 4, "past", 8)
    assert shapes["cross/1/value"] == ("batch", 4, "encoded", 8)


def test_a_memory_is_as_long_before_the_first_token_as_after_the_last() -> None:
    left = layered(MEMORIES)
    first, _ = slots(SimpleNamespace(), left, fresh(SimpleNamespace(), left), 2, READ)
    assert (first.name, first.shape) == ("cache/0/memory", (7, "batch", 8))
    torch.testing.assert_close(first.empty(3), torch.zeros(7, 3, 8))


def test_any_other_cache_stays_what_it_is() -> None:
    cache = SimpleNamespace()
    assert layered(cache) is cache
    assert isinstance(layered(PAIRS), Handed)
