"""The library's caches as named tensors.

In: the cache that `generate` was left with. Out: the tensors in it, by name, with shapes that say what decides each
size; and an empty cache of the same kind, into which such tensors can be put.

`cache/…` grows with the tokens read. A decoder that looks at an encoder has a second cache beside it, one that looks at
pictures has layers for it: `cross/…` holds the keys and values of what is seen there, and stays as it is.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, cache_utils

from .contract import dtype_name
from .errors import ExportError
from .job import Json
from .tuples import Handed

# What layers of a cache hold for every token: the attribute, its name here, and which dimensions count rows and tokens.
TOKENS = 2
GROWING = (
    ("keys", "key", 0, TOKENS),
    ("values", "value", 0, TOKENS),
    ("indexer_keys", "indexer_key", 0, 1),
    ("indexer_position_ids", "indexer_position", 1, 2),
)
# What they hold of the last tokens, `[tokens, rows, width]`: zeros before the first.
MEMORY = "memory"
# What they hold of all tokens together, once or several times, `[rows, …]`.
STATES = (("conv_states", "convolution_state"), ("recurrent_states", "recurrent_state"))
# What they hold of tokens read together as blocks, by the name of who does: the block's one tensor, tokens that wait
# for the rest of theirs, and what a block leaves to the next. Tokens count in blocks, in what is left of them, or not.
BLOCKS, REST = "blocks", "rest"
PREVIOUS_GATE = "overlap_gate"
BLOCK_STATES = (
    ("compressed_kv", "block", BLOCKS),
    ("buffer_kv", "waiting", REST),
    ("buffer_gate", "waiting_gate", REST),
    ("overlap_kv", "overlap", None),
    (PREVIOUS_GATE, "overlap_gate", None),
)
# The layers that hold no more than that, or nothing.
FLAT = frozenset(
    {
        "DeepseekV4CSACache",
        "DeepseekV4HCACache",
        "DummyLayer",
        "DynamicIndexedLayer",
        "DynamicLayer",
        "DynamicSlidingWindowLayer",
        "LinearAttentionAndFullAttentionLayer",
        "LinearAttentionAndSlidingWindowAttentionLayer",
        "LinearAttentionLayer",
        "TupleLayer",
    }
)
# The layers that hold the last tokens only; old releases have none.
WINDOWED: Any = getattr(cache_utils, "DynamicSlidingWindowLayer", ())
# The library's caches, which hold layers.
KINDS = ("DynamicCache", "EncoderDecoderCache")
# Caches of single architectures, and where they hold states of whole layers: by layer, one or several.
OWN_KINDS = {"MiniMaxCache": "linear_cache", "xLSTMCache": "rnn_state"}
# The two caches of a decoder that looks at an encoder, by what their tensors' names begin with.
OWN, CROSS = "cache", "cross"
# The axis of what an encoder returned for its input.
ENCODED = "encoded"


class Refusal(Exception):
    """Why a class has no step program: a word for programs, a sentence for people."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.facts: Json = {"refused": kind, "why": why}


