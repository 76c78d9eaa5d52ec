"""A job's model before anything is taken from it: built, filled, settled, and with the attention that is served.

In: a `Job`. Out: a `Prepared`. Whatever exports, compares or tries a model begins here, so that all of them have the
same weights and the same inputs.
"""

from dataclasses import dataclass

from torch import nn

from . import attention, faults, inputs, model, program
from .foreign import Config, config_of
from .job import Job
from .program import Tensors


@dataclass(frozen=True)
class Prepared:
    """`served` is `eager` itself where the class has no other attention; `cases` are the inputs by case."""

    eager: nn.Module
    served: nn.Module
    config: Config
    dims: dict[str, int]
    cases: dict[str, Tensors]
    traced: Tensors


def prepared(job: Job) -> Prepared:
    """Builds the model of a job and fills its inputs at every case."""
    eager = model.build(job)
    faults.prepare(job, eager)
    program.check_inputs(eager, job)
    config = config_of(eager)
    dims = model.resolve_dims(job, config)
    cases = {case.name: inputs.fill(job, config, dims, case, job.padding) for case in job.cases}
    traced = cases[job.traced.name]
    if job.weights == "random":
        model.settle(eager, lambda: program.evaluate(eager, job, traced, []))
    served = attention.served(job, eager, traced, faults.prepare)
    return Prepared(eager, served, config, dims, cases, traced)
