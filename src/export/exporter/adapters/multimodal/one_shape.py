"""Patches for models that look at pictures, or hear sounds, in a loop: those of one shape go together."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ..patches import Adapter, Upstream, replaced
from .qwen import features_unsplit, patches_as_tensors


@contextmanager
def _codes_as_words(model: Upstream) -> Iterator[None]:
    """Apertus 1.5 turns every image and every sound into words by itself, in loops over lists that a trace bakes.

    Images of one size, and whole sounds of one length, go together.
    """
    owner = type(model.model)

    def of_images(self: Upstream, pixel_values: Tensor, image_sizes: Tensor) -> list[Tensor]:
        height, width = image_sizes[0].tolist()
        codes = self.vision_tokenizer.encode(pixel_values[:, :, :height, :width]).image_tokens
        return [codes.flatten() + self.config.image_token_offset]

    def of_sounds(self: Upstream, input_values: Tensor, _mask: Tensor) -> list[Tensor]:
        codes = self.audio_tokenizer.encode(input_values, return_dict=True).audio_codes
        return [codes.flatten() + self.config.audio_token_offset]

    with replaced(owner, "get_image_tokens", of_images), replaced(owner, "get_audio_tokens", of_sounds):
        yield


@contextmanager
def _convolved_pictures(model: Upstream) -> Iterator[None]:
    """LFM3-VL convolves the patches of each image in a loop over a list; those of one shape go together."""
    kind = next(type(m) for m in model.modules() if hasattr(m, "spatial_conv"))
    own = kind.forward

    def forward(self: Upstream, hidden_states: Tensor, grid_thw: list[list[int]], **_: Any) -> Tensor:
        height, width = grid_thw[0][1:]
        images = hidden_states.shape[0] // (height * width)
        with replaced(torch, "split", lambda states, *_, **__: (states,)):
            return own(self, hidden_states, [[images, height, width]])

    with patches_as_tensors(model), replaced(kind, "forward", forward):
        yield


def _radio_pictures(model: Upstream) -> AbstractContextManager[None]:
    """Nemotron Omni embeds and merges the patches of each image in loops over lists; those of one shape go together."""
    tower = model.vision_model

    def get_image_features(
        self: Upstream, pixel_values: Tensor, image_grid_hw: Tensor, **_: Any
    ) -> BaseModelOutputWithPooling:
        height, width = image_grid_hw[0].tolist()
        embeddings = tower.embeddings
        patches = embeddings.patch_projection(pixel_values).unflatten(0, (-1, height * width))
        patches = patches + embeddings._interpolate_position_embedding((height, width), patches.dtype)
        first = embeddings.cls_register_token.expand(patches.shape[0], -1, -1)
        seen = tower.encoder(torch.cat([first, patches], dim=1)).last_hidden_state
        merged = self.project_vision_features(seen[:, first.shape[1] :], height, width)
        pooled: Any = (merged.flatten(0, 1),)
        return BaseModelOutputWithPooling(last_hidden_state=seen, pooler_output=pooled)

    return replaced(type(model), "get_image_features", get_image_features)


def _pages_with_ends(model: Upstream) -> AbstractContextManager[None]:
    """Unlimited-OCR lays out every page in a loop over the batch; pages of one size go together.

    Each row of a page has an end, each page the separator behind it. Local views (`pixel_values_local`) are not taken.
    """
    inner = model.model

    def features(pixel_values: Tensor, *_: Any, **__: Any) -> BaseModelOutputWithPooling:
        seen = inner.vision_tower(pixel_values).last_hidden_state
        pages = inner.multi_modal_projector(seen)
        side = int(pages.shape[1] ** 0.5)
        ends = inner.image_newline.expand(pages.shape[0], side, 1, -1)
        lines = torch.cat([pages.unflatten(1, (side, side)), ends], dim=2).flatten(1, 2)
        between = inner.view_separator.expand(pages.shape[0], 1, -1)
        pooled: Any = [torch.cat([lines, between], dim=1).flatten(0, 1)]
        return BaseModelOutputWithPooling(last_hidden_state=seen, pooler_output=pooled)

    return replaced(inner, "get_image_features", features)


ADAPTERS: dict[str, list[Adapter]] = {
    "apertus1p5": [_codes_as_words],
    "lfm3_vl": [_convolved_pictures, features_unsplit],
    "lfm3_vl_vision": [_convolved_pictures],
    "nemotron_h_omni": [_radio_pictures],
    "unlimited_ocr": [_pages_with_ends],
}
