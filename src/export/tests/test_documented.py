import ast
from types import SimpleNamespace
from typing import Any, cast

import pytest
from torch import Tensor, nn

from exporter.documented import _value, cut, documented
from exporter.job import Case, Json
from exporter.returns import _symbol


class _Vocoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = cast("Any", SimpleNamespace(hidden_size=32))

    def forward(self, latents: Tensor) -> Tensor:
        """Args: latents (`torch.FloatTensor` of shape `(batch_size, hidden_size, num_frames)`): what to decode."""
        return latents


def test_an_input_has_the_shape_that_the_docstring_gives_it() -> None:
    assert documented(_Vocoder(), "latents") == {"shape": ["batch", 32, "frames"], "fill": "normal"}
    assert documented(_Vocoder(), "padding_mask") is None


def test_a_row_of_patches_is_as_wide_as_its_docstring_reckons() -> None:
    node = ast.parse("channels * temporal_patch_size * patch_size**2", mode="eval").body
    assert _value(node, {"channels": 3, "temporal_patch_size": 2, "patch_size": 8}) == 384
    with pytest.raises(KeyError):
        _value(node, {"channels": 3, "patch_size": [8, 8], "temporal_patch_size": 2})


def test_sizes_of_an_output_are_axes_numbers_or_a_symbol_of_their_own() -> None:
    cases = [Case("traced", {"batch": 2, "samples": 40}), Case("samples", {"batch": 2, "samples": 64})]
    free: dict[tuple[int, ...], str] = {}
    assert [
        _symbol(sizes, cases, free) for sizes in ((2, 2), (40, 64), (32, 32), (5, 8), (5, 8), (10, 16))
    ] == [
        "batch",
        "samples",
        32,
        "places",
        "places",
        "places1",
    ]


def test_patches_of_pixels_go_in_where_a_convolution_reads_each_once() -> None:
    rows: Json = {
        "pixel_values": {"shape": ["patches", 96], "fill": "normal"},
        "grid_thw": {"shape": ["batch", 3]},
    }
    pixels = {"pixel_values": {"shape": ["patches", 3, 4, 4], "fill": "normal"}}
    assert cut(nn.Conv2d(3, 8, 4, stride=4), rows) == rows | pixels
    assert cut(nn.Conv2d(3, 8, 3), rows) is None
    assert cut(nn.Linear(96, 8), rows) is None
