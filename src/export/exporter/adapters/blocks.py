"""Patches for models that read tokens in blocks, which they compress.

Upstream asks how many whole blocks there are, and whether a block was read before; a trace bakes what it is told.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from .patches import Upstream, module_of, replaced, smaller

# Who compresses, by the name that the cache has for it.
OUTER, INDEXER = "compressor", "indexer"


@contextmanager
def compressed_blocks(model: Upstream) -> Iterator[None]:
    """DeepSeek-V4 asks how many whole blocks of tokens there are, and reads none, one and several in different ways.

    Here all are read alike, none included: `[rows, blocks, …]` with as many blocks as there are.
    """
    module = module_of(model)

    def blocks(part: Upstream, name: str, hidden: Tensor, layer: Any, *, overlap: bool) -> Tensor:
        """All blocks so far, `[rows, blocks, width]`; those that the tokens complete are compressed now."""
        kv, gate = part.kv_proj(hidden), part.gate_proj(hidden)
        rate, before = part.compress_rate, 0
        if layer is not None:
            before = _held(part, name, kv, gate, layer)
            kv = torch.cat([layer.buffer_kv[name], kv], 1)
            gate = torch.cat([layer.buffer_gate[name], gate], 1)
        count = kv.shape[1] // rate
        whole = (kv.shape[0], count, rate, kv.shape[-1])
        if layer is not None:
            layer.buffer_kv[name], layer.buffer_gate[name] = kv[:, count * rate :], gate[:, count * rate :]
        kv, gate = kv[:, : count * rate].reshape(whole), gate[:, : count * rate].reshape(whole)
        gate = gate + part.position_bias
        if overlap:
            kv, gate = _with_previous(part, name, kv, gate, layer)
        made = part.kv_norm((kv * gate.softmax(dim=2, dtype=torch.float32).to(kv.dtype)).sum(dim=2))
        places = ((torch.arange(count, device=made.device) + before) * rate)[None].expand(made.shape[0], -1)
        cos, sin = part.rotary_emb(made, position_ids=places, layer_type=part.rope_layer_type)
        made = module.apply_rotary_pos_emb(made[:, None], cos, sin).squeeze(1)
        if layer is None:
            return made
        layer.compressed_kv[name] = torch.cat([layer.compressed_kv[name], made], 1)
        layer.entry_count[name] = layer.compressed_kv[name].shape[1]
        return layer.compressed_kv[name]

    def seen(part: Upstream, positions: Tensor, count: Any) -> Tensor:
        """Which blocks each query sees, `[rows, queries, blocks]`: those that were whole at its place."""
        return (
            torch.arange(count, device=positions.device) < ((positions + 1) // part.compress_rate)[..., None]
        )

    def all_before(part: Upstream, hidden: Tensor, _q: Tensor, positions: Tensor, cache: Any, at: int) -> Any:
        layer = None if cache is None else cache.layers[at]
        made = blocks(part, OUTER, hidden, layer, overlap=False)
        return made[:, None], _bias(seen(part, positions, made.shape[1]), made)

    def chosen(part: Upstream, hidden: Tensor, q: Tensor, positions: Tensor, cache: Any, at: int) -> Any:
        layer = None if cache is None else cache.layers[at]
        made = blocks(part, OUTER, hidden, layer, overlap=True)
        return made[:, None], _bias(part.indexer(hidden, q, positions, cache, at), made)

    def choice(part: Upstream, hidden: Tensor, q: Tensor, positions: Tensor, cache: Any, at: int) -> Tensor:
        """Which blocks each query looks at, `[rows, queries, blocks]`: the best of those that it sees."""
        layer = None if cache is None else cache.layers[at]
        made = blocks(part, INDEXER, hidden, layer, overlap=True)
        cos, sin = part.rotary_emb(hidden, position_ids=positions, layer_type=part.rope_layer_type)
        query = part.q_b_proj(q).reshape(*hidden.shape[:2], -1, part.head_dim).transpose(1, 2)
        query = module.apply_rotary_pos_emb(query, cos, sin).transpose(1, 2)
        open_to = seen(part, positions, made.shape[1])
        scores = part.scorer(query, made, hidden).masked_fill(~open_to, float("-inf"))
        best = scores.topk(smaller(part.index_topk, made.shape[1]), dim=-1).indices
        return (torch.zeros_like(scores).scatter(-1, best, 1) > 0) & open_to

    parts = {
        module.DeepseekV4HCACompressor: all_before,
        module.DeepseekV4CSACompressor: chosen,
        module.DeepseekV4Indexer: choice,
    }
    with ExitStack() as stack:
        for owner, forward in parts.items():
            stack.enter_context(replaced(owner, "forward", forward))
        yield


def _held(part: Upstream, name: str, kv: Tensor, gate: Tensor, layer: Any) -> Any:
    """How many blocks a layer holds; one that has read nothing holds what is empty."""
    if layer.compressed_kv[name] is None:
        layer.compressed_kv[name] = kv.new_zeros(kv.shape[0], 0, part.head_dim)
        layer.buffer_kv[name], layer.buffer_gate[name] = kv[:, :0], gate[:, :0]
    return layer.compressed_kv[name].shape[1]


def _with_previous(part: Upstream, name: str, kv: Tensor, gate: Tensor, layer: Any) -> tuple[Tensor, Tensor]:
    """Blocks of twice the rate: of the block before the first half of the channels, of the own the second.

    Before the first block nothing counts: a gate of minus infinity.
    """
    half, size = part.head_dim, (kv.shape[0], part.compress_rate, part.head_dim)
    last_kv, last_gate = kv.new_zeros(size), gate.new_full(size, float("-inf"))
    if layer is not None and layer.overlap_kv[name] is not None:
        last_kv, last_gate = layer.overlap_kv[name], layer.overlap_gate[name]
    before_kv = torch.cat([last_kv[:, None], kv[..., :half]], 1)
    before_gate = torch.cat([last_gate[:, None], gate[..., :half]], 1)
    if layer is not None:
        layer.overlap_kv[name], layer.overlap_gate[name] = before_kv[:, -1], before_gate[:, -1]
    return (
        torch.cat([before_kv[:, :-1], kv[..., half:]], 2),
        torch.cat([before_gate[:, :-1], gate[..., half:]], 2),
    )


def _bias(seen: Tensor, like: Tensor) -> Tensor:
    """What is added to the scores of blocks, `[rows, 1, queries, blocks]`: nothing, or minus infinity."""
    seen = seen.expand(like.shape[0], -1, -1)
    return like.new_zeros(seen.shape).masked_fill(~seen, float("-inf"))[:, None]
