"""Buckets of distances: the same on every processor, and eager Python's own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LayoutLMv3Config, LayoutLMv3Model, T5Config, T5Model

from exporter.adapters.buckets import METHODS, buckets_by_table
from exporter.rounding import Disturbed

T5 = T5Config(d_model=8, d_kv=4, num_layers=1, num_heads=2, d_ff=8, vocab_size=16)
LAYOUT = LayoutLMv3Config(
    vocab_size=16,
    hidden_size=12,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=8,
    coordinate_size=2,
    shape_size=2,
    visual_embed=False,
)


def of_t5() -> tuple[torch.nn.Module, Any]:
    model = T5Model(T5)
    attention = next(part for part in model.modules() if type(part).__name__ == "T5Attention")

    def bucket(distances: Tensor) -> Tensor:
        # Looked up at each call: it is replaced in between.
        return vars(type(attention))[METHODS[0]].__func__(distances)

    return model, bucket


def of_layout() -> tuple[torch.nn.Module, Any]:
    model = LayoutLMv3Model(LAYOUT)
    encoder: Any = model.encoder

    def bucket(distances: Tensor) -> Tensor:
        return vars(type(encoder))[METHODS[1]](encoder, distances)

    return model, bucket


@pytest.mark.parametrize("kind", [of_t5, of_layout])
def test_every_distance_has_eagers_bucket_and_rounding_moves_none(
    kind: Callable[[], tuple[torch.nn.Module, Any]],
) -> None:
    model, bucket = kind()
    distances = torch.arange(-300, 301)
    plain = bucket(distances)
    draws = []
    for draw in range(2):
        with Disturbed(draw):
            draws.append(bucket(distances))
    assert any(not torch.equal(drawn, plain) for drawn in draws), "rounding decides at the bounds"
    for draw in range(2):
        with Disturbed(draw), buckets_by_table(model):
            assert torch.equal(bucket(distances), plain)


def test_a_trace_holds_whole_numbers_alone() -> None:
    model, bucket = of_t5()
    with buckets_by_table(model):
        traced: Any = torch.jit.trace(bucket, torch.arange(-3, 4))
    assert "aten::log" not in str(traced.graph)
    distances = torch.arange(-300, 301)
    assert torch.equal(traced(distances), bucket(distances))
