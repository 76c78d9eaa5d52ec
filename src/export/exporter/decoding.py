"""Decoding with a cache: the step program, and the row that it is held to.

In: a model, and what the library wrote with its own cache (`generation.py`). Out: a program that reads tokens after
those that a cache holds, takes that cache's tensors by name and returns them grown; or, in one word and one sentence,
why the class has no such program.

One program does all: with a cache that holds nothing it is the prefill, then it reads a token a step, or a chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, cache_utils

from . import program
from .calls import parameters_of, viewed
from .errors import ExportError, stage
from .foreign import config_of
from .generation import Written, uncached
from .job import Generation, Job, Json
from .program import HEALTHY, Hooks, Program, Tensors

# Tokens that the trace finds in the cache, and reads: sizes that no config has, so that none is taken for another.
PAST, CHUNK = 17, 3
# What layers of a cache hold for every token, `[rows, heads, tokens, width]`: the attribute, and its name here.
GROWING = (("keys", "key"), ("values", "value"))
TOKENS = 2
# What they hold of all tokens together, once or several times, `[rows, …]`.
STATES = (("conv_states", "convolution_state"), ("recurrent_states", "recurrent_state"))
# The layers that hold no more than that, or nothing.
FLAT = frozenset(
    {
        "DummyLayer",
        "DynamicLayer",
        "DynamicSlidingWindowLayer",
        "LinearAttentionLayer",
        "LinearAttentionAndFullAttentionLayer",
        "LinearAttentionAndSlidingWindowAttentionLayer",
    }
)


@dataclass(frozen=True)
class Slot:
    """A tensor of a cache: the layer and the attribute that hold it, which of several states it is, and its shape.

    An axis is `batch`, `past` (as many as tokens were read), `{"window": n}` (the same, at most n) or a number.
    """

    name: str
    layer: int
    attribute: str
    state: int | None
    dtype: torch.dtype
    shape: tuple[str | int | Json, ...]

    def empty(self, rows: int) -> Tensor:
        """Its tensor before any token was read."""
        return torch.zeros(self.sizes(rows, 0), dtype=self.dtype)

    def sizes(self, rows: int, read: int) -> list[int]:
        """Its shape when that many tokens of every row were read."""
        return [_size(axis, rows, read) for axis in self.shape]

    def of(self, layer: Any) -> Tensor:
        """The tensor that a layer holds."""
        held = getattr(layer, self.attribute)
        return held if self.state is None else held[self.state]

    @property
    def window(self) -> int | None:
        """How many tokens it holds at most; None where it holds all."""
        return next((axis["window"] for axis in self.shape if isinstance(axis, dict)), None)


def _size(axis: str | int | Json, rows: int, read: int) -> int:
    if isinstance(axis, dict):
        return min(read, axis["window"])
    return axis if isinstance(axis, int) else rows if axis == "batch" else read


class Refusal(Exception):
    """Why a class has no step program: a word for programs, a sentence for people."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.facts: Json = {"refused": kind, "why": why}


