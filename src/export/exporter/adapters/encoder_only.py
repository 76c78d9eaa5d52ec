"""Patches for encoders of text, and for models that transformers 5 has removed."""

import importlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, autograd

from .patches import (
    SYMBOLS,
    Adapter,
    Upstream,
    hooked,
    module_of,
    of_tensor,
    replaced,
    rewritten,
    rows_of,
    shadowed,
)


@contextmanager
def _xmod_every_adapter(model: Upstream) -> Iterator[None]:
    """X-MOD gives each language's adapter the rows of that language (`XmodOutput.lang_adapter`).

    Written in place through a mask, a trace cannot repeat it for other rows. Adapters work row by row: all of them
    on all rows, then each row's own, is the same.
    """

    def lang_adapter(self: Upstream, lang_ids: Tensor, hidden_states: Tensor) -> Tensor:
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

    with replaced(module_of(model).XmodOutput, "lang_adapter", lang_adapter):
        yield


@contextmanager
def _funnel_positions(model: Upstream) -> Iterator[None]:
    """FunnelAttentionStructure counts positions in lists of Python's numbers, which a trace bakes.

    Positions are one tensor instead.
    """
    module = module_of(model)
    owner = module.FunnelAttentionStructure
    embeds = rewritten(owner.get_position_embeds, {r"list\(range\(seq_len\)\)": "torch.arange(seq_len)"})

    def stride_pool_pos(self: Upstream, positions: Tensor, block: int) -> Tensor:
        if not self.config.separate_cls:
            return positions[::2]
        # As if the block before the first real one had such a position too.
        first = positions.new_tensor([1 - 2**block])
        rest = positions[1:-1] if self.config.truncate_seq else positions[1:]
        return torch.cat([first, rest[::2]])

    with (
        replaced(owner, "get_position_embeds", embeds),
        replaced(owner, "stride_pool_pos", stride_pool_pos),
        shadowed(module, "len", rows_of, of_tensor),
    ):
        yield


# What an autograd function's forward is given first: it only keeps tensors there, for the way back.
CONTEXT = SimpleNamespace(save_for_backward=lambda *_: None, mark_non_differentiable=lambda *_: None)


@contextmanager
def _functions_inlined(module: ModuleType) -> Iterator[None]:
    """Autograd functions of a module as their plain forward: TorchScript cannot save a function in Python."""
    with ExitStack() as stack:
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and issubclass(value, autograd.Function):
                inlined = SimpleNamespace(apply=partial(value.forward, CONTEXT))
                stack.enter_context(replaced(module, name, inlined))
        yield


def _own_functions_inlined(model: Upstream) -> AbstractContextManager[None]:
    """YOSO's autograd functions are written in Python, which TorchScript cannot save; inlined, they are plain."""
    return _functions_inlined(module_of(model))


def _quantised_inline(model: Upstream) -> AbstractContextManager[None]:
    """QDQBERT's quantisers call an autograd function in Python, which TorchScript cannot save; inlined, it is plain."""
    # Of another package, which only the overlay of this class's source has.
    tensor_quantizer = importlib.import_module("pytorch_quantization.nn.modules.tensor_quantizer")
    quantise = importlib.import_module("pytorch_quantization.tensor_quant").FakeTensorQuantFunction
    return replaced(tensor_quantizer, "fake_tensor_quant", partial(quantise.forward, CONTEXT))


