"""Decoding with a cache: the step program, and the row that it is held to.

In: a model, and what the library wrote with its own cache (`generation.py`). Out: a program that reads tokens after
those that a cache holds, takes that cache's tensors by name and returns them grown; or, in one word and one sentence,
why the class has no such program.

Where the model takes nothing but tokens, one program does all: with a cache that holds nothing it is the prefill, then
it reads a token a step, or a chunk. Where it takes more (what an encoder reads, pictures, sounds), that is given once,
to a second program, the prefill: it reads the first tokens beside it, and returns what steps need of it (`once.py`).
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import nn

from . import cache, program
from .cache import Held, Refusal, Slot
from .calls import parameters_of, viewed
from .errors import ExportError, stage
from .foreign import config_of
from .generation import Written, uncached
from .job import Input, Job, Json
from .once import Once
from .program import Program, Tensors
from .tuples import Handed

# Tokens that the trace finds in the cache, and reads: sizes that no config has, so that none is taken for another.
PAST, CHUNK = 17, 3


class Decoder:
    """A model that decodes with a cache: what its programs take and return."""

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
        self.keyword = _keyword(model, job)
        slots = cache.slots(config_of(model), written.cache, self._fresh(), len(written.tokens), self.length)
        self.slots = [slot for slot in slots if not slot.given]
        self.cross = [slot for slot in slots if slot.given]
        self.once = Once(model, job, names, encodes=cache.CROSS in cache.parts(written.cache))
        if not self.once.inputs:
            self.slots = self._counted(self.slots)
        elif cache.of_one(written.cache):
            raise Refusal("class", f"no prefill begins with a {type(written.cache).__name__} yet")
        if names.mask is None and not self._counts and any(slot.window for slot in self.slots):
            raise Refusal("inputs", "all its layers have a window, and tokens are counted by no mask")
        self.held = self._held_by(self.prefilled) if self.once.inputs else []

    @cached_property
    def own(self) -> list[Input]:
        """The inputs that a step takes: tokens, and their mask and positions where the model has such inputs."""
        names = (self.names.grows, self.names.mask, self.names.positions)
        return [entry for entry in self.job.inputs if entry.name in names]

    @property
    def prompt(self) -> int:
        """Tokens of a row's prompt, with its padding."""
        return self.written.prompts[self.names.grows].shape[1]

    @property
    def length(self) -> int:
        """Tokens that the library read: prompts, and all that it wrote but the last."""
        return self.prompt + self.written.tokens.shape[1] - 1

    @cached_property
    def least(self) -> int:
        """How many tokens the prefill must read."""
        return self.once.least(self.written.prompts)

    @cached_property
    def row(self) -> Tensors:
        """The inputs of the program without a cache that has read all of it."""
        prompts, new = self.written.prompts, self.written.tokens[:, :-1]
        following = {self.names.grows: new}
        if self.names.mask:
            following[self.names.mask] = torch.ones_like(new)
        if self.names.positions:
            following[self.names.positions] = (
                prompts[self.names.positions][:, -1:] + 1 + torch.arange(new.shape[1])
            )
        following |= self.once.later(prompts, new.shape[1])
        return {
            entry.name: torch.cat([prompts[entry.name], following[entry.name]], 1)
            if entry.name in following
            else prompts[entry.name]
            for entry in self.job.inputs
        }

    @property
    def tensors(self) -> Tensors:
        """The tokens that the library wrote: the first after the prompt, each other after the one before."""
        return {"decode/tokens": self.written.tokens}

    @property
    def facts(self) -> Json:
        """What the manifest says of the programs."""
        return {
            "tokens": self.names.grows,
            "mask": self.names.mask,
            "positions": self.names.positions,
            "prompt": self.prompt,
            "prefill": self.least if self.once.inputs else None,
            "cache": [slot.facts for slot in self.slots],
            "held": [held.facts for held in self.held],
        }

    def part(self, first: int, last: int) -> Tensors:
        """A step's inputs for these tokens of the row; the mask is that of all tokens so far."""
        start = {self.names.mask: 0}
        return {
            entry.name: self.row[entry.name][:, start.get(entry.name, first) : last] for entry in self.own
        }

    def opening(self, last: int) -> Tensors:
        """The prefill's inputs for the tokens of the row up to there."""
        grows = [entry.name for entry in self.job.inputs if entry in self.own or self.once.follows(entry)]
        return {name: value[:, :last] if name in grows else value for name, value in self.row.items()}

    @cached_property
    def prefilled(self) -> Tensors:
        """What the prefill returns for the tokens that the trace finds in the cache."""
        with stage("prefill"), torch.no_grad():
            return self.begin(self.opening(self._past))

    def example(self) -> Tensors:
        """Inputs of a chunk, and the cache that it comes after."""
        if self.once.inputs:
            read = self.prefilled
        else:
            empty = {slot.name: slot.empty(len(self.written.tokens)) for slot in self.slots}
            with stage("decode"), torch.no_grad():
                read = self.read(self.part(0, PAST) | empty)
        return self.part(self._past, self._past + CHUNK) | {held.name: read[held.name] for held in self.takes}

    @property
    def takes(self) -> list[Held]:
        """What a step takes beside its inputs."""
        return [*self.slots, *self.held]

    def programs(self) -> Iterator[tuple[str, Program, Tensors]]:
        """The programs, by their files, and inputs to trace each with."""
        yield program.DECODE, Step(self), self.example()
        if self.once.inputs:
            yield program.PREFILL, Prefill(self), self.opening(max(self.least, CHUNK))

    def begin(self, inputs: Tensors) -> Tensors:
        """Reads the first tokens beside all that is given once: outputs, the cache, and what else steps need."""
        held = self._fresh()
        with self.once.watched() as encoded:
            result = self._called(inputs, held)
        tensors = {slot.name: slot.of(held) for slot in (*self.slots, *self.cross)}
        return self._outputs(inputs, result) | tensors | self.once.kept(inputs, result, encoded)

    def read(self, inputs: Tensors) -> Tensors:
        """Reads tokens: the task's outputs for them, then the cache that holds them too."""
        held = self._fresh()
        for slot in (*self.slots, *self.cross):
            slot.put(held, inputs[slot.name], lambda: self._read(inputs))
        own = {entry.name: inputs[entry.name] for entry in self.own}
        if self.once.encodes:
            held.is_updated = dict.fromkeys(held.is_updated, True)
        result = self._called(own, held, **self.once.step(inputs, own, held))
        return self._outputs(own, result) | {slot.name: slot.of(held) for slot in self.slots}

    def _fresh(self) -> Any:
        return cache.fresh(config_of(self.model), self.written.cache)

    def _counted(self, slots: list[Slot]) -> list[Slot]:
        """States of whole numbers counted from what they hold before any token: what stands before the first."""
        if not any(slot.state is not None and not slot.dtype.is_floating_point for slot in slots):
            return slots
        held = self._fresh()
        with stage("decode"), torch.no_grad():
            self._called(self.part(0, 1), held)
        return [slot.begun(held) for slot in slots]

    def _called(self, inputs: Tensors, held: Any, **others: Any) -> Any:
        """What the model returns with a cache, which it changes."""
        handed = isinstance(held, Handed)
        others |= {self.keyword: held.given if handed else held} | self._switch
        result = program.called(self.model, inputs, **others)
        if handed:
            held.take(result[self.keyword])
        return result

    @cached_property
    def _switch(self) -> dict[str, bool]:
        """What asks for the cache; a memory is always handed out."""
        return {name: True for name in ("use_cache",) if name in parameters_of(self.model)}

    def _outputs(self, inputs: Tensors, result: Any) -> Tensors:
        """The task's outputs of what the model returned."""
        return viewed(self.model, inputs, program.promised(self.job, result))

    def _read(self, inputs: Tensors) -> Any:
        """How many tokens of every row were read before."""
        if self.names.mask:
            return inputs[self.names.mask].shape[1] - inputs[self.names.grows].shape[1]
        counts = self._counts[0]
        return inputs[counts.name].shape[counts.shape.index("past")]

    @cached_property
    def _counts(self) -> list[Slot]:
        """Tensors of the cache that hold every token."""
        return [slot for slot in self.slots if "past" in slot.shape]

    @property
    def _past(self) -> int:
        return max(PAST, self.least)

    def _held_by(self, prefilled: Tensors) -> list[Held]:
        """What steps need of what is given once, in the order in which the prefill returns it."""
        encoded = prefilled[self.cross[0].name].shape[cache.TOKENS] if self.cross else None
        return [*self.cross, *self.once.facts(prefilled, encoded)]


