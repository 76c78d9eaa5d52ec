"""What `grids` computes in tensors is what transformers computes in loops."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from exporter.grids import (
    in_one_segment,
    masked,
    merged_order,
    patch_positions,
    token_positions,
    window_order,
)

# Its methods take whatever has the attributes that they read.
QWEN = cast("Any", Qwen2VLModel)
# Frames, rows and columns in patches: one image, several of different sizes, a film.
GRIDS = [[[1, 4, 6]], [[1, 8, 4], [1, 4, 12], [1, 2, 2]], [[3, 4, 8], [1, 12, 4]]]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("temporal", [False, True])
def test_patches_have_the_positions_that_transformers_gives_them(
    grid: list[list[int]], temporal: bool
) -> None:
    sizes = torch.tensor(grid)
    expected = get_vision_position_ids(sizes, 2, include_temporal=temporal)
    assert torch.equal(patch_positions(sizes, 2, include_temporal=temporal), expected)


def test_every_image_may_be_merged_by_its_own_factor() -> None:
    sizes, merge = torch.tensor(GRIDS[1]), torch.tensor([2, 1, 2])
    assert torch.equal(patch_positions(sizes, merge), get_vision_position_ids(sizes, merge))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("window", [8, 16, 24])
def test_windows_are_those_of_transformers(grid: list[list[int]], window: int) -> None:
    sizes = torch.tensor(grid)
    order, ends = window_order(sizes, 2, window, 2)
    expected_order, expected_ends = get_vision_window_index(sizes, 2, window, 2)
    assert torch.equal(order, expected_order)
    assert torch.equal(ends, expected_ends)


@pytest.mark.parametrize("grid", GRIDS)
def test_merged_order_reads_row_by_row_patches_in_the_order_of_blocks(grid: list[list[int]]) -> None:
    sizes = torch.tensor(grid)
    rows = torch.cat([torch.cartesian_prod(*(torch.arange(size) for size in image)) for image in grid])
    assert torch.equal(rows[merged_order(sizes, 2)], patch_positions(sizes, 2, include_temporal=True))


def _model() -> nn.Module:
    """As much of Qwen2-VL as its positions take."""
    model = nn.Module()
    model.__dict__["config"] = SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2))
    model.__dict__["get_vision_position_ids"] = lambda *given, **named: QWEN.get_vision_position_ids(
        model, *given, **named
    )
    return model


@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_tokens_have_the_positions_that_qwen2_vl_gives_them(padding: str) -> None:
    images = torch.tensor([[1, 4, 6], [1, 8, 4]])
    films = torch.tensor([[2, 4, 4]])
    # Words, an image of six merged patches, words; words, a film of eight, words, an image of eight.
    kinds = torch.tensor([[0] * 3 + [1] * 6 + [0] * 13, [0] * 2 + [2] * 8 + [0] * 3 + [1] * 8 + [0]])
    mask = torch.ones_like(kinds)
    if padding == "left":
        mask[0, :2] = 0
    elif padding == "right":
        mask[0, -4:] = 0
    tokens = torch.arange(kinds.numel()).view_as(kinds)
    given = (tokens, kinds, images, films, mask)
    expected, expected_delta = QWEN.get_rope_index(_model(), *given)
    positions, delta = token_positions(_model(), *given)
    real = mask.bool().expand(3, -1, -1)
    assert torch.equal(positions[real], expected[real])
    assert torch.equal(delta, expected_delta)


class Attention(nn.Module):
    """Attention over the segments that it is told of, as towers of images have it: one after the other."""

    def forward(self, hidden_states: Tensor, cu_seqlens: Tensor) -> Tensor:
        lengths = (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()
        parts = hidden_states.split(lengths)
        return torch.cat([self.core(self, part, part, part, None) for part in parts])

    @staticmethod
    def core(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        scores = query @ key.T
        scores = scores if mask is None else scores + mask[0, 0]
        return scores.softmax(-1) @ value


def test_one_segment_with_a_mask_is_what_several_segments_are() -> None:
    module, ends = Attention(), torch.tensor([0, 3, 4, 9])
    hidden = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    apart = module(hidden_states=hidden, cu_seqlens=ends)
    together = Attention()
    together.core = masked(Attention.core)
    with in_one_segment([together]):
        assert torch.allclose(together(hidden_states=hidden, cu_seqlens=ends), apart)
    # Without the mask it would be something else, and afterwards everything is as before.
    whole = torch.tensor([0, 9])
    assert not torch.allclose(module(hidden_states=hidden, cu_seqlens=whole), apart)
    assert torch.allclose(together(hidden_states=hidden, cu_seqlens=ends), apart)
