"""Which adapters a model can be traced without: `python -m exporter.unneeded`.

In: the request of `__main__`, with an adapter's name as `without` in each job. Out: its events; the `result` of a
job that is done is null where the model no longer needs that adapter, else what goes wrong without it.
"""

import json
import sys

import torch

from . import program
from .__main__ import own_stdout
from .errors import ExportError, reason
from .job import Job, Json
from .prepared import prepared
from .reference import Held, Models
from .rule import bound


def trial(data: Json) -> str | None:
    """What goes wrong in a job without its adapter, at any case; None where nothing does."""
    without = data["without"]
    job = Job.from_json({key: value for key, value in data.items() if key != "without"})
    ready = prepared(job)
    models = Models(ready.eager, ready.served, job)
    expected = {name: models.run(given) for name, given in ready.cases.items()}
    for one in {ready.eager, ready.served}:
        try:
            script = program.trace(program.Program(one, job), ready.traced, without)
        except ExportError as error:
            return reason(error)
        for name, given in ready.cases.items():
            off = _off(script, job, name, given, expected[name])
            if off:
                return off
    return None


def _off(
    script: torch.jit.ScriptModule, job: Job, case: str, given: program.Tensors, expected: Held
) -> str | None:
    """Which output of a case is off, and how far."""
    torch.manual_seed(job.seed)
    try:
        with torch.no_grad():
            outputs = script(*given.values())
    except RuntimeError as error:
        return reason(error)
    error = expected.error
    for (name, exact), output in zip(expected.exact.items(), outputs, strict=True):
        if output.shape != exact.shape:
            return f"{name} ({case}) is {list(output.shape)}, eager's {list(exact.shape)}"
        allowed = bound(job.rule, exact, error[name])
        distance = allowed.distance(output, exact)
        if allowed.exceeded(distance):
            return f"{name} ({case}) is off by {distance:.1e}, where {allowed.limit:.1e} is allowed"
    return None


def main() -> None:
    """Tries every job without its adapter."""
    events = own_stdout()
    from .runner import run  # only now, as in `__main__`

    run(json.load(sys.stdin), events, trial)


if __name__ == "__main__":
    main()
