"""What every model is traced under."""

import builtins
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import product
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from .. import recurrence
from .buckets import buckets_by_table
from .patches import SYMBOLS, Adapter, Upstream, module_of, replaced, took_hold

try:
    from transformers import masking_utils
except ImportError:
    # Older than 4.53: every model makes its masks itself.
    masking_utils = None
try:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS as rope_tables
except ImportError:
    # Older than 4.43: no frequencies depend on the length.
    rope_tables = {}

# Attributes in which modules keep what the last run computed.
CACHES = ("_embed", "cached_rotary_positional_embedding", "cached_sequence_length")
# The gated delta rule by chunks, with one decay for each head or for each channel of the keys.
DELTA_RULES = ("torch_chunk_gated_delta_rule", "chunk_kimi_delta_attention")


def forget(model: Upstream) -> bool:
    """Empties what modules keep from one run to the next; whether there was anything."""
    kept = False
    for module in model.modules():
        for name in CACHES:
            if vars(module).get(name) is not None:
                setattr(module, name, None)
                kept = True
    return kept


@contextmanager
def _nothing_kept(model: Upstream) -> Iterator[None]:
    """What earlier runs kept is computed again in the trace, and what the trace computed is not kept."""
    if forget(model):
        took_hold()
    try:
        yield
    finally:
        forget(model)


@contextmanager
def _lists_of_sizes(_model: Upstream) -> Iterator[None]:
    """`torch.tensor([height, width])` makes a constant of traced sizes; stacking them keeps what they are."""

    def stack(data: Any, *_rest: Any, **named: Any) -> Tensor:
        return _stacked(data).to(**{k: named[k] for k in ("dtype", "device") if k in named})

    def of_sizes(data: Any, *_rest: Any, **_named: Any) -> bool:
        return isinstance(data, SYMBOLS) or _holds_size(data)

    with replaced(torch, "tensor", stack, of_sizes), replaced(torch, "as_tensor", stack, of_sizes):
        yield


