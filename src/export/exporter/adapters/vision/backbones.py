"""Patches for models that make features of images."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..patches import (
    Adapter,
    Upstream,
    at_least,
    module_of,
    replaced,
    took_hold,
)


def _tf_padding(model: Upstream) -> AbstractContextManager[None]:
    """MobileNet's padding in the manner of TensorFlow, by a formula instead of branches on the size.

    `apply_tf_padding`: padded so that the strides cover the whole size, s * ceil(size / s) - s + kernel - size.
    """

    def pad(features: Tensor, conv: nn.Conv2d) -> Tensor:
        padding: list[Any] = []
        for axis in (1, 0):
            size, stride = features.shape[axis - 2], conv.stride[axis]
            whole = (size + stride - 1) // stride * stride
            missing = at_least(whole - size + conv.kernel_size[axis] - stride, 0)
            before = missing // 2
            padding += [
                before * conv.dilation[axis],
                (missing - before) * conv.dilation[axis],
            ]
        return nn.functional.pad(features, padding, "constant", 0.0)

    return replaced(module_of(model), "apply_tf_padding", pad)


@contextmanager
def _biases_not_cached(model: Upstream) -> Iterator[None]:
    """LeViT looks up its attention biases once; a trace must hold the look-up, not what an earlier run found.

    `LevitAttention.train` forgets what was looked up.
    """
    caches = [part.attention_bias_cache for part in model.modules() if hasattr(part, "attention_bias_cache")]
    if caches:
        took_hold(any(caches))
    model.train().eval()
    try:
        yield
    finally:
        model.train().eval()


def _pixtral_without_lists(model: Upstream) -> AbstractContextManager[None]:
    """Pixtral's vision tower makes lists with an item for each image, which bakes the number of images.

    `PixtralVisionModel.forward` for images of one size: the same patches in the same order, the same positions for
    every image, and a mask that lets a patch see its own image only.
    """

    def forward(pixel_values: Tensor, **_switches: Any) -> Any:
        embeds = model.patch_conv(pixel_values)
        images, _, height, width = embeds.shape
        patches = embeds.flatten(2).transpose(1, 2).flatten(0, 1).unsqueeze(0)
        patches = model.ln_pre(patches)
        image = torch.arange(images).repeat_interleave(height * width)
        apart = image[:, None] != image[None, :]
        mask = torch.zeros_like(apart, dtype=patches.dtype)
        mask = mask.masked_fill(apart, torch.finfo(patches.dtype).min)[None, None]
        grid = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        positions = torch.stack([ids.flatten() for ids in grid], -1).repeat(images, 1)
        return model.transformer(
            patches,
            attention_mask=mask,
            position_embeddings=model.patch_positional_embedding(patches, positions),
            position_ids=positions,
        )

    return replaced(model, "forward", forward)


def _neighbours(length: Any, kernel: int, dilation: int) -> tuple[Tensor, Tensor]:
    """For each place of a line the places [length, kernel] of its neighbours, and how far these are off.

    natten's `get_window_start` and `get_pb_start`: neighbours lie a dilation apart, and a place near an end has those
    that are nearest to it on the line; distances are counted from the farthest on the left, `1 - kernel`.
    """
    place = torch.arange(length)
    rest, step = place % dilation, place // dilation
    steps = (length - rest + dilation - 1) // dilation
    first = torch.minimum((step - kernel // 2).clamp(min=0), steps - kernel)
    window = first[:, None] + torch.arange(kernel)
    return rest[:, None] + dilation * window, window - step[:, None] + kernel - 1


@contextmanager
def _neighbours_gathered(model: Upstream) -> Iterator[None]:
    """NAT and DiNAT call kernels of natten, which a trace cannot hold.

    `natten2dqkrpb` and `natten2dav` on [batch, head, height, width, size] with the neighbours gathered.
    """

    def gathered(grid: Tensor, kernel: int, dilation: int) -> Tensor:
        rows, _ = _neighbours(grid.shape[2], kernel, dilation)
        columns, _ = _neighbours(grid.shape[3], kernel, dilation)
        return grid[:, :, rows[:, None, :, None], columns[None, :, None, :]]

    def scores(query: Tensor, key: Tensor, bias: Tensor, kernel: int, dilation: int) -> Tensor:
        _, rows = _neighbours(key.shape[2], kernel, dilation)
        _, columns = _neighbours(key.shape[3], kernel, dilation)
        near = bias[:, rows[:, None, :, None], columns[None, :, None, :]]
        keys = gathered(key, kernel, dilation)
        return ((query[..., None, None, :] * keys).sum(-1) + near).flatten(-2)

    def context(attention: Tensor, value: Tensor, kernel: int, dilation: int) -> Tensor:
        weights = attention.unflatten(-1, (kernel, kernel)).unsqueeze(-1)
        return (weights * gathered(value, kernel, dilation)).sum((-3, -2))

    module = module_of(model)
    with (
        replaced(module, "natten2dqkrpb", scores),
        replaced(module, "natten2dav", context),
    ):
        yield


ADAPTERS: dict[str, list[Adapter]] = {
    "dinat": [_neighbours_gathered],
    "levit": [_biases_not_cached],
    "mobilenet_v1": [_tf_padding],
    "mobilenet_v2": [_tf_padding],
    "nat": [_neighbours_gathered],
    "pixtral": [_pixtral_without_lists],
}