def _attended(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Attention with an additive bias, softmax in float32; heads stand before positions."""
    scores = query @ key.transpose(-1, -2) * scale + bias
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32)
    return weights.to(value.dtype) @ value


def _heads(projected: Tensor, size: int) -> Tensor:
    """`[batch, position, heads * size]` as `[batch, head, position, size]`."""
    return projected.unflatten(-1, (-1, size)).transpose(1, 2)


def _where_allowed(allowed: Tensor, like: Tensor) -> Tensor:
    """Zero where attention is allowed, the lowest value elsewhere."""
    lowest = torch.finfo(like.dtype).min
    return torch.zeros_like(allowed, dtype=like.dtype).masked_fill(~allowed, lowest)


def _positions(length_of: Tensor, dim: int = 1) -> tuple[Tensor, Tensor]:
    """Positions of queries as a column, of keys as a row."""
    positions = torch.arange(length_of.shape[dim], device=length_of.device)
    return positions[:, None], positions[None, :]


@contextmanager
def _longformer_dense(model: Upstream) -> Iterator[None]:
    """Longformer (and LED's encoder, a copy) attends in overlapping chunks, to global positions by their list.

    Both bake lengths and counts into a trace. The same keys are chosen by a mask: those in the window and the global
    ones; global queries see every key through projections of their own.
    """

    def forward(
        self: Upstream,
        hidden_states: Tensor,
        attention_mask: Tensor,
        is_index_masked: Tensor,
        is_index_global_attn: Tensor,
        **_: Any,
    ) -> tuple[Tensor]:
        def attended(prefix: str, allowed: Tensor) -> Tensor:
            query, key, value = (
                _heads(getattr(self, f"{name}{prefix}")(hidden_states), self.head_dim)
                for name in ("query", "key", "value")
            )
            bias = _where_allowed(allowed, query)
            return _attended(query, key, value, bias, self.head_dim**-0.5)

        row, column = _positions(hidden_states)
        near = (row - column).abs() <= self.one_sided_attn_window_size
        local = (attention_mask == 0)[:, None, None, :]
        everywhere = is_index_global_attn[:, None, None, :]
        windowed = attended("", near & local | everywhere)
        windowed = windowed.masked_fill(is_index_masked[:, None, :, None], 0)
        unmasked = ~is_index_masked[:, None, None, :].expand(-1, -1, row.shape[0], -1)
        overall = attended("_global", unmasked)
        out = torch.where(is_index_global_attn[:, None, :, None], overall, windowed)
        return (out.transpose(1, 2).flatten(2),)

    module = module_of(model)
    for name in ("LongformerSelfAttention", "LEDEncoderSelfAttention"):
        if hasattr(module, name):
            with replaced(getattr(module, name), "forward", forward):
                yield


@contextmanager
def _big_bird_dense(model: Upstream) -> Iterator[None]:
    """BigBird attends block by block, with lists of random blocks made by numpy, all baked into a trace.

    In eval mode its random blocks are all block 0, which the first and the last block's queries do not use
    (`_bigbird_block_rand_mask_with_head`). So a query sees block 0, those beside it and the last one; block 0 counts
    once more for each random block. Without blocks, there is no need to pad the row to whole ones.
    """
    module = module_of(model)

    def forward(
        self: Upstream,
        hidden_states: Tensor,
        _band_mask: None,
        from_mask: Tensor,
        to_mask: Tensor,
        *_: Any,
        **__: Any,
    ) -> tuple[Tensor, None]:
        query, key, value = (
            _heads(projection(hidden_states), self.attention_head_size)
            for projection in (self.query, self.key, self.value)
        )
        row, column = (
            positions.div(self.block_size, rounding_mode="floor") for positions in _positions(hidden_states)
        )
        last = row[-1:]
        outer = (row == 0) | (row == last)
        seen = outer | (column == 0) | (column == last) | ((row - column).abs() <= 1)
        often = ~outer & (column == 0)
        bias = _where_allowed(seen, query).masked_fill(often, math.log(1 + self.num_random_blocks))
        bias = bias - 10000.0 * (1 - to_mask.to(query.dtype))
        out = _attended(query, key, value, bias, self.attention_head_size**-0.5)
        return (out * from_mask).transpose(1, 2).flatten(2), None

    def unpadded(self: Upstream, pad_token_id: int, **given: Any) -> tuple[Any, ...]:
        names = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
        return (0, *(given[name] for name in names), given["inputs_embeds"])

    def masks(attention_mask: Tensor, _block_size: int) -> tuple[Any, ...]:
        return (
            None,
            None,
            attention_mask[:, None, :, None],
            attention_mask[:, None, None, :],
        )

    with (
        replaced(module.BigBirdBlockSparseAttention, "forward", forward),
        replaced(module.BigBirdModel, "_pad_to_block_size", unpadded),
        replaced(
            module.BigBirdModel,
            "create_masks_for_block_sparse_attn",
            staticmethod(masks),
        ),
    ):
        yield


@contextmanager
def _canine_dense(model: Upstream) -> Iterator[None]:
    """CANINE's first encoder attends within windows, cut by a Python loop that a trace bakes.

    A mask says the same.
    """
    attention = module_of(model).CanineAttention
    original = attention.forward

    def forward(
        self: Upstream, hidden_states: Tensor, attention_mask: Tensor, **rest: Any
    ) -> tuple[Tensor, ...]:
        if not self.local:
            return original(self, hidden_states, attention_mask, **rest)
        row, column = (
            positions.div(self.attend_from_chunk_width, rounding_mode="floor")
            for positions in _positions(hidden_states)
        )
        # A window of padding alone still attends to itself, and to nothing else.
        bias = _where_allowed(attention_mask > 0, hidden_states)
        bias = bias.masked_fill(row != column, -math.inf)
        attended = self.self(hidden_states, hidden_states, bias[:, None])
        return (self.output(attended[0], hidden_states),)

    with replaced(attention, "forward", forward):
        yield


@contextmanager
def _tapas_by_rows(model: Upstream) -> Iterator[None]:
    """TAPAS reduces the cells of all tables of a batch in one row of numbers, whose size a trace bakes.

    Table by table, the reduction is the same.
    """
    module = module_of(model)

    def reduce(values: Tensor, index: Any, function: str, _name: str) -> tuple[Any, Any]:
        segments, rows = int(index.num_segments), values.shape[0]
        empty = torch.zeros(rows, segments, dtype=torch.float, device=values.device)
        reduced = empty.scatter_reduce(1, index.indices.long(), values.float(), function, include_self=False)
        each = torch.arange(segments, device=values.device).expand(rows, -1)
        return reduced.to(values.dtype), module.IndexMap(each, segments, batch_dims=1)

    with replaced(module, "_segment_reduce", reduce):
        yield


def _trajectory_offsets(model: Upstream) -> AbstractContextManager[None]:
    """Trajectory Transformer repeats the offsets of a step for as many steps as numpy counts, which a trace bakes.

    A position's offset follows from its place within the step.
    """

    def offset_tokens(self: Upstream, trajectories: Tensor) -> Tensor:
        _, position = _positions(trajectories)
        moved = trajectories + position % self.transition_dim * self.vocab_size
        return torch.where(trajectories == self.vocab_size, self.stop_token, moved)

    return replaced(type(model), "offset_tokens", offset_tokens)


@contextmanager
def _gptsan_by_rows(model: Upstream) -> Iterator[None]:
    """GPTSAN adds positions row by row, and gives each expert its tokens by a mask: a trace bakes rows and counts.

    Positions are added to the embeddings of all rows at once. All experts on all tokens, then each token's own, is
    the same. In forward, `range` only counts rows.
    """
    module = module_of(model)
    trunk, config = model.model, model.config
    tables = [trunk.position_embeddings]
    if config.num_ext_layers:
        tables.append(trunk.extra_position_embeddings)
    added: list[Tensor] = []

    def count(_module: Upstream, given: tuple[Any, ...]) -> None:
        input_ids, attention_mask = given[:2]
        _, place = _positions(input_ids)
        place = place - (1 - attention_mask).argmin(dim=-1, keepdim=True)
        place = place.clip(0, config.max_position_embeddings - 1)
        added[:] = [table.weight[place] for table in tables]

    def extend(
        _module: Upstream, _given: tuple[()], named: dict[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]]:
        return (), named | {"hidden_states": named["hidden_states"] + added[1]}

    def every_expert(self: Upstream, hidden_states: Tensor) -> tuple[Tensor, Any]:
        router_mask, router_probs, router_logits = self.router(hidden_states)
        states = hidden_states
        for index, expert in enumerate(self.experts.values()):
            mine = router_mask[:, :, index, None].bool()
            states = torch.where(mine, expert(hidden_states).to(states.dtype), states)
        return router_probs * states, (router_logits, router_mask.argmax(dim=-1))

    def place(_module: Upstream, _given: tuple[Any, ...], embedded: Tensor) -> Tensor:
        return embedded + added[0]

    with ExitStack() as stack:
        stack.enter_context(hooked(trunk.register_forward_pre_hook, count))
        stack.enter_context(hooked(trunk.embed_tokens.register_forward_hook, place))
        for block in trunk.blocks[config.num_switch_layers :][:1]:
            stack.enter_context(hooked(block.register_forward_pre_hook, extend, with_kwargs=True))
        stack.enter_context(shadowed(module, "range", lambda _rows: ()))
        stack.enter_context(replaced(module.GPTSanJapaneseSparseMLP, "forward", every_expert))
        yield


def _span_as_a_number(model: Upstream) -> AbstractContextManager[None]:
    """DeBERTa makes a tensor of a length and cuts weights by it: to `torch.export` a number that depends on data."""

    def span(queries: Tensor, keys: Tensor, most: int) -> Any:
        return torch.sym_min(torch.sym_max(queries.shape[-2], keys.shape[-2]), most)

    def is_symbol(queries: Tensor, *_: Any) -> bool:
        return isinstance(queries.shape[-2], SYMBOLS)

    return replaced(module_of(model), "compute_attention_span", span, is_symbol)


ADAPTERS: dict[str, list[Adapter]] = {
    "big_bird": [_big_bird_dense],
    "canine": [_canine_dense],
    "deberta": [_span_as_a_number],
    "funnel": [_funnel_positions],
    "gptsan-japanese": [_gptsan_by_rows],
    "longformer": [_longformer_dense],
    "qdqbert": [_quantised_inline],
    "tapas": [_tapas_by_rows],
    "trajectory_transformer": [_trajectory_offsets],
    "xmod": [_xmod_every_adapter],
    "yoso": [_own_functions_inlined],
}
