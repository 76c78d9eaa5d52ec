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


COMMON: list[Adapter] = (
    [_masks_by_broadcasting] if hasattr(masking_utils, "_vmap_for_bhqkv") else []
)
@contextmanager
def _xmod_every_adapter(model: nn.Module) -> Iterator[None]:
    """X-MOD gives each language's adapter the rows of that language (`XmodOutput.lang_adapter`).

    Written in place through a mask, a trace cannot repeat it for other rows. Adapters work row by row: all of them
    on all rows, then each row's own, is the same.
    """

    def lang_adapter(
        self: nn.Module, lang_ids: Tensor, hidden_states: Tensor
    ) -> Tensor:
        residual = hidden_states
        if self.adapter_layer_norm is not None:
            hidden_states = self.adapter_layer_norm(hidden_states)
        elif self.adapter_reuse_layer_norm:
            hidden_states = self.LayerNorm(hidden_states)
        if self.ln_before_adapter:
            residual = hidden_states
        adapted = torch.zeros_like(hidden_states)
        for index, adapter in enumerate(self.adapter_modules.values()):
            mine = (lang_ids == index)[:, None, None]
            adapted = torch.where(mine, adapter(hidden_states), adapted)
        return adapted + residual

    with replaced(
        sys.modules[type(model).__module__].XmodOutput, "lang_adapter", lang_adapter
    ):
        yield


ADAPTERS: dict[str, list[Adapter]] = {
    "bloom": [_bloom_gelu],
    "llava": [_images_as_one],
    "xmod": [_xmod_every_adapter],
}