class Decoder:
    """A model that decodes with a cache: what its step program takes and returns."""

    def __init__(self, model: nn.Module, job: Job, written: Written) -> None:
        """Finds the cache's tensors in the one that the library was left with.

        Raises:
            Refusal: there is no such cache, or not one that is named tensors.
            ExportError: what the library left is not what it promises, or a window was never full.
        """
        names = job.generation
        if names is None:
            raise ExportError(f"decode: task {job.task} generates nothing")
        self.model, self.job, self.written, self.names = model, job, written, names
        self.keyword = _keyword(model, names, job)
        self.config = config_of(model).get_text_config(decoder=True)
        self.slots = _slots(written.cache, self._fresh(), len(written.tokens), self.length)
        if names.mask is None and any(slot.window for slot in self.slots):
            raise Refusal(
                "inputs", "where a cache has a window, tokens are counted by the mask, which is left out"
            )

    @property
    def prompt(self) -> int:
        """Tokens of a row's prompt, with its padding."""
        return self.written.prompts[self.names.grows].shape[1]

    @property
    def length(self) -> int:
        """Tokens that the library read: prompts, and all that it wrote but the last."""
        return self.prompt + self.written.tokens.shape[1] - 1

    @cached_property
    def row(self) -> Tensors:
        """The inputs of the program without a cache that has read all of it."""
        names, prompts, new = self.names, self.written.prompts, self.written.tokens[:, :-1]
        row = {**prompts, names.grows: torch.cat([prompts[names.grows], new], 1)}
        if names.mask:
            row[names.mask] = torch.cat([prompts[names.mask], torch.ones_like(new)], 1)
        if names.positions:
            after = prompts[names.positions][:, -1:] + 1 + torch.arange(new.shape[1])
            row[names.positions] = torch.cat([prompts[names.positions], after], 1)
        return row

    @property
    def tensors(self) -> Tensors:
        """The tokens that the library wrote: the first after the prompt, each other after the one before."""
        return {"decode/tokens": self.written.tokens}

    @property
    def facts(self) -> Json:
        """What the manifest says of the program."""
        slots = [
            {"name": slot.name, "dtype": str(slot.dtype).removeprefix("torch."), "shape": slot.shape}
            for slot in self.slots
        ]
        names = {"tokens": self.names.grows, "mask": self.names.mask, "positions": self.names.positions}
        return {**names, "prompt": self.prompt, "cache": slots}

    def part(self, first: int, last: int) -> Tensors:
        """The program's inputs for these tokens of the row; the mask is that of all tokens so far."""
        start = {self.names.mask: 0}
        return {name: value[:, start.get(name, first) : last] for name, value in self.row.items()}

    def example(self) -> Tensors:
        """Inputs of a chunk, and the cache that it comes after."""
        empty = {slot.name: slot.empty(len(self.written.tokens)) for slot in self.slots}
        with stage("decode"), torch.no_grad():
            read = self.read(self.model, self.part(0, PAST) | empty)
        return self.part(PAST, PAST + CHUNK) | {slot.name: read[slot.name] for slot in self.slots}

    def read(self, model: nn.Module, inputs: Tensors) -> Tensors:
        """Reads tokens: the task's outputs for them, then the cache that holds them too."""
        cache = self._fresh()
        for slot in self.slots:
            self._put(cache.layers[slot.layer], slot, inputs[slot.name], inputs)
        given = {name: inputs[name] for name in self.row}
        result = program.called(model, given, **{self.keyword: cache, "use_cache": True})
        outputs = viewed(model, given, program.promised(self.job, result))
        return outputs | {slot.name: slot.of(cache.layers[slot.layer]) for slot in self.slots}

    def _fresh(self) -> Any:
        """A cache of the class's kind that holds nothing."""
        cache = DynamicCache(config=self.config)
        for layer in cache.layers:
            if isinstance(layer, cache_utils.DynamicSlidingWindowLayer):
                layer.get_mask_sizes = partial(_mask_sizes, layer)
        return cache

    def _put(self, layer: Any, slot: Slot, held: Tensor, inputs: Tensors) -> None:
        layer.dtype, layer.device = held.dtype, held.device
        if slot.state is not None:
            _put_state(layer, slot.attribute, slot.state, held)
            return
        layer.is_initialized = True
        setattr(layer, slot.attribute, held)
        if slot.window is not None:
            # Computed anew for every layer: each counts on in its own.
            layer.cumulative_length = (
                inputs[self.names.mask or ""].shape[1] - inputs[self.names.grows].shape[1]
            )


class Step(Program):
    """A decoder behind the calling convention of programs: inputs, then the cache; outputs, then the cache."""

    def __init__(self, decoder: Decoder, hooks: Hooks = HEALTHY) -> None:
        super().__init__(decoder.model, decoder.job, hooks)
        self._decoder = (decoder,)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The task's outputs for the tokens given, and the cache that holds them too."""
        (decoder,) = self._decoder
        names = [*(entry.name for entry in self.job.inputs), *(slot.name for slot in decoder.slots)]
        inputs = self.hooks.inputs(dict(zip(names, tensors, strict=True)))
        with self.hooks.around():
            outputs = decoder.read(self.model, inputs)
        return tuple(self.hooks.outputs(outputs).values())


