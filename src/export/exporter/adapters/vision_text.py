"""Patches for models of an image and a text, and for the first language models that see."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from .patches import Adapter, Upstream, hooked, module_of, of_tensor, replaced, rows_of, shadowed, whole_sizes


def images_as_one(model: Upstream) -> AbstractContextManager[None]:
    """LLaVA and Step-3.7 make a Python list of the projected images, and concatenate it again.

    A trace bakes its length. One "image" that holds all patches in the same order makes a list of one.
    """
    return hooked(
        model.model.multi_modal_projector.register_forward_hook,
        lambda _module, _inputs, projected: projected.flatten(0, 1).unsqueeze(0),
    )


def _bridgetower_masks(model: Upstream) -> AbstractContextManager[None]:
    """BridgeTowerModel.forward uses a mask made for image patches as queries with words as queries.

    Eager drops that mask, as it hides nothing; a trace keeps masks. One row of it serves any queries.
    """
    module = module_of(model)
    build = module.create_bidirectional_mask

    def one_row(inputs_embeds: Tensor, **given: Any) -> Tensor | None:
        return build(inputs_embeds=inputs_embeds[:, :1], **given)

    return replaced(module, "create_bidirectional_mask", one_row)


@contextmanager
def _square_root_in_tensors(model: Upstream) -> Iterator[None]:
    """CLIPSegDecoder.forward finds the side of the square of patches by `int(math.sqrt(patches))`.

    A trace bakes that number; the names in its module then mean the same on tensors. The square is perfect.
    """
    module = module_of(model)
    root = SimpleNamespace(sqrt=lambda number: number**0.5)
    with (
        replaced(module, "math", root),
        whole_sizes(module),
    ):
        yield


def _vilt_patches_in_order(model: Upstream) -> AbstractContextManager[None]:
    """ViltEmbeddings.visual_embed draws the order of patches at random and works in lists over rows.

    Attention does not see their order, and the mask hides whatever is not of the image: all patches in
    their order are the same set. Positions are interpolated, with corners aligned, to each row's own size.
    """

    def weights(sizes: Tensor, length: Any, learned: int) -> Tensor:
        """Bilinear weights [rows, length, learned] from a learned grid to that many real patches of a row."""
        step = (learned - 1) / (sizes - 1).clamp(min=1)
        place = torch.arange(length, device=sizes.device) * step[:, None]
        distance = place[..., None] - torch.arange(learned, device=sizes.device)
        return (1 - distance.abs()).clamp(min=0)

    def visual_embed(
        self: Upstream, pixel_values: Tensor, pixel_mask: Tensor, **_: Any
    ) -> tuple[Tensor, Tensor, None]:
        x = self.patch_embeddings(pixel_values)
        mask = nn.functional.interpolate(pixel_mask[:, None].float(), size=(x.shape[2], x.shape[3]))[
            :, 0
        ].long()
        side = self.config.image_size // self.config.patch_size
        learned = self.position_embeddings[0, 1:].unflatten(0, (side, side))
        rows = weights(mask.sum(1)[:, 0], x.shape[2], side).to(learned)
        columns = weights(mask.sum(2)[:, 0], x.shape[3], side).to(learned)
        positions = torch.einsum("bhp,bwq,pqc->bhwc", rows, columns, learned)
        x = x.permute(0, 2, 3, 1) + positions * mask[..., None].to(learned)
        first = self.cls_token + self.position_embeddings[:, :1]
        x = torch.cat((first.expand(x.shape[0], -1, -1), x.flatten(1, 2)), 1)
        return x, nn.functional.pad(mask.flatten(1), (1, 0), value=1), None

    return replaced(type(model.vilt.embeddings), "visual_embed", visual_embed)


def _idefics_embedding(model: Upstream) -> AbstractContextManager[None]:
    """IdeficsDecoupledEmbedding writes the added words' vectors into a tensor at places found by a search.

    Those places are indices of known length in a trace's assignment; a choice between two look-ups is none.
    """

    def forward(self: Upstream, input_ids: Tensor) -> Tensor:
        added = input_ids >= self.num_embeddings
        return torch.where(
            added[..., None],
            self.additional_embedding((input_ids - self.num_embeddings).clamp(min=0)),
            nn.functional.embedding(input_ids.masked_fill(added, 0), self.weight),
        )

    return replaced(type(model.model.embed_tokens), "forward", forward)


def _udop_patches_in_order(model: Upstream) -> AbstractContextManager[None]:
    """UDOP adds to each word the patch under its box and appends the other patches, in lists over rows.

    Sorted by whether a word took them, patches stand in the same order: those left, then zeros.
    """
    module = module_of(model)

    def combine(
        patches: Tensor,
        words: Tensor,
        bbox: Tensor,
        visual_bbox: Tensor | None,
        attention_mask: Tensor,
        side: int,
        _max_len: int,
        image_size: int,
        patch_size: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        middle = (bbox[..., :2] + bbox[..., 2:]) / 2.0
        column, row = (middle * side).floor().long().clip(0, side - 1).unbind(-1)
        under = row * side + column
        taken = patches.gather(1, under[..., None].expand(-1, -1, patches.shape[-1]))
        bbox = bbox.to(torch.float64)
        empty = (bbox.mean(-1) == 0.0) | (bbox.mean(-1) == 1.0)
        words = words + taken.masked_fill(empty[..., None], 0.0)
        left = torch.ones_like(patches[..., 0], dtype=torch.int64).scatter(1, under, 0)
        left, order = left.sort(dim=1, descending=True, stable=True)
        boxes = module.get_visual_bbox(image_size, patch_size).to(bbox)
        given = boxes.expand(patches.shape[0], -1, -1) if visual_bbox is None else visual_bbox

        def sorted_by_use(values: Tensor) -> Tensor:
            index = order[..., None].expand(-1, -1, values.shape[-1])
            return values.gather(1, index) * left[..., None].to(values)

        return (
            torch.cat([words, sorted_by_use(patches)], 1),
            torch.cat([bbox, sorted_by_use(given)], 1),
            torch.cat([attention_mask, left.to(attention_mask)], 1),
        )

    return replaced(module, "combine_image_text_embeddings", combine)


@contextmanager
def _omdet_texts_as_tensors(model: Upstream) -> Iterator[None]:
    """OmDet-Turbo looks texts up in a cache one by one and groups them by image, in lists.

    Here all are embedded. Tasks are not cut to the longest one: a mask hides what follows them. Sizes that
    go through `len` and `int` are baked; in the class's module both keep them.
    """

    def get_language_embedding(
        self: Upstream,
        classes_input_ids: Tensor,
        classes_attention_mask: Tensor,
        tasks_input_ids: Tensor,
        tasks_attention_mask: Tensor,
        classes_structure: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        embed = self.language_backbone
        classes = embed(classes_input_ids, encode_type="class")
        starts = classes_structure.cumsum(0) - classes_structure
        place = torch.arange(classes.shape[0])[:, None]
        there = (place < classes_structure)[: classes_structure.max()]
        index = (starts + place)[: classes_structure.max()] * there
        grouped = classes[index] * there[..., None]
        tasks = embed.model(tasks_input_ids)[0]
        return grouped, tasks.transpose(0, 1), tasks_attention_mask

    module = module_of(model)
    with (
        replaced(type(model), "get_language_embedding", get_language_embedding),
        shadowed(module, "len", rows_of, of_tensor),
        whole_sizes(module),
    ):
        yield


@contextmanager
def _images_of_one_size(model: Upstream) -> Iterator[None]:
    """LLaVA-NeXT cuts images into tiles and packs them one by one, in lists that a trace bakes.

    Images of one size are packed alike: as channels of a single image they go through the class's own code.
    """
    owner = type(model.model)
    own_images, own_packing = owner.get_image_features, owner.pack_image_features

    def as_channels(_m: Upstream, _i: Any, projected: Tensor, tiles: int) -> Tensor:
        images = projected.unflatten(0, (-1, tiles)).permute(1, 2, 0, 3)
        return images.flatten(2)

    def get_image_features(self: Upstream, pixel_values: Tensor, image_sizes: Tensor, **given: Any) -> Any:
        # Granite 4 Vision has a projector for each layer that it looks at.
        projectors = (
            [*self.layerwise_projectors, *self.spatial_projectors]
            if hasattr(self, "layerwise_projectors")
            else [self.multi_modal_projector]
        )
        reshape = partial(as_channels, tiles=pixel_values.shape[1])
        size = [tuple(image_sizes[0].numpy().tolist())]
        with ExitStack() as stack:
            for projector in projectors:
                stack.enter_context(hooked(projector.register_forward_hook, reshape))
            return own_images(self, pixel_values.flatten(0, 1), size, **given)

    def pack_image_features(
        self: Upstream,
        image_features: Any,
        *args: Any,
        image_newline: Tensor,
        **given: Any,
    ) -> Any:
        images = image_features[0].shape[-1] // image_newline.shape[0]
        newlines = image_newline.repeat(images)
        packed = own_packing(self, image_features, *args, image_newline=newlines, **given)
        # Granite 4 Vision returns no lengths beside the features.
        with_lengths = isinstance(packed, tuple)
        features = (packed[0] if with_lengths else packed)[0]
        apart = features.unflatten(-1, (-1, image_newline.shape[0])).transpose(0, 1).flatten(0, 1)
        return ([apart], None) if with_lengths else [apart]

    def unpad_image(image: Tensor, size: tuple[int, int]) -> Tensor:
        rows, columns = map(int, image.shape[1:])
        places = numpy.arange(rows * columns).reshape(1, rows, columns)
        kept = own_unpadding(places, size)
        top, left = divmod(int(kept[0, 0, 0]), columns)
        _, height, width = kept.shape
        return image[:, top : top + height, left : left + width]

    module = module_of(model)
    own_unpadding = module.unpad_image
    with (
        replaced(module, "unpad_image", unpad_image),
        replaced(owner, "get_image_features", get_image_features),
        replaced(owner, "pack_image_features", pack_image_features),
    ):
        yield


def _videos_as_one(model: Upstream) -> AbstractContextManager[None]:
    """LLaVA-NeXT-Video makes a Python list of the features of every video, and concatenates it again.

    A trace bakes its length. One "video" that holds all features in the same order makes a list of one.
    """
    owner = type(model.model)
    own = owner.get_video_features

    def get_video_features(*args: Any, **given: Any) -> Any:
        seen = own(*args, **given)
        seen.pooler_output = seen.pooler_output.flatten(0, 1).unsqueeze(0)
        return seen

    return replaced(owner, "get_video_features", get_video_features)


def _images_of_one_shape(model: Upstream) -> AbstractContextManager[None]:
    """SigLIP 2 resizes its position embeddings image by image; those of one shape share them."""
    tower: Upstream = getattr(model, "vision_model", model)
    owner = type(tower.embeddings)
    original = owner.resize_positional_embeddings

    def resize(positions: Tensor, spatial_shapes: Tensor, max_length: int) -> Tensor:
        height, width = spatial_shapes[0].numpy().tolist()
        resized = original(positions, spatial_shapes[:1].new_tensor([[height, width]]), height * width)
        rest = resized[:, :1].expand(-1, max_length - height * width, -1)
        return torch.cat([resized, rest], 1).expand(spatial_shapes.shape[0], -1, -1)

    return replaced(owner, "resize_positional_embeddings", staticmethod(resize))


ADAPTERS: dict[str, list[Adapter]] = {
    "bridgetower": [_bridgetower_masks],
    "clipseg": [_square_root_in_tensors],
    "granite4_vision": [_images_of_one_size],
    "idefics": [_idefics_embedding],
    "llava": [images_as_one],
    "llava_next": [_images_of_one_size],
    "llava_next_video": [_images_of_one_size, _videos_as_one],
    "llava_onevision": [_images_of_one_size],
    "omdet-turbo": [_omdet_texts_as_tensors],
    "siglip2": [_images_of_one_shape],
    "siglip2_vision_model": [_images_of_one_shape],
    "udop": [_udop_patches_in_order],
    "vilt": [_vilt_patches_in_order],
}
