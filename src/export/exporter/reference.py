"""Eager references: what the program must reproduce.

In: a model and the inputs of every case and situation. Out: named tensors, `<case>/input|float32|float64|<half>/<name>`
and `<case or situation>/error/<precision>/<name>`: by how much eager itself is off there, element by element. It is
not a number where a mask hides the position: nothing is compared there.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from . import attention, choices, contract
from .adapters.buckets import buckets_by_table
from .adapters.common import forget
from .errors import ExportError
from .job import Job
from .program import Tensors, evaluate
from .rounding import Disturbed
from .rule import Bound, bound
from .situations import Situation, row_of

# Disturbed runs of a case or situation: two where the errors of each output are about the same in both (by `ALIKE`),
# one more where they are not, or the model makes choices; as many as six where an output has fewer values a row than
# `FEW`, of which one run says little.
LEAST, MORE, MOST, ALIKE, FEW = 2, 3, 6, 1.5, 100
# How near exact outputs are to each other that differ in the order of sums alone.
SAME = 1e-9


def references(
    models: "Models", dims: dict[str, int], cases: dict[str, Tensors], situations: list[Situation]
) -> Tensors:
    """Inputs and eager outputs of all cases, inputs of all situations, and the rounding error in each of them.

    The error is that of the model as it is served, beside eager's own where that is another.
    """
    job, tensors = models.job, Tensors()
    ran: dict[str, Held] = {}
    for name, inputs in cases.items():
        tensors |= _prefixed(f"{name}/input", inputs)
        held = ran[name] = models.run(inputs)
        contract.check(job, job.case(name), dims, held.outputs)
        tensors |= _prefixed(f"{name}/float32", held.outputs) | _prefixed(f"{name}/float64", held.exact)
        tensors |= _prefixed(f"{name}/error/float32", held.error)
    for situation in situations:
        tensors |= _prefixed(f"{situation.name}/input", situation.inputs)
        like = None if situation.row is None else ran[job.traced.name].row(job, situation.row)
        error = models.run(situation.inputs, like).error
        tensors |= _prefixed(f"{situation.name}/error/float32", error)
    return tensors


def row_references(models: "Models", name: str, inputs: Tensors) -> Tensors:
    """Inputs, exact outputs and eager's own error of a row beyond the job's cases."""
    held = models.run(inputs)
    tensors = _prefixed(f"{name}/input", inputs) | _prefixed(f"{name}/float64", held.exact)
    return tensors | _prefixed(f"{name}/error/float32", held.error)


def bounds(job: Job, tensors: Tensors) -> dict[str, Bound]:
    """What the numerical rule makes of each output of the traced case."""
    kinds = [f"{job.traced.name}/{kind}" for kind in ("float64", "error/float32")]
    return {
        output.name: bound(job.rule, *(tensors[f"{kind}/{output.name}"] for kind in kinds))
        for output in job.outputs
    }


def half_references(halved: nn.Module, job: Job, inputs: Tensors) -> Tensors:
    """What eager computes in a half precision at the traced case, and by how much other kernels move that."""
    dtype = next(halved.parameters()).dtype
    inputs = cast(inputs, dtype)
    outputs, _ = evaluate(halved, job, inputs, [])
    run = _Run(halved, job, inputs, outputs)
    name, half = job.traced.name, contract.dtype_name(dtype)
    return _prefixed(f"{name}/{half}", outputs) | _prefixed(f"{name}/error/{half}", run.others().off([]))


@dataclass(frozen=True)
class Held:
    """What a model returned: eager fp32 and fp64, and errors, squared, of fp32 as served."""

    outputs: Tensors
    exact: Tensors
    own: list[Tensors]
    others: "Others"

    @property
    def error(self) -> Tensors:
        """Taken over the runs as they are and over those of other processors: one run alone may be right by luck."""
        return self.others.off(self.own)

    def row(self, job: Job, row: int) -> "Held":
        """What there is of one row."""

        def part(tensors: Tensors) -> Tensors:
            return {port.name: row_of(tensors[port.name], port, job, row) for port in job.outputs}

        own, drawn, forced = (
            list(map(part, runs)) for runs in (self.own, self.others.drawn, self.others.forced)
        )
        return Held(part(self.outputs), part(self.exact), own, Others(drawn, forced))


# What a model returns in fp64, and what makes that of it.
Exact = Callable[[Job, Tensors], Tensors]
Widen = Callable[[nn.Module], Exact]


def widened(model: nn.Module) -> Exact:
    """The model in fp64: a copy of it, which takes twice its memory."""
    double = converted(model, torch.float64)

    def run(job: Job, inputs: Tensors) -> Tensors:
        with in_float64():
            return evaluate(double, job, cast(inputs, torch.float64), [])[0]

    return run


class Models:
    """A model with eager attention, the same as it is served, and the first in fp64."""

    def __init__(self, eager: nn.Module, served: nn.Module, job: Job, widen: Widen = widened) -> None:
        self.eager, self.served, self.job = eager, served, job
        self.exact = widen(eager)

    def run(self, inputs: Tensors, like: Held | None = None) -> Held:
        """Runs the models and, as on other processors, the one that is served, until its error is known.

        Rounding is passed on alike where the exact outputs are alike: where they are those of `like`, its runs on
        other processors are taken for this one's. That is so for a row alone and the row in its batch.
        """
        outputs, _ = evaluate(self.eager, self.job, inputs, [])
        exact = self.exact(self.job, inputs)
        run = _Run(self.served, self.job, inputs, exact)
        own = [run.squares(outputs)]
        if self.served is not self.eager:
            own.append(run.squares(evaluate(self.served, self.job, inputs, [])[0]))
        others = like.others if like and _equal(exact, like.exact) else run.others()
        return Held(outputs, exact, own, others)


def _equal(exact: Tensors, other: Tensors) -> bool:
    """Whether two runs in fp64 computed the same, but for the order of their sums."""
    pairs = [(value, other[name]) for name, value in exact.items()]
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=SAME, atol=SAME) for a, b in pairs)


@dataclass(frozen=True)
class Others:
    """Errors, squared, of the same run on other processors: some as they come, some with choices the other way."""

    drawn: list[Tensors]
    forced: list[Tensors]

    def off(self, own: list[Tensors]) -> Tensors:
        """By how much outputs are off element by element: over own and drawn runs, or in the worst forced one.

        Where the drawn runs are not alike, chance decides how far rounding comes, and a handful of runs does not say
        how often: there the worst of them counts.
        """
        runs = [*own, *self.drawn]

        def of(name: str) -> Tensor:
            squares = [run[name] for run in runs]
            alike = _alike(self.drawn, name)
            likely = torch.stack(squares).mean(0) if alike else max(squares, key=_mean)
            return torch.stack([likely, *(run[name] for run in self.forced)]).amax(0).sqrt().float()

        return {name: of(name) for name in runs[0]}


class _Run:
    """A model at some inputs, and what it should return."""

    def __init__(self, model: nn.Module, job: Job, inputs: Tensors, reference: Tensors) -> None:
        self.model, self.job, self.inputs, self.reference = model, job, inputs, reference
        self.hidden = attention.hidden(job, inputs)

    def squares(self, outputs: Tensors) -> Tensors:
        """Element by element, the squared distance of outputs from the reference.

        What has another shape is off by all; what a mask hides is not a number.

        Raises:
            ExportError: an output that can be seen is not a number.
        """
        squares = {name: _square(outputs[name], exact) for name, exact in self.reference.items()}
        for name, square in squares.items():
            seen = square.isnan()
            if name in self.hidden:
                seen &= ~self.hidden[name]
                square.masked_fill_(self.hidden[name], torch.nan)
            if seen.any():
                raise ExportError(f"{name} of eager {self.job.class_name} is not a number")
        return squares

    def others(self) -> Others:
        """Runs the model until the errors are known; what a class keeps of a run is dropped."""

        def under(mode: choices.Mode) -> Tensors:
            forget(self.model)
            with mode, buckets_by_table(self.model):
                outputs, _ = evaluate(self.model, self.job, self.inputs, [])
            forget(self.model)
            return self.squares(outputs)

        drawn: list[Tensors] = []
        made: list[list[choices.Choice]] = []
        rows = self.job.traced.sizes["batch"] if self.job.rows else 1
        few = min(value.numel() for value in self.reference.values()) < FEW * rows
        while len(drawn) < (MOST if few else MORE):
            mode = Disturbed(len(drawn))
            drawn.append(under(mode))
            made.append(mode.choices)
            if len(drawn) >= (MORE if mode.choices else LEAST) and all(
                _alike(drawn, name) for name in self.reference
            ):
                break
        if made[0]:
            # The run as it is may round other than all drawn ones, in half precision by more than they differ.
            plain = choices.Watched()
            under(plain)
            made.append(plain.choices)
        doubts = choices.doubts(made)
        forced = [
            under(choices.Forced(doubts, first)) for first in (0, 1) if choices.turned(made[0], doubts, first)
        ]
        return Others(drawn, forced)


def _alike(runs: list[Tensors], name: str) -> bool:
    """Whether an output's error is about the same in all runs."""
    sizes = [_mean(run[name]) ** 0.5 for run in runs]
    return max(sizes) <= ALIKE * min(sizes)