class Step(Program):
    """A decoder behind the calling convention of programs: inputs, then the cache; outputs, then the cache."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__(decoder.model, decoder.job)
        self._decoder = (decoder,)

    @property
    def decoder(self) -> Decoder:
        """The decoder that it calls."""
        return self._decoder[0]

    def takes(self) -> list[str]:
        """Names of the inputs of a step, and of all that is held."""
        return [one.name for one in (*self.decoder.own, *self.decoder.takes)]

    def call(self, inputs: Tensors) -> Tensors:
        """The task's outputs for the tokens given, and the cache that holds them too."""
        return self.decoder.read(inputs)


class Prefill(Step):
    """The model's inputs, of which some are given this once; outputs, then the cache, then what else is held."""

    def takes(self) -> list[str]:
        """Names of the model's inputs."""
        return Program.takes(self)

    def call(self, inputs: Tensors) -> Tensors:
        """The task's outputs for the first tokens, and all that steps need."""
        return self.decoder.begin(inputs)


def _keyword(model: nn.Module, job: Job) -> str:
    """The keyword by which the class takes a cache of the library's kind."""
    why = uncached(model)
    if why:
        raise Refusal("unfaithful", why)
    takes = parameters_of(model)
    # Older releases, and the classes that were not renamed, call it `past_key_values`.
    keyword = next((name for name in ("cache", "past_key_values", "mems") if name in takes), None)
    if keyword is None:
        raise Refusal("stateless", f"{job.class_name}.forward takes no cache")
    return keyword


def decoder(model: nn.Module, job: Job, written: Written) -> tuple[Decoder | None, Json]:
    """The decoder, if the class has one, and what the manifest says of it or of the lack."""
    try:
        made = Decoder(model, job, written)
    except Refusal as refusal:
        return None, refusal.facts
    return made, made.facts
