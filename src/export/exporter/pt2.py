"""Programs for the engine pt2, made when they are asked for: `python -m exporter.pt2`.

In: the request of `__main__`, for artifacts that are there. Out: its events, and beside each artifact's TorchScript
`program.pt2`, one for each half precision, and `pt2.json` with their digests. `torch.export` takes seconds where
tracing takes tenths, so no other export waits for it. References and cases stay the artifact's: they are eager's.

A half precision has a program of its own: a graph holds element types as constants, and asserts them.
"""

import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import artifact, program, reference
from .__main__ import own_stdout
from .adapters import adapted
from .errors import stage
from .job import Job, Json
from .prepared import prepared
from .program import Tensors


class Exportable(nn.Module):
    """A program whose model is a part of it: `torch.export` takes weights for what its module holds by name."""

    def __init__(self, whole: program.Program) -> None:
        super().__init__()
        self._whole = (whole,)
        self.model = whole.model

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """What the program returns."""
        return self._whole[0].forward(*tensors)


def exported(data: Json) -> None:
    """Makes the programs of a job and, when all of them are there, the file that lists them."""
    start = time.monotonic()
    job = Job.from_json(data)
    ready = prepared(job)
    served, traced = ready.served, ready.traced
    folder = Path(job.directory)
    made = {"program.pt2": _exported(job, program.Program(served, job), traced)}
    for name in job.half:
        dtype = getattr(torch, name)
        halved = program.Program(reference.converted(served, dtype), job)
        made[f"program.{name}.pt2"] = _exported(job, halved, reference.cast(traced, dtype))
    digests = {name: _saved(one, folder / name) for name, one in made.items()}
    facts = {"key": job.key, "seconds": round(time.monotonic() - start, 3), "files": digests}
    artifact.save_sealed(facts, folder / "pt2.json")


def _exported(job: Job, whole: program.Program, traced: Tensors) -> torch.export.ExportedProgram:
    """The program as a graph of operators, whose sizes are free along the axes that have a second size."""
    with stage("torch.export.export"), torch.no_grad(), adapted(whole.model):
        return torch.export.export(
            Exportable(whole).eval(),
            tuple(traced.values()),
            dynamic_shapes=((*(_free(job, name) for name in traced),),),
            strict=False,
        )


def _free(job: Job, name: str) -> dict[int, Any]:
    """The dimensions of an input that are free: those of an axis that some case gives another size."""
    entry = next(entry for entry in job.inputs if entry.name == name)
    sizes = {axis: {case.sizes[axis] for case in job.cases} for axis in job.traced.sizes}
    moves = (len(sizes.get(axis, ())) > 1 for axis in map(str, entry.shape))
    return {dim: torch.export.Dim.AUTO for dim, free in enumerate(moves) if free}


def _saved(one: torch.export.ExportedProgram, path: Path) -> str:
    """Writes an archive, whole or not at all; its sha256."""
    # An archive's root has the name of its file: it is the file's own from the beginning.
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch, stage("torch.export.save"):
        written = Path(scratch, path.name)
        torch.export.save(one, written)
        written.rename(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Keeps stdout for events, then makes programs."""
    events = own_stdout()
    from .runner import run  # only now: libraries print while they are imported

    run(json.load(sys.stdin), events, exported)


if __name__ == "__main__":
    main()
