"""The library's caches as named tensors.

In: the cache that `generate` was left with. Out: the tensors in it, by name, with shapes that say what decides each
size; and an empty cache of the same kind, into which such tensors can be put.

`cache/…` grows with the tokens read. A decoder that looks at an encoder has a second cache beside it, one that looks at
pictures has layers for it: `cross/…` holds the keys and values of what is seen there, and stays as it is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, cache_utils

from .contract import dtype_name
from .errors import ExportError
from .job import Json

# What layers of a cache hold for every token: the attribute, its name here, and which dimension counts tokens.
TOKENS = 2
GROWING = (("keys", "key", TOKENS), ("values", "value", TOKENS), ("indexer_keys", "indexer_key", 1))
# What they hold of all tokens together, once or several times, `[rows, …]`.
STATES = (("conv_states", "convolution_state"), ("recurrent_states", "recurrent_state"))
# The layers that hold no more than that, or nothing.
FLAT = frozenset(
    {
        "DummyLayer",
        "DynamicIndexedLayer",
        "DynamicLayer",
        "DynamicSlidingWindowLayer",
        "LinearAttentionLayer",
        "LinearAttentionAndFullAttentionLayer",
        "LinearAttentionAndSlidingWindowAttentionLayer",
    }
)
# The library's caches, which hold layers.
KINDS = ("DynamicCache", "EncoderDecoderCache")
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

    An axis is `batch`, `past` (as many as tokens were read), `{"window": n}` (the same, at most n), a number, or the
    name of a size that the inputs given once decide.
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
    """A tensor of a cache: where in the cache it is, and which of several states of its layer."""

    part: str
    layer: int
    attribute: str
    state: int | None

    def empty(self, rows: int) -> Tensor:
        """Its tensor before any token was read."""
        return torch.zeros(self.sizes(rows, 0), dtype=self.dtype)

    def sizes(self, rows: int, read: int) -> list[int]:
        """Its shape when that many tokens of every row were read."""
        return [_size(axis, rows, read) for axis in self.shape]

    def of(self, cache: Any) -> Tensor:
        """The tensor that a cache holds."""
        held = getattr(self._layer(cache), self.attribute)
        return held if self.state is None else held[self.state]

    def put(self, cache: Any, held: Tensor, read: Callable[[], Any]) -> None:
        """Puts a tensor into an empty cache; `read` tells how many tokens of every row were read."""
        layer = self._layer(cache)
        layer.dtype, layer.device = held.dtype, held.device
        if self.state is not None:
            self._put_state(layer, self.state, held)
            return
        layer.is_initialized = layer.is_indexer_initialized = True
        setattr(layer, self.attribute, held)
        if self.window is not None:
            # Computed anew for every layer: each counts on in its own.
            layer.cumulative_length = read()
            layer.get_seq_length = partial(_seen, layer)
            layer.get_mask_sizes = partial(_mask_sizes, layer)

    @property
    def given(self) -> bool:
        """Whether its size is that of something seen, and no step changes it."""
        return ENCODED in self.shape

    @property
    def window(self) -> int | None:
        """How many tokens it holds at most; None where it holds all."""
        return next((axis["window"] for axis in self.shape if isinstance(axis, dict)), None)

    def _layer(self, cache: Any) -> Any:
        return parts(cache)[self.part].layers[self.layer]

    def _put_state(self, layer: Any, state: int, held: Tensor) -> None:
        # A copy: layers write into their states.
        getattr(layer, self.attribute)[state] = held.clone()
        getattr(layer, f"is_{self.attribute}_initialized")[state] = True
        layer.has_previous_state[state] = True
        if self.attribute == "conv_states":
            layer.conv_kernel_size[state] = held.shape[-1]


def _size(axis: str | int | Json, rows: int, read: int) -> int:
    if isinstance(axis, dict):
        return min(read, axis["window"])
    return axis if isinstance(axis, int) else rows if axis == "batch" else read


def parts(cache: Any) -> dict[str, Any]:
    """The caches in a cache, by what the names of their tensors begin with."""
    # Old releases have no such class.
    if hasattr(cache, "cross_attention_cache"):
        return {OWN: cache.self_attention_cache, CROSS: cache.cross_attention_cache}
    return {OWN: cache}


def fresh(config: Any, left: Any) -> Any:
    """A cache that holds nothing, of the kind that the library was left with.

    Raises:
        Refusal: that is no cache of the library's.
    """
    if type(left).__name__ not in KINDS:
        raise Refusal("class", f"generate keeps a {type(left).__name__}, not a DynamicCache")
    own = DynamicCache(config=config.get_text_config(decoder=True))
    if CROSS not in parts(left):
        return own
    cross = DynamicCache()
    cross.layers.extend(cache_utils.DynamicLayer() for _ in left.cross_attention_cache.layers)
    return cache_utils.EncoderDecoderCache(own, cross)


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
    looking = getattr(config.get_text_config(decoder=True), "cross_attention_layers", None) or ()
    for part, cache in parts(left).items():
        kinds, expected = (
            [type(layer).__name__ for layer in one.layers] for one in (cache, parts(empty)[part])
        )
        if kinds != expected:
            others = f"generate's {part} has layers {', '.join(kinds)}, and one of the config others"
            raise Refusal("class", others)
        unknown = sorted(set(kinds) - FLAT)
        if unknown:
            raise Refusal("layer", f"{', '.join(unknown)}: what such layers hold is not read as tensors yet")
        for number, layer in enumerate(cache.layers):
            looks = part == CROSS or number in looking
            found.extend(_slots_of(layer, part, number, read, CROSS if looks else OWN))
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
    if isinstance(layer, cache_utils.DynamicSlidingWindowLayer):
        tokens = {"window": layer.sliding_window - 1}
        if layer.sliding_window > read:
            why = f"a window of {layer.sliding_window} is not left within {read} tokens: make it smaller"
            raise ExportError(f"decode: {why}")
    for attribute, name, dim in GROWING:
        held = getattr(layer, attribute, None)
        if held is not None:
            shape = ("batch", *held.shape[1:dim], tokens, *held.shape[dim + 1 :])
            yield Slot(f"{kind}/{number}/{name}", held.dtype, shape, part, number, attribute, None)
    for attribute, name in STATES:
        for state, held in getattr(layer, attribute, {}).items():
            if held is not None:
                shape = ("batch", *held.shape[1:])
                named = f"{kind}/{number}/{name}/{state}"
                yield Slot(named, held.dtype, shape, part, number, attribute, state)
