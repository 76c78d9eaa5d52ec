"""Patches for models that read pages."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ... import grids
from ..patches import (
    Adapter,
    Upstream,
    replaced,
)
from ..vision_text import images_as_one
from .qwen import features_unsplit, grids_as_tensors, patches_as_tensors


@contextmanager
def _ernie_pictures(model: Upstream) -> Iterator[None]:
    """Ernie 4.5 VL pairs every second frame with the one after it, in lists; a picture's one frame with itself."""

    def with_itself(_self: Upstream, states: Tensor, _grid: Tensor) -> Tensor:
        return torch.cat([states, states], -1)

    with (
        grids_as_tensors(model),
        replaced(type(model.model.resampler_model), "_temporal_slicing", with_itself),
    ):
        yield


@contextmanager
def _paddle_pictures(model: Upstream) -> Iterator[None]:
    """PaddleOCR-VL merges patches image by image, in a list that a trace bakes; one gathering takes them all."""

    def project(self: Any, patches: Tensor, grid: Tensor) -> Tensor:
        rows, columns = self.merge_kernel_size
        ordered = self.pre_norm(patches)[grids.merged_order(grid, rows)]
        merged = ordered.reshape(-1, rows * columns * patches.shape[-1])
        return self.linear_2(self.act(self.linear_1(merged)))

    with (
        grids_as_tensors(model),
        replaced(type(model.model.projector), "forward", project),
    ):
        yield


@contextmanager
def _hunyuan_tower(model: Upstream) -> Iterator[None]:
    """HunYuan VL embeds and merges the patches of each image in a loop over a list; those of one shape go together."""
    tower = next(m for m in model.modules() if hasattr(m, "patch_merger"))
    embeddings, merger, original = tower.embeddings, tower.patch_merger, torch.split
    own = merger.forward

    def embed(pixel_values: Tensor, grid: Tensor) -> Tensor:
        config = embeddings.config
        pixels = pixel_values.unflatten(-1, (config.num_channels, config.patch_size, config.patch_size))
        patches = embeddings.patch_embedding(pixels).flatten(1)
        _, rows, columns = grid[0].tolist()
        places = embeddings.interpolate_pos_encoding(patches, rows, columns)
        return (patches.unflatten(0, (-1, rows * columns)) + places).flatten(0, 1)[None]

    def merge(states: Tensor, size: tuple[int, int]) -> Tensor:
        images = states[0].unflatten(0, (-1, size[0] * size[1]))
        return own(images, size).flatten(0, 1)[None]

    def unsplit(tensor: Tensor, sizes: Any, dim: int = 0) -> Any:
        return (tensor,) if dim == 1 else original(tensor, sizes, dim)

    with (
        patches_as_tensors(model),
        replaced(embeddings, "forward", embed),
        replaced(merger, "forward", merge),
        replaced(torch, "split", unsplit),
    ):
        yield


def _hunyuan_positions(model: Upstream) -> AbstractContextManager[None]:
    """HunYuan VL counts positions row by row in Python: words one after the other, and images by their places.

    The last three axes of an image's token are its column, its row and the number of the image; its first and last
    token are as words, and each of its rows has a token more than it has merged patches.
    """

    def get_rope_index(
        self: Upstream,
        input_ids: Tensor,
        mm_token_type_ids: Tensor,
        image_grid_thw: Tensor,
        attention_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        merge = self.config.vision_config.spatial_merge_size
        axes = len(self.config.text_config.rope_parameters["mrope_section"])
        real = attention_mask.bool()
        words = real.cumsum(-1) - 1
        _, rows, columns = (image_grid_thw // merge).unbind(-1)
        columns = columns + 1
        ends = (rows * columns + 2).cumsum(0)
        here = real & (mm_token_type_ids == 1)
        order = (here.flatten().cumsum(0) - 1).clamp(min=0).view_as(input_ids)
        image = torch.searchsorted(ends, order, right=True).clamp(max=ends.shape[0] - 1)
        place = order - nn.functional.pad(ends[:-1], (1, 0))[image] - 1
        rows, columns = rows[image], columns[image]
        inside = here & (place >= 0) & (place < rows * columns)
        seen = [place % columns, place // columns, image]
        positions = torch.stack([words] * (axes - 3) + [torch.where(inside, own, words) for own in seen])
        positions = positions * real
        return positions, (positions.amax((0, 2)) + 1 - real.sum(-1))[:, None]

    return replaced(type(model.model), "get_rope_index", get_rope_index)


def _pages_in_one(model: Upstream) -> AbstractContextManager[None]:
    """DeepSeek-OCR-2 lists the features of every page, and concatenates the list; a trace bakes its length.

    One item holds all pages in the same order, each followed by the separator. Local views (`pixel_values_local`)
    are not taken.
    """
    inner = model.model

    def features(pixel_values: Tensor, *_: Any, **__: Any) -> BaseModelOutputWithPooling:
        seen = inner.vision_tower(pixel_values).last_hidden_state
        pages = inner.multi_modal_projector(seen)
        ends = inner.view_separator.expand(pages.shape[0], 1, -1)
        pooled: Any = [torch.cat([pages, ends.to(pages)], dim=1).flatten(0, 1)]
        return BaseModelOutputWithPooling(last_hidden_state=seen, pooler_output=pooled)

    return replaced(inner, "get_image_features", features)


@contextmanager
def _every_expert(model: Upstream) -> Iterator[None]:
    """Step 3.7 loops over the experts that some token has chosen, and a trace bakes which those were.

    Running all of them on all tokens, each token weighted by its share in the expert (mostly 0), gives the same sum.
    """

    def forward(self: Any, states: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        shares = weights.new_zeros(states.shape[0], self.num_experts).scatter(1, chosen, weights)
        total = torch.zeros_like(states)
        for expert in range(self.num_experts):
            gated = self._apply_gate(nn.functional.linear(states, self.gate_up_proj[expert]))
            own = nn.functional.linear(gated, self.down_proj[expert])
            total = total + own * shares[:, expert, None].to(own.dtype)
        return total

    kind = next(type(part) for part in model.modules() if type(part).__name__ == "Step3p7Experts")
    with replaced(kind, "forward", forward):
        yield


ADAPTERS: dict[str, list[Adapter]] = {
    "deepseek_ocr2": [_pages_in_one],
    "ernie4_5_vl_moe": [_ernie_pictures],
    "hunyuan_vl": [_hunyuan_tower, features_unsplit, _hunyuan_positions],
    "hunyuan_vl_vision": [_hunyuan_tower],
    "paddleocr_vl": [_paddle_pictures],
    "step3p7": [images_as_one, _every_expert],
}