@dataclass(frozen=True)
class Held:
    """A tensor that a step takes beside its inputs, and its shape.

    An axis is `batch`, `past` (as many as tokens were read), `{"window": n}` (the same, at most n), `{"blocks": n}`
    (how many times n tokens were read), `{"rest": n}` (how many beyond), a number, or the name of a size that the
    inputs given once decide.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[str | int | Json, ...]

    @property
    def facts(self) -> Json:
        """What the manifest says of it."""
        return {"name": self.name, "dtype": dtype_name(self.dtype), "shape": self.shape}


@dataclass(frozen=True)
class Slot(Held):
    """A tensor of a cache: where in the cache it is, and which of several states of its layer.

    Before any token was read it is zeros: a state that begins at another number is counted from there, `start`.
    """

    part: str
    layer: int
    attribute: str
    state: int | str | None
    start: int = 0

    def empty(self, rows: int) -> Tensor:
        """Its tensor before any token was read."""
        return torch.zeros(self.sizes(rows, 0), dtype=self.dtype)

    def sizes(self, rows: int, read: int) -> list[int]:
        """Its shape when that many tokens of every row were read."""
        return [_size(axis, rows, read) for axis in self.shape]

    def of(self, cache: Any) -> Tensor:
        """The tensor that a cache holds."""
        held = getattr(self._layer(cache), self.attribute)
        held = held if self.state is None else held[self.state]
        return held - self.start if self.start else held

    def put(self, cache: Any, held: Tensor, read: Callable[[], Any]) -> None:
        """Puts a tensor into an empty cache; `read` tells how many tokens of every row were read."""
        layer = self._layer(cache)
        layer.dtype, layer.device = held.dtype, held.device
        if self.state is not None:
            self._put_state(layer, held + self.start if self.start else held)
            return
        layer.is_initialized = layer.is_indexer_initialized = True
        setattr(layer, self.attribute, held)
        if self.window is not None:
            # Computed anew for every layer: each counts on in its own.
            layer.cumulative_length = read()
            layer.get_seq_length = partial(_seen, layer)
            layer.get_mask_sizes = partial(_mask_sizes, layer)

    def begun(self, cache: Any) -> "Slot":
        """The same, counted from what it holds before any token; the cache has read one.

        Raises:
            Refusal: it has no place left from before that token.
        """
        if self.state is None or self.dtype.is_floating_point:
            return self
        held = self.of(cache)
        if held.shape[-1] == 1:
            raise Refusal(
                "layer", f"{self.name} holds one token alone, and what stands there before none is not seen"
            )
        return replace(self, start=int(held.flatten()[0]))

    @property
    def given(self) -> bool:
        """Whether its size is that of something seen, and no step changes it."""
        return ENCODED in self.shape

    @property
    def window(self) -> int | None:
        """How many tokens it holds at most; None where it holds all."""
        return next(
            (axis["window"] for axis in self.shape if isinstance(axis, dict) and "window" in axis), None
        )

    def _layer(self, cache: Any) -> Any:
        return parts(cache)[self.part].layers[self.layer]

    def _put_state(self, layer: Any, held: Tensor) -> None:
        state = self.state
        # A copy: layers write into their states.
        getattr(layer, self.attribute)[state] = held.clone()
        getattr(layer, f"is_{self.attribute}_initialized")[state] = True
        layer.has_previous_state[state] = True
        if self.attribute == "conv_states":
            layer.conv_kernel_size[state] = held.shape[-1]


class Block(Slot):
    """What a layer holds of blocks of tokens: it counts them by how many it holds.

    The gate of the block before shuts where there is none: minus infinity, and zero here, as all else before any token.
    """

    def of(self, cache: Any) -> Tensor:
        """The tensor that a cache holds."""
        held = super().of(cache)
        return held.masked_fill(held.isinf(), 0) if self.attribute == PREVIOUS_GATE else held

    def _put_state(self, layer: Any, held: Tensor) -> None:
        blocks, state = layer.compressed_kv, self.state
        if self.attribute == PREVIOUS_GATE:
            some = torch.ones_like(blocks[state][..., :1]).sum(1, keepdim=True) > 0
            held = held.masked_fill(~some, float("-inf"))
        getattr(layer, self.attribute)[state] = held
        if self.attribute == "compressed_kv":
            layer.entry_count[state] = held.shape[1]


class Apart(Slot):
    """A state that a cache of a single architecture holds beside its layers: by layer, perhaps one of several."""

    def of(self, cache: Any) -> Tensor:
        """The tensor that a cache holds."""
        held = getattr(cache, self.attribute)[self.layer]
        return held if self.state is None else held[self.state]

    def put(self, cache: Any, held: Tensor, read: Callable[[], Any]) -> None:
        """Puts a tensor into an empty cache."""
        states = getattr(cache, self.attribute)
        # A copy: layers write into their states.
        kept = held.clone()
        if isinstance(self.state, int):
            before = states[self.layer]
            kept = (*before[: self.state], kept, *before[self.state + 1 :])
        states[self.layer] = kept


def _size(axis: str | int | Json, rows: int, read: int) -> int:
    if isinstance(axis, dict):
        ((kind, of),) = axis.items()
        return min(read, of) if kind == "window" else read // of if kind == BLOCKS else read % of
    return axis if isinstance(axis, int) else rows if axis == "batch" else read


def parts(cache: Any) -> dict[str, Any]:
    """The caches in a cache, by what the names of their tensors begin with."""
    # Old releases have no such class.
    if getattr(cache, "cross_attention_cache", None) is not None:
        return {OWN: cache.self_attention_cache, CROSS: cache.cross_attention_cache}
    return {OWN: cache}


def layers(cache: Any) -> list[Any]:
    """A cache's layers; one of a single architecture may have none."""
    return getattr(cache, "layers", [])


def of_one(cache: Any) -> bool:
    """Whether a cache is of a single architecture's class."""
    return type(cache).__name__ in OWN_KINDS


def fresh(config: Any, left: Any) -> Any:
    """A cache that holds nothing, of the kind that the library was left with.

    Raises:
        Refusal: that is no cache of the library's.
    """
    kind = type(left).__name__
    if isinstance(left, Handed):
        return left.emptied()
    if of_one(left):
        return _emptied(left, OWN_KINDS[kind])
    if kind not in KINDS:
        raise Refusal("class", f"generate keeps a {kind}, not a DynamicCache")
    own = DynamicCache(config=_decoder(config))
    own.layers.extend(_read_again(own.layers, layers(parts(left)[OWN])))
    if CROSS not in parts(left):
        return own
    cross = DynamicCache()
    cross.layers.extend(cache_utils.DynamicLayer() for _ in left.cross_attention_cache.layers)
    return cache_utils.EncoderDecoderCache(own, cross)


def _decoder(config: Any) -> Any:
    """The config of what decodes; releases before 4.45 do not tell it apart."""
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def _read_again(known: list[Any], left: list[Any]) -> Iterator[Any]:
    """Layers beyond those that the config names: models that run some again append a copy for each further time."""
    kinds = {type(layer): layer for layer in known}
    for layer in left[len(known) :]:
        if type(layer) in kinds:
            yield copy.deepcopy(kinds[type(layer)])


