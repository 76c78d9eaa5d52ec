"""Patches for models that take images of any size as one row of patches, each in its own way."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from ... import grids
from ..patches import (
    Adapter,
    Upstream,
    module_of,
    of_tensor,
    replaced,
    rows_of,
    shadowed,
    whole_sizes,
)
from .qwen import features_unsplit, patches_as_tensors


@contextmanager
def _means_of_merged_patches(model: Upstream) -> Iterator[None]:
    """VideoLLaMA 3 makes the patches of each image fewer in a loop over a list, by `interpolate`.

    Bilinear, to a half of the size, it is the mean of each 2 x 2, which stand together in the row of patches; no
    processor merges more.
    """
    kind = next(type(m) for m in model.modules() if hasattr(m, "pixel_unshuffle"))

    def unshuffle(_: Upstream, states: Tensor, _grid: Tensor, merge: Tensor) -> Tensor:
        return states.unflatten(0, (-1, merge[0] ** 2)).mean(1)

    with patches_as_tensors(model), replaced(kind, "pixel_unshuffle", unshuffle):
        yield


def _positions_of_one_shape(model: Upstream) -> AbstractContextManager[None]:
    """Cosmos 3 Edge resizes its position embeddings image by image; those of one shape share them."""
    owner = next(type(m) for m in model.modules() if hasattr(m, "resize_positional_embeddings"))
    own = owner.resize_positional_embeddings

    def resize(table: Tensor, grid: Tensor, merge: int) -> Tensor:
        return own(table, grid[:1], merge).repeat(grid.shape[0], 1)

    return replaced(owner, "resize_positional_embeddings", staticmethod(resize))


@contextmanager
def _kimi_pictures(model: Upstream) -> Iterator[None]:
    """Kimi K2.5 lists the frames of patches image by image, and counts patches in numbers that a trace bakes.

    A picture has one frame: no time. The names in its module by which it counts keep what they are given.
    """
    module = module_of(model)

    def frames(grid: Tensor, **_: Any) -> Tensor:
        patches: Any = grid.prod(-1).sum()
        return torch.zeros(patches, dtype=torch.int64)

    with (
        patches_as_tensors(model),
        replaced(module, "get_vision_frame_index", frames),
        whole_sizes(module),
        shadowed(module, "len", rows_of, of_tensor),
    ):
        yield


@contextmanager
def packed_places(model: Upstream) -> Iterator[None]:
    """MiniCPM-V lists the places of patches image by image; its images have one size."""
    module = module_of(model)

    def nearest(sizes: Tensor, side: int, **_: Any) -> Tensor:
        height, width = sizes[0].unbind()
        bounds = torch.arange(1 / side, 1.0, 1 / side)

        def learned(length: Any) -> Tensor:
            return torch.bucketize(torch.arange(length) / length, bounds, right=True)

        row, column = learned(height), learned(width)
        return (row[:, None] * side + column).flatten().repeat(sizes.shape[0])

    with patches_as_tensors(model), replaced(module, "get_vision_nearest_position_ids", nearest):
        yield


@contextmanager
def packed_pictures(model: Upstream) -> Iterator[None]:
    """MiniCPM-V lists the places of patches, and merges them, image by image; its images have one size."""
    kind = next(type(m) for m in model.modules() if hasattr(m, "merger_times"))

    def merge(self: Upstream, states: Tensor, sizes: Tensor) -> list[Tensor]:
        images = states[0].unflatten(0, (sizes.shape[0], -1))

        def blocks_merged(part: Tensor) -> Tensor:
            (rows, columns), (high, wide) = sizes[0].unbind(), self.merge_kernel_size
            for mlp in self.mlp:
                rows, columns = rows // high, columns // wide
                blocks = part.view(-1, rows, high, columns, wide, part.shape[-1])
                part = mlp(blocks.transpose(2, 3).flatten(3).flatten(0, 2))
            return part

        # In two calls, as the traced case's two images are merged in eager Python: the layers' outputs are compared.
        return [blocks_merged(images[:1]), blocks_merged(images[1:])]

    with packed_places(model), replaced(kind, "forward", merge):
        yield


@contextmanager
def _source_before_target(model: Upstream) -> Iterator[None]:
    """GLM-Image takes the grids of every sample apart, and its images one by one, in lists.

    Every sample has one image, all of one size, and the grid of what is to be drawn. Images of one size, one below
    the other, are one image: their codes are found patch by patch.
    """
    owner = type(model.model)

    def sources(_: Upstream, samples: Tensor, grid: Tensor) -> Tensor:
        return grid.unflatten(0, (samples.shape[0], -1))[:, 0]

    def get_image_features(self: Upstream, pixel_values: Tensor, grid: Tensor, **given: Any) -> Any:
        seen = self.visual(pixel_values.type(self.visual.dtype), grid_thw=grid, **given)
        seen.pooler_output = [seen.pooler_output.t().unflatten(1, (-1, grid[0, 2]))]
        return seen

    def get_rope_index(
        self: Upstream,
        input_ids: Tensor,
        image_grid_thw: Tensor,
        attention_mask: Tensor,
        **_: Any,
    ) -> tuple[Tensor, Tensor]:
        real = attention_mask.bool()
        begin = (real & (input_ids == self.config.image_start_token_id)).long()
        end = (real & (input_ids == self.config.image_end_token_id)).long()
        inside = begin.cumsum(1) - begin - end.cumsum(1)
        grid = image_grid_thw.unflatten(0, (input_ids.shape[0], -1))[:, 0]
        positions, deltas = grids.token_positions(
            self, input_ids, inside, grid, attention_mask=attention_mask
        )
        return positions.masked_fill(~real, 1), torch.zeros_like(deltas)

    with (
        patches_as_tensors(model),
        replaced(owner, "get_image_grids_for_generation", sources),
        replaced(owner, "get_image_features", get_image_features),
        replaced(owner, "get_rope_index", get_rope_index),
    ):
        yield


@contextmanager
def _muse_pictures(model: Upstream) -> Iterator[None]:
    """Muse Glimmer lists the places of patches image by image."""
    module = module_of(model)

    def blocks(grid: Tensor, merge: int, **_: Any) -> Tensor:
        return grids.merged_order(grid, merge)

    with (
        patches_as_tensors(model),
        replaced(module, "get_vision_pixel_shuffle_index", blocks),
    ):
        yield


ADAPTERS: dict[str, list[Adapter]] = {
    "cosmos3_edge": [patches_as_tensors, _positions_of_one_shape, features_unsplit],
    "cosmos3_edge_vision": [patches_as_tensors, _positions_of_one_shape],
    "diffusion_gemma": [features_unsplit],
    "gemma4": [features_unsplit],
    "gemma4_unified": [features_unsplit],
    "glm_image": [_source_before_target],
    "kimi_k25": [_kimi_pictures, features_unsplit],
    "kimi_k25_vision": [_kimi_pictures],
    "minicpmv4_6": [packed_pictures],
    "muse_glimmer": [_muse_pictures, features_unsplit],
    "muse_glimmer_vision": [_muse_pictures],
    "video_llama_3": [_means_of_merged_patches, features_unsplit],
    "video_llama_3_vision": [_means_of_merged_patches],
}
