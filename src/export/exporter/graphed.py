"""What graphs are made of: programs, which of the sizes that they take are free, and runs at which a graph must hold.

In: a job and its model. Out: the model's own programs, and those that decode with a cache. They are the very programs
that are traced; a planted fault is in the one that it is about.
"""

import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import cache_faults, decoding, faults, generation, program, reference
from .errors import stage
from .job import Input, Job
from .prepared import Prepared
from .program import Tensors
from .situations import row_of


@dataclass(frozen=True)
class Graphed:
    """A program that is to be a graph; `decodes` where it does so with a cache.

    `free` has the dimensions of each tensor that it takes whose sizes may change, `cases` the runs at which its graph
    must hold.
    """

    name: str
    program: program.Program
    free: dict[str, list[int]]
    cases: dict[str, Tensors]
    decodes: bool = False

    def examples(self) -> Iterator[Tensors]:
        """Runs that the graph can be made from, the first case's foremost: sizes of 0 and 1 would become constants."""
        first, *others = self.cases.values()
        yield first
        for inputs in others:
            if all(value.shape[dim] > 1 for name, value in inputs.items() for dim in self.free[name]):
                yield inputs


def of_model(job: Job, ready: Prepared) -> Iterator[Graphed]:
    """The model's own programs: in float32, and in each half precision."""
    yield _of_model("program", job, ready.served, ready.cases)
    for name in job.half:
        dtype = getattr(torch, name)
        cases = {case: reference.cast(inputs, dtype) for case, inputs in ready.cases.items()}
        yield _of_model(f"program.{name}", job, reference.converted(ready.served, dtype), cases, "half-")


def of_all(job: Job, ready: Prepared) -> Iterator[Graphed]:
    """The same, and the programs that decode, where the class has such."""
    yield from of_model(job, ready)
    if job.generation and job.decoded_tokens:
        _, _, written = generation.generate(ready.eager, job, ready.dims)
        decoder, _ = decoding.decoder(ready.served, job, written)
        if decoder:
            yield from _of_decoder(job, decoder, ready.cases)


def _of_model(name: str, job: Job, model: nn.Module, cases: dict[str, Tensors], about: str = "") -> Graphed:
    return Graphed(name, planted(job, model, cases, about), free(job), cases)


def planted(job: Job, model: nn.Module, cases: dict[str, Tensors], about: str = "") -> program.Program:
    """The program of a model, with the job's fault in it if that is about such a program."""
    name, _, argument = (job.fault or "").partition(":")
    fault = faults.FAULTS.get(name)
    if name.startswith("eager-"):
        raise faults.not_applicable("a graph has one attention")
    if fault is None or name.startswith("half-") != bool(about):
        return program.Program(model, job)
    layers = program.find_layers(model, job, cases[job.traced.name])
    site = faults.Site(job, copy.deepcopy(model), layers, cases, argument)
    return program.Program(site.model, job, fault(site))


def free(job: Job, also: Collection[str | int] = ()) -> dict[str, list[int]]:
    """The free dimensions of a model's inputs: those of an axis that some case gives another size, and of these."""
    sizes = {axis: {case.sizes[axis] for case in job.cases} for axis in job.traced.sizes}
    moving = {axis for axis, found in sizes.items() if len(found) > 1}.union(also)
    return {
        entry.name: [dim for dim, axis in enumerate(entry.shape) if axis in moving] for entry in job.inputs
    }


def _of_decoder(job: Job, decoder: decoding.Decoder, cases: dict[str, Tensors]) -> Iterator[Graphed]:
    """A step, and what comes before steps."""
    tokens = next(entry for entry in decoder.own if entry.name == decoder.names.grows)
    own = free(job, tokens.shape)
    held = {
        one.name: [dim for dim, axis in enumerate(one.shape) if not isinstance(axis, int)]
        for one in decoder.takes
    }
    runs = _Runs(job, decoder, cases)
    faulty, fault = cache_faults.FAULTS.get(job.fault or "", ("", None))
    for file, whole, example in decoder.programs():
        if fault and faulty == file:
            whole.hooks = fault(decoder) or program.HEALTHY
        with stage("decode"), torch.no_grad():
            later = dict(runs.steps() if file == program.DECODE else runs.openings())
        name = file.removesuffix(".pt")
        yield Graphed(name, whole, {**own, **held}, {"example": example, **later}, decodes=True)


# Tokens that are read before the first chunk that no window is full at.
FEW = 5


@dataclass(frozen=True)
class _Runs:
    """The runs at which graphs that decode must hold."""

    job: Job
    decoder: decoding.Decoder
    cases: dict[str, Tensors]

    def openings(self) -> Iterator[tuple[str, Tensors]]:
        """Of the prefill: as few tokens as it may read, the prompt, a row alone, and the model's own cases."""
        least = self.decoder.least
        yield "least", self.decoder.opening(least)
        yield "prompt", self.decoder.opening(max(least, self.decoder.prompt))
        yield "row", self._row(self.decoder.opening(least))
        yield from self.cases.items()

    def steps(self) -> Iterator[tuple[str, Tensors]]:
        """Of a step: a token after many and after few, a chunk after few, a row alone; without a prefill its own."""
        decoder, few = self.decoder, max(FEW, self.decoder.least)
        many = max(decoding.PAST, decoder.least)
        after_few = self._read(few)
        yield "token", self._after(self._read(many), many, many + 1)
        yield "token after few", self._after(after_few, few, few + 1)
        yield "chunk after few", self._after(after_few, few, few + FEW)
        if decoder.once.inputs:
            yield "row", self._after(decoder.begin(self._row(decoder.opening(few))), few, few + 1)
            for name, inputs in self.cases.items():
                yield name, self._following(inputs) | self._held(decoder.begin(inputs))
        else:
            yield "first chunk", decoder.part(0, few) | self._empty(len(decoder.written.tokens))
            yield "first token of a row", self._row(decoder.part(0, 1)) | self._empty(1)

    def _read(self, count: int) -> Tensors:
        """What is held after so many tokens."""
        if self.decoder.once.inputs:
            return self.decoder.begin(self.decoder.opening(count))
        return self.decoder.read(self.decoder.part(0, count) | self._empty(len(self.decoder.written.tokens)))

    def _after(self, read: Tensors, first: int, last: int) -> Tensors:
        """A step's inputs for these tokens, of as many rows as what was read has."""
        inputs, held = self.decoder.part(first, last), self._held(read)
        alone = read[self.decoder.slots[0].name].shape[0] < len(self.decoder.written.tokens)
        return (self._row(inputs) if alone else inputs) | held

    def _held(self, read: Tensors) -> Tensors:
        return {one.name: read[one.name] for one in self.decoder.takes}

    def _empty(self, rows: int) -> Tensors:
        return {slot.name: slot.empty(rows) for slot in self.decoder.slots}

    def _row(self, inputs: Tensors) -> Tensors:
        """The first row of inputs."""
        entries: dict[str, Input] = {entry.name: entry for entry in self.job.inputs}
        return {name: row_of(value, entries[name], self.job, 0) for name, value in inputs.items()}

    def _following(self, inputs: Tensors) -> Tensors:
        """A step's inputs for a token after those of a whole row."""
        names = self.decoder.names

        def next_of(name: str, value: Tensor) -> Tensor:
            last = value[:, -1:]
            if name == names.mask:
                return torch.cat([value, torch.ones_like(last)], 1)
            return last + 1 if name == names.positions else last

        return {entry.name: next_of(entry.name, inputs[entry.name]) for entry in self.decoder.own}
