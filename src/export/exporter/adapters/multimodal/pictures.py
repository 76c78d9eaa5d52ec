"""Patches for models that take pictures one by one."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..patches import (
    Adapter,
    Upstream,
    hooked,
    module_of,
    replaced,
    rewritten,
    shadowed,
)
from .qwen import features_unsplit, seeing


def _queries_by_number(model: Upstream) -> AbstractContextManager[None]:
    """Aria looks up how many queries a count of patches gets; while tracing, counts are tensors, which no key equals.

    Its images have one size.
    """

    class ByNumber(dict[Any, Any]):
        def __contains__(self, count: Any) -> bool:
            return super().__contains__(int(count))

        def __getitem__(self, count: Any) -> Any:
            return super().__getitem__(int(count))

    projector = model.model.multi_modal_projector
    return replaced(projector, "patch_to_query_dict", ByNumber(projector.patch_to_query_dict))


def _pictures_as_words(model: Upstream) -> AbstractContextManager[None]:
    """Emu3 cuts the codes of every image to its size and turns them into words, in lists that a trace bakes.

    Images of one size go together; each row of codes ends with the word for it.
    """

    def get_image_features(
        self: Upstream, pixel_values: Tensor, image_sizes: Tensor, **_: Any
    ) -> SimpleNamespace:
        eyes, words = self.vqmodel, self.vocabulary_mapping
        frames = pixel_values.to(eyes.dtype)[:, None]
        frames = frames.repeat(1, eyes.config.temporal_downsample_factor, 1, 1, 1)
        seen = eyes.quant_conv(eyes.encoder(frames).transpose(1, 2)).transpose(1, 2)
        height, width = (image_sizes[0] // eyes.vision_spatial_factor).tolist()
        codes = eyes.quantize(seen).squeeze(1)[:, :height, :width]
        written = words.img2bpe_mapping_tensor[codes]
        ends = torch.full_like(written[..., :1], words.eol_token_id)
        written = torch.cat([written, ends], -1).flatten()
        return SimpleNamespace(pooler_output=(self.get_input_embeddings()(written),))

    return replaced(type(model.model), "get_image_features", get_image_features)


def _features_in_one(model: Upstream) -> AbstractContextManager[None]:
    """FastVLM lists the features of all images, and concatenates the list; a trace bakes its length."""

    def features(images: Tensor) -> list[Tensor]:
        return [images.flatten(0, 1)]

    return shadowed(module_of(model), "list", features)


def _cameras_by_mask(model: Upstream) -> AbstractContextManager[None]:
    """pi0 loops over the rows to leave cameras out that the mask hides; indexing by the mask takes the same ones."""
    inner = model.model

    def embed_prefix(ids: Tensor, pictures: Tensor, mask: Tensor, *_: Any) -> Tensor:
        features = inner.vlm.get_image_features(pictures.flatten(0, 1)).pooler_output
        seen = features.unflatten(0, (-1, mask.shape[1]))[mask]
        image = ids == inner.config.vlm_config.image_token_id
        words = inner.vlm.get_input_embeddings()(ids.masked_fill(image, 0))
        return words.masked_scatter(image[..., None], seen.to(words.dtype))

    return replaced(inner, "embed_prefix", embed_prefix)


@contextmanager
def _pictures_on_top_of_each_other(model: Upstream) -> Iterator[None]:
    """Pixtral inside Mistral 3 and LightOnOCR takes images one by one, in lists that a trace bakes.

    Images of one size, one below the other, are one image to the class's own code; rows of patches count
    from the top of their own image, and attention keeps to it.
    """
    tower = next(m for m in model.modules() if type(m).__name__ == "PixtralVisionModel")
    pixtral, owner = module_of(tower), type(model.model)
    own = owner.get_image_features

    def get_image_features(self: Upstream, pixel_values: Tensor, image_sizes: Tensor, **given: Any) -> Any:
        height, width = image_sizes[0].unbind()
        rows, columns = height // tower.patch_size, width // tower.patch_size
        count = torch.ones_like(image_sizes[:, 0]).sum()
        size = torch.stack([height * count, width])[None]
        tall = pixel_values.transpose(0, 1).flatten(1, 2)[None]

        def within(_m: Upstream, args: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            row, column = args[1].unbind(-1)
            return args[0], torch.stack([row % rows, column], -1)

        def apart(_sizes: Any, patches: Tensor) -> Tensor:
            image = torch.arange(patches.shape[1]) // (rows * columns)
            lowest = torch.finfo(patches.dtype).min
            other = image[:, None] != image
            return torch.zeros_like(other, dtype=patches.dtype).masked_fill(other, lowest)[None, None]

        with (
            hooked(tower.patch_positional_embedding.register_forward_pre_hook, within),
            replaced(pixtral, "generate_block_attention_mask", apart),
            replaced(Tensor, "tolist", lambda numbers: list(numbers.unbind())),
        ):
            return own(self, tall, size, **given)

    with replaced(owner, "get_image_features", get_image_features):
        yield


@contextmanager
def _pictures_of_one_shape(model: Upstream) -> Iterator[None]:
    """LFM2-VL resizes positions and projects patches image by image, in lists that a trace bakes.

    Images of one shape, without padding, are all resized and projected alike.
    """
    owner = type(model.model)
    resizer = next(m for m in model.modules() if hasattr(m, "resize_positional_embeddings"))
    own = resizer.resize_positional_embeddings

    def resize(table: Tensor, shapes: Tensor, max_length: Any) -> Tensor:
        return own(table, shapes[:1], max_length).expand(shapes.shape[0], -1, -1)

    def get_image_features(
        self: Upstream,
        pixel_values: Tensor,
        spatial_shapes: Tensor,
        pixel_attention_mask: Tensor,
        **_: Any,
    ) -> Any:
        seen = self.vision_tower(
            pixel_values=pixel_values,
            spatial_shapes=spatial_shapes,
            pixel_attention_mask=pixel_attention_mask,
            return_dict=True,
        )
        patches = seen.last_hidden_state.unflatten(1, tuple(spatial_shapes[0].tolist()))
        seen.pooler_output = [self.multi_modal_projector(patches).flatten(0, 2)]
        return seen

    with (
        replaced(owner, "get_image_features", get_image_features),
        replaced(resizer, "resize_positional_embeddings", resize),
    ):
        yield


# Where images of padding are told from others and left out before they are seen; and how, after it.
LEFT_OUT_LATER = {
    r"pixel_values\.shape\[1:\]\.numel\(\)": "pixel_values[0].numel()",
    r"(pixel_values) = pixel_values\[real_images_inds\]\.contiguous\(\)": r"\1 = \1",
    r"(pixel_attention_mask) = pixel_attention_mask\[real_images_inds\]\.contiguous\(\)": r"\1 = \1",
    r"image_features\.split": "image_features[real_images_inds].split",
}


def _all_pictures_seen(model: Upstream) -> AbstractContextManager[None]:
    """Idefics leaves out images of padding before it sees the others, so that how many it sees depends on data.

    It sees every image by itself: what it sees of those can be left out afterwards.
    """
    owner = type(seeing(model))
    features = rewritten(owner.get_image_features, LEFT_OUT_LATER)

    def get_image_features(*args: Any, return_dict: bool = True, **given: Any) -> Any:
        return features(*args, **given)

    return replaced(owner, "get_image_features", get_image_features)


ADAPTERS: dict[str, list[Adapter]] = {
    "aria": [_queries_by_number],
    "colmodernvbert": [features_unsplit],
    "emu3": [_pictures_as_words],
    "fast_vlm": [_features_in_one],
    "idefics2": [_all_pictures_seen, features_unsplit],
    "idefics3": [_all_pictures_seen, features_unsplit],
    "lfm2_vl": [_pictures_of_one_shape],
    "lighton_ocr": [_pictures_on_top_of_each_other],
    "mistral3": [_pictures_on_top_of_each_other],
    "modernvbert": [features_unsplit],
    "pi0": [_cameras_by_mask],
    "smolvlm": [_all_pictures_seen, features_unsplit],
}