def _emptied(left: Any, attribute: str) -> Any:
    """A cache of a single architecture with as many layers as the one left; all its states are still to be put."""
    empty = copy.copy(left)
    setattr(empty, attribute, copy.copy(getattr(left, attribute)))
    if hasattr(left, "layers"):
        empty.layers = [type(layer)() for layer in left.layers]
    return empty


def _seen(layer: Any) -> Any:
    """How many tokens a layer with a window has seen; a copy: a trace's number changes where upstream adds to it."""
    return layer.cumulative_length + 0


def _mask_sizes(layer: Any, query_length: Any) -> tuple[Any, Any]:
    """How many keys a layer with a window shows to a query, and how many tokens lie before them.

    Upstream's own asks whether the row has outgrown the window, and a trace bakes that. What is held tells it too.
    """
    held = layer.keys.shape[-2]
    return held + query_length, layer.cumulative_length - held


def slots(config: Any, left: Any, empty: Any, rows: int, read: int) -> list[Slot]:
    """The tensors of the cache that the library was left with, which an empty one must have room for.

    Raises:
        Refusal: it is not named tensors, or an empty one has no room for them.
        ExportError: what is left is not what it promises, or a window was never full.
    """
    found: list[Slot] = []
    # Layers of mllama that look at pictures, and at no token.
    looking = getattr(_decoder(config), "cross_attention_layers", None) or ()
    for part, cache in parts(left).items():
        kinds, expected = (
            [type(layer).__name__ for layer in layers(one)] for one in (cache, parts(empty)[part])
        )
        if kinds != expected:
            others = f"generate's {part} has layers {', '.join(kinds)}, and one of the config others"
            raise Refusal("class", others)
        unknown = sorted(set(kinds) - FLAT)
        if unknown:
            raise Refusal("layer", f"{', '.join(unknown)}: what such layers hold is not read as tensors yet")
        for number, layer in enumerate(layers(cache)):
            looks = part == CROSS or number in looking
            found.extend(_slots_of(layer, part, number, read, CROSS if looks else OWN))
        found.extend(_apart(cache, part))
    for slot in found:
        _holds(slot, left, rows, read)
    return found


def _holds(slot: Slot, left: Any, rows: int, read: int) -> None:
    shape, expected = list(slot.of(left).shape), slot.sizes(rows, read)
    if not slot.given and shape != expected:
        raise ExportError(f"decode: generate leaves {slot.name} as {shape}, not {expected}")


def _slots_of(layer: Any, part: str, number: int, read: int, kind: str) -> Iterator[Slot]:
    """The tensors that a layer holds."""
    tokens: str | Json = "past" if kind == OWN else ENCODED
    if isinstance(layer, WINDOWED):
        tokens = {"window": layer.sliding_window - 1}
        if layer.sliding_window > read:
            why = f"a window of {layer.sliding_window} is not left within {read} tokens: make it smaller"
            raise ExportError(f"decode: {why}")
    for attribute, name, rows, dim in GROWING:
        held = getattr(layer, attribute, None)
        # Values that are the keys are held once.
        if held is not None and not (attribute == "values" and held is layer.keys):
            counted = {rows: "batch", dim: tokens}
            shape = tuple(counted.get(axis, size) for axis, size in enumerate(held.shape))
            yield Slot(f"{kind}/{number}/{name}", held.dtype, shape, part, number, attribute, None)
    memory = getattr(layer, MEMORY, None)
    if memory is not None:
        shape = (memory.shape[0], "batch", memory.shape[2])
        yield Slot(f"{kind}/{number}/{MEMORY}", memory.dtype, shape, part, number, MEMORY, None)
    for attribute, name in STATES:
        for state, held in getattr(layer, attribute, {}).items():
            if held is not None:
                shape = ("batch", *held.shape[1:])
                named = f"{kind}/{number}/{name}/{state}"
                yield Slot(named, held.dtype, shape, part, number, attribute, state)
    for attribute, name, counted in BLOCK_STATES:
        for state, held in getattr(layer, attribute, {}).items():
            tokens = {counted: layer.compress_rate} if counted else held.shape[1]
            named = f"{kind}/{number}/{name}/{state}"
            yield Block(named, held.dtype, ("batch", tokens, *held.shape[2:]), part, number, attribute, state)


def _apart(cache: Any, part: str) -> Iterator[Slot]:
    """The states that a cache of a single architecture holds beside its layers, or in place of them."""
    attribute = OWN_KINDS.get(type(cache).__name__)
    if attribute is None:
        return
    held = getattr(cache, attribute)
    for number, states in held.items() if isinstance(held, Mapping) else enumerate(held):
        one = isinstance(states, Tensor)
        for state, tensor in enumerate([states] if one else states):
            name, shape = f"{part}/{number}/recurrent_state/{state}", ("batch", *tensor.shape[1:])
            yield Apart(name, tensor.dtype, shape, part, number, attribute, None if one else state)