def _mean(square: Tensor) -> float:
    """The mean over what no mask hides."""
    return square.nanmean().item()


def _square(value: Tensor, exact: Tensor) -> Tensor:
    if value.shape != exact.shape:
        return torch.full_like(exact, torch.inf, dtype=torch.float64)
    # Both infinite, alike: a mask's minus infinity is no error.
    return torch.where(value == exact, 0.0, (value.double() - exact.double()).square())


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def converted(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of the model with that element type, which keeps nothing of earlier runs.

    Complex buffers stay complex, which `to` would cut to their real part.
    """
    copied = copy.deepcopy(model)
    complexes = {name: buffer for name, buffer in copied.named_buffers() if buffer.is_complex()}
    copied.to(dtype)
    wide = torch.complex128 if dtype is torch.float64 else torch.complex64
    for name, buffer in complexes.items():
        owner, _, attribute = name.rpartition(".")
        setattr(copied.get_submodule(owner), attribute, buffer.to(wide))
    return fresh(copied)


def fresh(model: nn.Module) -> nn.Module:
    """The model without what it kept of an earlier run; `train` drops what a class keeps for evaluation (LeViT)."""
    model.train().eval()
    forget(model)
    return model


def cast(inputs: Tensors, dtype: torch.dtype) -> Tensors:
    """The inputs with every float one converted."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}


@contextmanager
def in_float64() -> Iterator[None]:
    """Makes an fp64 run fp64 throughout.

    Model code that asks for float32 by name (softmax, norms, rotary angles) gets float64; without this, its
    results are no better than fp32, and masked rows overflow to NaN.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64():
            yield
    finally:
        torch.set_default_dtype(default)


class _Float64(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        named = {key: _widened(value) for key, value in (kwargs or {}).items()}
        return function(*map(_widened, args), **named)


def _widened(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
