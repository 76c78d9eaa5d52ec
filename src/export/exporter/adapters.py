"""Patches without which a class cannot be traced, or its trace would not hold at other sizes.

In: a model. Out: a context in which its class can be traced. Each patch says what it is for and why it is
needed, and computes what the code it replaces computes; references are taken without it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import masking_utils

Adapter = Callable[[nn.Module], AbstractContextManager[None]]


@contextmanager
def adapted(model: nn.Module) -> Iterator[None]:
    """Opens the patches that all models need under this transformers, and those for the model's type."""
    with ExitStack() as stack:
        for adapter in (*COMMON, *ADAPTERS.get(model.config.model_type, ())):
            stack.enter_context(adapter(model))
        yield


@contextmanager
def replaced(owner: object, name: str, value: Any) -> Iterator[None]:
    """An attribute of a module or class with another value while the block runs."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def shadowed(module: object, name: str, value: Any) -> Iterator[None]:
    """A built-in name with another meaning in one module while the block runs."""
    setattr(module, name, value)
    try:
        yield
    finally:
        delattr(module, name)


@contextmanager
def _masks_by_broadcasting(_model: nn.Module) -> Iterator[None]:
    """transformers 4 builds attention masks with `torch.vmap`, and indexes under it by an autograd function.

    The tracer can record neither. Mask functions are made of comparisons and indexing, which broadcast.
    """

    def expanded(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda batch, head, query, key: function(
            batch[:, None, None, None], head[:, None, None], query[:, None], key
        )

    with (
        replaced(masking_utils, "_vmap_for_bhqkv", expanded),
        replaced(masking_utils, "TransformGetItemToIndex", nullcontext),
    ):
        yield


@contextmanager
def _images_as_one(model: nn.Module) -> Iterator[None]:
    """LLaVA makes a Python list of the projected images, and concatenates it again.

    A trace bakes its length. One "image" that holds all patches in the same order makes a list of one.
    """
    hook = model.model.multi_modal_projector.register_forward_hook(
        lambda _module, _inputs, projected: projected.flatten(0, 1).unsqueeze(0)
    )
    try:
        yield
    finally:
        hook.remove()


def _bloom_gelu(model: nn.Module) -> AbstractContextManager[None]:
    """BLOOM's GELU is an autograd function in Python, which TorchScript cannot save.

    Its forward is a plain formula, a function of its own.
    """
    module = sys.modules[type(model).__module__]
    return replaced(
        module, "GeLUFunction", SimpleNamespace(apply=module.bloom_gelu_forward)
    )


def _bridgetower_masks(model: nn.Module) -> AbstractContextManager[None]:
    """BridgeTowerModel.forward uses a mask made for image patches as queries with words as queries.

    Eager drops that mask, as it hides nothing; a trace keeps masks. One row of it serves any queries.
    """
    module = sys.modules[type(model).__module__]
    build = module.create_bidirectional_mask

    def one_row(inputs_embeds: Tensor, **given: Any) -> Tensor | None:
        return build(inputs_embeds=inputs_embeds[:, :1], **given)

    return replaced(module, "create_bidirectional_mask", one_row)


@contextmanager
def _square_root_in_tensors(model: nn.Module) -> Iterator[None]:
    """CLIPSegDecoder.forward finds the side of the square of patches by `int(math.sqrt(patches))`.

    A trace bakes that number; the names in its module then mean the same on tensors. The square is perfect.
    """
    module = sys.modules[type(model).__module__]
    root = SimpleNamespace(sqrt=lambda number: number**0.5)
    with replaced(module, "math", root), shadowed(
        module, "int", lambda value: value.to(torch.int64)
    ):
        yield


def _vilt_patches_in_order(model: nn.Module) -> AbstractContextManager[None]:
    """ViltEmbeddings.visual_embed draws the order of patches at random and works in lists over rows.

    Attention does not see their order, and the mask hides whatever is not of the image: all patches in
    their order are the same set. Positions are interpolated, with corners aligned, to each row's own size.
    """

    def weights(sizes: Tensor, length: Tensor, learned: int) -> Tensor:
        """Bilinear weights [rows, length, learned] from a learned grid to that many real patches of a row."""
        step = (learned - 1) / (sizes - 1).clamp(min=1)
        place = torch.arange(length, device=sizes.device) * step[:, None]
        distance = place[..., None] - torch.arange(learned, device=sizes.device)
        return (1 - distance.abs()).clamp(min=0)

    def visual_embed(
        self: nn.Module, pixel_values: Tensor, pixel_mask: Tensor, **_: Any
    ) -> tuple[Tensor, Tensor, None]:
        x = self.patch_embeddings(pixel_values)
        mask = nn.functional.interpolate(
            pixel_mask[:, None].float(), size=(x.shape[2], x.shape[3])
        )[:, 0].long()
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


COMMON: list[Adapter] = (
    [_masks_by_broadcasting] if hasattr(masking_utils, "_vmap_for_bhqkv") else []
)
ADAPTERS: dict[str, list[Adapter]] = {
    "bloom": [_bloom_gelu],
    "bridgetower": [_bridgetower_masks],
    "clipseg": [_square_root_in_tensors],
    "llava": [_images_as_one],
    "vilt": [_vilt_patches_in_order],
}
