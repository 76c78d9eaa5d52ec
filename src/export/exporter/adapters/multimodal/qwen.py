"""Patches for Qwen-VL, and for all that take images of any size as one row of patches just as it does."""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from ... import grids
from ..decoder_only import short_rows
from ..patches import (
    Adapter,
    Upstream,
    module_of,
    registered,
    replaced,
    rewritten,
    smaller,
)

# How many patches stand before those of an image. The first way asks whether all images but one are one.
COUNTED_BEFORE = {r"F\.pad\(counts\.cumsum\(0\)\[:-1\], \(1, 0\)\)": "counts.cumsum(0) - counts"}


def seeing(model: Upstream) -> Upstream:
    """The innermost part of a model that embeds images; the model where it has none."""
    parts = (part for part in model.modules() if hasattr(part, "get_image_features"))
    return [model, *parts][-1]


@contextmanager
def patches_as_tensors(model: Upstream) -> Iterator[None]:
    """Positions of patches, windows and segments of attention are computed in Python, image by image."""
    attentions = [
        part
        for part in model.modules()
        if "cu_seqlens" in inspect.signature(part.forward).parameters
        and not hasattr(part, "attn")
        and any(hasattr(part, name) for name in ("qkv", "q_proj", "q"))
    ]
    # Some classes see with the eyes of another's module.
    modules = {module_of(part) for part in model.modules()}
    with ExitStack() as stack:
        for module in modules:
            if hasattr(module, "get_vision_position_ids"):
                stack.enter_context(replaced(module, "get_vision_position_ids", grids.patch_positions))
            if hasattr(module, "get_vision_interpolation_indices_and_weights"):
                weights = rewritten(module.get_vision_interpolation_indices_and_weights, COUNTED_BEFORE)
                stack.enter_context(replaced(module, "get_vision_interpolation_indices_and_weights", weights))
            if hasattr(module, "get_vision_window_index"):
                stack.enter_context(replaced(module, "get_vision_window_index", grids.window_order))
            if hasattr(module, "eager_attention_forward"):
                eager = grids.masked(module.eager_attention_forward)
                stack.enter_context(replaced(module, "eager_attention_forward", eager, grids.needs_mask))
        # All modules know attention's other implementations by one registry.
        known = (getattr(module, "ALL_ATTENTION_FUNCTIONS", None) for module in modules)
        registry = next(found for found in known if found)
        stack.enter_context(registered(registry, "sdpa", grids.masked(registry["sdpa"]), grids.needs_mask))
        owner = type(seeing(model))
        if hasattr(owner, "get_rope_index"):
            stack.enter_context(replaced(owner, "get_rope_index", grids.token_positions))
        stack.enter_context(grids.in_one_segment(attentions))
        yield


@contextmanager
def features_unsplit(model: Upstream) -> Iterator[None]:
    """The features of all images are split by a list of lengths, which a trace bakes, to be concatenated again."""
    owner = type(seeing(model))

    def by_image(features: Tensor, sizes: Any, dim: int = 0) -> bool:
        # Weights that hold several matrices are split too.
        return isinstance(sizes, list) and dim == 0 and not isinstance(features, nn.Parameter)

    def as_one(features: Tensor, *_: Any, **__: Any) -> tuple[Tensor]:
        return (features,)

    def of_any_number(lengths: Tensor) -> bool:
        # A graph would have as many numbers as there were images when it was made.
        return isinstance(lengths.shape[0], torch.SymInt)

    def whole(own: Callable[..., Any]) -> Callable[..., Any]:
        def features(*args: Any, **given: Any) -> Any:
            with (
                replaced(torch, "split", as_one, by_image),
                replaced(Tensor, "split", as_one, by_image),
                replaced(FakeTensor, "tolist", lambda lengths: [lengths], of_any_number),
            ):
                return own(*args, **given)

        return features

    with ExitStack() as stack:
        for name in ("get_image_features", "get_video_features"):
            if hasattr(owner, name):
                stack.enter_context(replaced(owner, name, whole(getattr(owner, name))))
        yield


@contextmanager
def grids_as_tensors(model: Upstream) -> Iterator[None]:
    """Qwen2-VL and its kin compute in lists over images, in their vision models and behind them."""
    with patches_as_tensors(model), features_unsplit(model):
        yield