def _splits_by_sizes(_model: Upstream) -> AbstractContextManager[None]:
    """`Tensor.split` calls `int` on a traced size, which bakes it; pieces of that size keep it.

    Only the number of pieces stays what it was in the traced run.
    """
    original = Tensor.split

    def split(self: Tensor, split_size: Tensor, dim: int = 0) -> Any:
        whole = self.shape[dim]
        pieces = -(-builtins.int(whole) // builtins.int(split_size))
        last = whole - split_size * (pieces - 1)
        return original(self, [split_size] * (pieces - 1) + [last], dim)

    def by_tensor(_self: Tensor, split_size: Any, dim: int = 0) -> bool:
        return isinstance(split_size, Tensor)

    return replaced(Tensor, "split", split, by_tensor)


def _holds_size(data: Any) -> bool:
    """Whether a list, at any depth, has what may be a traced size for an element."""
    return isinstance(data, list | tuple) and any(
        isinstance(item, (Tensor, *SYMBOLS)) or _holds_size(item) for item in data
    )


def _stacked(data: Any) -> Tensor:
    if isinstance(data, list | tuple):
        return torch.stack([_stacked(item) for item in data])
    if isinstance(data, SYMBOLS):
        whole = torch.int64 if isinstance(data, torch.SymInt) else None
        return torch.scalar_tensor(cast("Any", data), dtype=whole)
    return torch.as_tensor(data)


@contextmanager
def _masks_by_broadcasting(_model: Upstream) -> Iterator[None]:
    """Transformers 4 builds attention masks with `torch.vmap`, and indexes under it by an autograd function.

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
def _masks_of_indices(_model: Upstream) -> Iterator[None]:
    """Transformers 5 uses `torch.vmap` for masks that models add: sliding windows with two sides, chunks.

    The tracer cannot record it. Such masks too are comparisons of indices, which broadcast.
    """
    utils: Any = masking_utils

    def expanded(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def mask(*indices: Tensor) -> Tensor:
            batch, head, query, key = utils._non_vmap_expansion_sdpa(*indices)
            sizes = (batch.shape[0], head.shape[1], query.shape[2], key.shape[3])
            return function(batch, head, query, key).expand(sizes)

        return mask

    with (
        replaced(masking_utils, "_vmap_expansion_sdpa", expanded),
        replaced(masking_utils, "TransformGetItemToIndex", nullcontext),
    ):
        yield


@contextmanager
def _rope_by_length(model: Upstream) -> Iterator[None]:
    """Rotary embeddings with LongRoPE or dynamic NTK scaling choose their frequencies by the highest position.

    Upstream (`modeling_rope_utils.dynamic_rope_update`) branches on it, which a trace bakes, and keeps the choice
    in a buffer that shares its memory with another, which the tracer refuses. Both choices are computed, and the
    trace selects one.
    """
    with ExitStack() as stack:
        for module in model.modules():
            by_length = {
                layer: kind for layer, kind in _rope_types(module).items() if kind in ("longrope", "dynamic")
            }
            for layer in by_length:
                name = _of_layer("inv_freq", layer)
                setattr(module, name, getattr(module, _of_layer("original_inv_freq", layer)).clone())
            if by_length:
                stack.enter_context(replaced(module, "forward", _choosing_frequencies(module, by_length)))
        yield


def _rope_types(module: Upstream) -> dict[str | None, str]:
    """The kind of a module's rotary embedding by type of layer; None is the type where all layers share one."""
    kind = getattr(module, "rope_type", None)
    return kind if isinstance(kind, dict) else {None: kind} if isinstance(kind, str) else {}


def _of_layer(name: str, layer: str | None) -> str:
    """The attribute of that name for a type of layers."""
    return name if layer is None else f"{layer}_{name}"


def _choosing_frequencies(module: Any, by_length: dict[str | None, str]) -> Callable[..., Any]:
    """The module's forward past its decorators, on the frequencies that the positions ask for."""
    inner = inspect.unwrap(type(module).forward)
    choices = {layer: _frequencies(module, layer, kind) for layer, kind in by_length.items()}

    def forward(x: Tensor, position_ids: Tensor, layer_type: str | None = None) -> Any:
        given = {} if layer_type is None else {"layer_type": layer_type}
        if layer_type not in choices:
            return inner(module, x, position_ids, **given)
        chosen = {_of_layer("inv_freq", layer_type): choices[layer_type](position_ids.max() + 1)}
        return inner(SimpleNamespace(**vars(module) | chosen), x, position_ids, **given)

    return forward


def _frequencies(module: Any, layer: str | None, kind: str) -> Callable[[Tensor], Tensor]:
    """The frequencies for a row of a length: as they were trained, or those of longer rows."""
    table, config = rope_tables[kind], module.config
    named = {} if layer is None else {"layer_type": layer}
    short = getattr(module, _of_layer("original_inv_freq", layer)).clone()
    if kind == "dynamic":
        # As `dynamic_frequency_update` on a model that has just read a short row: upstream keeps the frequencies
        # of the longest row until then.
        return lambda length: torch.where(
            length > module.original_max_seq_len,
            table(config, short.device, seq_len=length, **named)[0],
            short,
        )
    settings = config.rope_parameters if layer is None else config.rope_parameters[layer]
    trained = settings["original_max_position_embeddings"]
    long, _ = table(config, short.device, seq_len=trained + 1, **named)
    return lambda length: torch.where(length > trained, long, short)


@contextmanager
def _delta_rule(model: Upstream) -> Iterator[None]:
    """The gated delta rule of linear attention is a Python loop over chunks of the row, which bakes their number."""
    owners = {module_of(module) for module in model.modules()}
    with ExitStack() as stack:
        for owner, name in product(owners, DELTA_RULES):
            if hasattr(owner, name):
                stack.enter_context(replaced(owner, name, recurrence.delta_rule))
        yield


COMMON: list[Adapter] = [
    _nothing_kept,
    _lists_of_sizes,
    _splits_by_sizes,
    _rope_by_length,
    _delta_rule,
    buckets_by_table,
]
if hasattr(masking_utils, "_vmap_for_bhqkv"):
    COMMON.append(_masks_by_broadcasting)
if hasattr(masking_utils, "_vmap_expansion_sdpa"):
    COMMON.append(_masks_of_indices)
