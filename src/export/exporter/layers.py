"""Where a trace leaves the model that it was made of: `python -m exporter.layers`.

In: the request of `__main__`. Out: its events; the `result` of a job that is done is the first layer, in order of
execution, whose output in the program is further from float64 than eager's rounding explains; null where there is none.
"""

import json
import sys

import torch
from torch import Tensor

from . import program
from .__main__ import own_stdout
from .job import Job, Json
from .prepared import prepared
from .program import Tensors
from .reference import cast, converted, in_float64
from .rule import bound


class _Open(program.Program):
    """A program that also returns what its layers return."""

    def __init__(self, model: torch.nn.Module, job: Job, layers: list[str]) -> None:
        super().__init__(model, job)
        self.layers = layers

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The layers' outputs, in order of execution."""
        names = (entry.name for entry in self.job.inputs)
        _, layers = program.run(self.model, self.job, dict(zip(names, tensors, strict=True)), self.layers)
        return tuple(layers.values())


def first_differing(data: Json) -> str | None:
    """The first layer of a job's model that differs, at the traced case."""
    job = Job.from_json(data)
    ready = prepared(job)
    served, traced = ready.served, ready.traced
    layers = program.find_layers(served, job, traced)
    _, rounded = program.evaluate(served, job, traced, layers)
    with in_float64():
        double = converted(served, torch.float64)
        _, exact = program.evaluate(double, job, cast(traced, torch.float64), layers)
    script = program.trace(_Open(served, job, layers), traced)
    with torch.no_grad():
        found = dict(zip(rounded, script(*traced.values()), strict=True))
    return next((name for name in found if _differs(job, name, found, rounded, exact)), None)


def _differs(job: Job, name: str, found: Tensors, rounded: Tensors, exact: Tensors) -> bool:
    """Whether the numerical rule says so of a layer."""
    if found[name].shape != exact[name].shape:
        return True
    allowed = bound(job.rule, exact[name], (rounded[name].double() - exact[name]).abs())
    return allowed.exceeded(allowed.distance(found[name], exact[name]))


def main() -> None:
    """Looks into every job."""
    events = own_stdout()
    from .runner import run  # only now, as in `__main__`

    run(json.load(sys.stdin), events, first_differing)


if __name__ == "__main__":
    main()