def _tokens_by_block(model: Upstream) -> AbstractContextManager[None]:
    """Qwen4's indexer chooses, row by row and query by query in Python, the blocks of earlier tokens that it sees.

    Blocks are made of real tokens in their order, so they are the same for all queries: only how many of them
    are complete differs. What comes after the last complete one is always seen.
    """
    kind = next(type(m) for m in model.modules() if type(m).__name__.endswith("QSAIndexer"))
    rotate = sys.modules[kind.__module__].apply_rotary_pos_emb

    def forward(self: Any, states: Tensor, angles: Any, attention_mask: Tensor, cache: Upstream) -> Tensor:
        # Those of the queries stand behind those of what a cache holds.
        cos, sin = angles
        own = [turn[:, -states.shape[1] :] for turn in angles]
        ratio, width = self.compress_ratio, self.index_head_dim
        queries, keys = self.index_qk_proj(states).split(
            [self.index_n_heads * width, self.index_kv_heads * width], -1
        )
        queries = self.q_layernorm(queries.unflatten(-1, (-1, width)))
        queries = rotate(queries, cos=own[0], sin=own[1], unsqueeze_dim=2)
        if cache is not None:
            keys = cache.update_indexer(keys, self.layer_idx)
        # Eager adds its mask to scores; the other implementations are given booleans.
        seen = (attention_mask if attention_mask.dtype is torch.bool else attention_mask == 0)[:, 0]
        real = seen[:, -1]
        order = torch.argsort((~real).long(), dim=-1, stable=True)
        blocks = keys.shape[1] // ratio
        order = order[:, : blocks * ratio].unflatten(-1, (-1, ratio))
        rows = torch.arange(keys.shape[0])[:, None]
        pooled = keys[rows[..., None], order].float().mean(2).to(keys.dtype)
        starts = order[..., 0]
        pooled = rotate(
            self.k_layernorm(pooled)[:, :, None],
            cos=cos[rows, starts],
            sin=sin[rows, starts],
            unsqueeze_dim=2,
        )[:, :, 0]
        scores = torch.einsum("bshd,bkd->bskh", queries.float(), pooled.float())
        # One block more, never complete, so that there is one in a row too short for any.
        scores = nn.functional.pad(torch.relu(scores).sum(-1) / width**0.5, (0, 1))
        complete = seen.sum(-1, keepdim=True) // ratio
        ready = torch.arange(blocks + 1) < complete
        best = scores.masked_fill(~ready, float("-inf")).topk(smaller(self.block_topk, blocks)).indices
        chosen = torch.zeros_like(scores).scatter(-1, best, 1.0).bool() & ready
        block = ((real.cumsum(-1) - 1).clamp(min=0) // ratio)[:, None].expand_as(seen)
        kept = chosen.gather(-1, block.clamp(max=blocks)) | (block >= complete)
        return (kept & seen)[:, None]

    return replaced(kind, "forward", forward)


ADAPTERS: dict[str, list[Adapter]] = {
    "cohere_compass": [grids_as_tensors],
    "cohere_compass_vision": [patches_as_tensors],
    "colqwen2": [patches_as_tensors],
    "cosmos3_omni": [grids_as_tensors],
    "exaone4_5": [grids_as_tensors],
    "exaone4_5_vision": [patches_as_tensors],
    "glm46v": [grids_as_tensors],
    "glm4v": [grids_as_tensors],
    "glm4v_moe": [grids_as_tensors],
    "glm4v_moe_vision": [patches_as_tensors],
    "glm4v_vision": [patches_as_tensors],
    "glm5_next": [grids_as_tensors, short_rows],
    "glm5_next_vision": [patches_as_tensors],
    "glm_image_vision": [patches_as_tensors],
    "glm_ocr": [grids_as_tensors],
    "glm_ocr_vision": [patches_as_tensors],
    "minimax_m3_vl": [grids_as_tensors],
    "qwen2_5_vl": [grids_as_tensors],
    "qwen2_vl": [grids_as_tensors],
    "qwen3_5": [grids_as_tensors],
    "qwen3_5_moe": [grids_as_tensors],
    "qwen3_5_moe_vision": [patches_as_tensors],
    "qwen3_5_vision": [patches_as_tensors],
    "qwen3_vl": [grids_as_tensors],
    "qwen3_vl_moe": [grids_as_tensors],
    "qwen3_vl_moe_vision": [patches_as_tensors],
    "qwen3_vl_vision": [patches_as_tensors],
    "qwen4_exp": [grids_as_tensors, _tokens_by_block],
    "qwen4_exp_text": [_tokens_by_block],
    "qwen4_exp_vision": [patches_as_tensors],
}