def _put_state(layer: Any, attribute: str, state: int, held: Tensor) -> None:
    # A copy: layers write into their states.
    getattr(layer, attribute)[state] = held.clone()
    getattr(layer, f"is_{attribute}_initialized")[state] = True
    layer.has_previous_state[state] = True
    if attribute == "conv_states":
        layer.conv_kernel_size[state] = held.shape[-1]


def _mask_sizes(layer: Any, query_length: Any) -> tuple[Any, Any]:
    """How many keys a layer with a window shows to a query, and how many tokens lie before them.

    Upstream's own asks whether the row has outgrown the window, and a trace bakes that. What is held tells it too.
    """
    held = layer.keys.shape[-2]
    return held + query_length, layer.cumulative_length - held


def _keyword(model: nn.Module, names: Generation, job: Job) -> str:
    """The keyword by which the class takes a cache of the library's kind."""
    why = uncached(model)
    if why:
        raise Refusal("unfaithful", why)
    own = {names.grows, names.mask, names.positions}
    others = [entry.name for entry in job.inputs if entry.name not in own]
    if others:
        raise Refusal("inputs", f"{', '.join(others)} beside tokens: what a step gives there is not said")
    takes = parameters_of(model)
    # Older releases, and the classes that were not renamed, call it `past_key_values`.
    keyword = next((name for name in ("cache", "past_key_values") if name in takes), None)
    if keyword is None:
        raise Refusal("stateless", f"{job.class_name}.forward takes no cache")
    return keyword


def _slots(left: Any, fresh: Any, rows: int, read: int) -> list[Slot]:
    """The tensors of the cache that the library was left with, which a fresh one must have room for."""
    if type(left) is not DynamicCache:
        raise Refusal("class", f"generate keeps a {type(left).__name__}, not a DynamicCache")
    kinds = [type(layer).__name__ for layer in left.layers]
    if kinds != [type(layer).__name__ for layer in fresh.layers]:
        raise Refusal(
            "class", f"generate's cache has layers {', '.join(kinds)}, and one of the config others"
        )
    unknown = sorted(set(kinds) - FLAT)
    if unknown:
        raise Refusal("layer", f"{', '.join(unknown)}: what such layers hold is not read as tensors yet")
    found = [slot for number, layer in enumerate(left.layers) for slot in _slots_of(layer, number, read)]
    for slot in found:
        held = slot.of(left.layers[slot.layer])
        expected = slot.sizes(rows, read)
        if list(held.shape) != expected:
            raise ExportError(f"decode: generate leaves {slot.name} as {list(held.shape)}, not {expected}")
    return found


def _slots_of(layer: Any, number: int, read: int) -> Iterator[Slot]:
    """The tensors that a layer holds."""
    tokens: str | Json = "past"
    if isinstance(layer, cache_utils.DynamicSlidingWindowLayer):
        tokens = {"window": layer.sliding_window - 1}
        if layer.sliding_window > read:
            why = f"a window of {layer.sliding_window} is not left within {read} tokens: make it smaller"
            raise ExportError(f"decode: {why}")
    for attribute, name in GROWING:
        held = getattr(layer, attribute, None)
        if held is not None:
            shape = ("batch", *held.shape[1:TOKENS], tokens, *held.shape[TOKENS + 1 :])
            yield Slot(f"cache/{number}/{name}", number, attribute, None, held.dtype, shape)
    for attribute, name in STATES:
        for state, held in getattr(layer, attribute, {}).items():
            if held is not None:
                shape = ("batch", *held.shape[1:])
                yield Slot(f"cache/{number}/{name}/{state}", number, attribute, state, held.dtype, shape)


def decoder(model: nn.Module, job: Job, written: Written) -> tuple[Decoder | None, Json]:
    """The decoder, if the class has one, and what the manifest says of it or of the lack."""
    try:
        made = Decoder(model, job, written)
    except Refusal as refusal:
        return None, refusal.facts
    return made, made.facts
