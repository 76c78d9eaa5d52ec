"""Which adapters a model can be traced without: `python -m exporter.unneeded`.

In: the request of `__main__`, with an adapter's name as `without` in each job. Out: its events; the `result` of a
job that is done is null where the model no longer needs that adapter, else what goes wrong without it.
"""

import json
import sys

import torch
from torch import Tensor

from . import attention, program
from .__main__ import own_stdout
from .errors import ExportError, reason
from .job import Job, Json
from .prepared import prepared

# How far a program's output may be from eager's, as a share of its size.
CLOSE = 1e-5


def trial(data: Json) -> str | None:
    """What goes wrong in a job without its adapter, at any case; None where nothing does."""
    without = data["without"]
    job = Job.from_json({key: value for key, value in data.items() if key != "without"})
    ready = prepared(job)
    expected = {name: program.evaluate(ready.eager, job, given, [])[0] for name, given in ready.cases.items()}
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
    script: torch.jit.ScriptModule, job: Job, case: str, given: program.Tensors, expected: program.Tensors
) -> str | None:
    """Which output of a case is off, and how far; what a mask hides is not compared."""
    torch.manual_seed(job.seed)
    try:
        with torch.no_grad():
            outputs = script(*given.values())
    except RuntimeError as error:
        return reason(error)
    hidden = attention.hidden(job, given)
    for (name, eager), output in zip(expected.items(), outputs, strict=True):
        if output.shape != eager.shape:
            return f"{name} ({case}) is {list(output.shape)}, eager's {list(eager.shape)}"
        seen = ~hidden.get(name, torch.zeros((), dtype=torch.bool))
        share = _share(output * seen, eager * seen)
        if not share <= CLOSE:
            return f"{name} ({case}) is off by {share:.1e} of its size"
    return None


def _share(output: Tensor, eager: Tensor) -> float:
    """The size of the difference as a share of eager's; equal infinities do not differ."""
    output, eager = output.double(), eager.double()
    same = output == eager
    apart = torch.where(same, 0.0, output - eager).norm()
    size = torch.where(eager.isfinite(), eager, 0.0).norm()
    return 0.0 if bool(same.all()) else (apart / size).item()


def main() -> None:
    """Tries every job without its adapter."""
    events = own_stdout()
    from .runner import run  # only now, as in `__main__`

    run(json.load(sys.stdin), events, trial)


if __name__ == "__main__":
    main()
