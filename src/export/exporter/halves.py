"""What eager computes in half precision on another device: `python -m exporter.halves`.

In: the request of `__main__`, with the kind of device in every job, for artifacts that are there. Out: its events, and
beside each artifact `halves.cuda.safetensors` with the outputs of the traced case, and `halves.cuda.json` with the
digest of that.

A half program is held to eager kernel for kernel, and a GPU's kernels round between sums where a processor's do not:
what the artifact has from a processor is no reference there. By how much rounding moves eager is the model's own, and
stays the artifact's.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from . import artifact, program, reference
from .__main__ import own_stdout
from .errors import stage
from .job import Job, Json
from .prepared import prepared
from .program import Tensors


def made(data: Json) -> None:
    """Writes the outputs of a job's half precisions on its device, then the file that lists them."""
    start = time.monotonic()
    device = torch.device(data["device"])
    job = Job.from_json({name: value for name, value in data.items() if name != "device"})
    ready = prepared(job)
    tensors = Tensors()
    for name in job.half:
        halved = reference.converted(ready.served, getattr(torch, name))
        tensors |= outputs(halved, job, ready.traced, device)
    path = Path(job.directory, f"halves.{device.type}.safetensors")
    save_file(tensors, path)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    facts = {"key": job.key, "seconds": round(time.monotonic() - start, 3), "files": digests}
    artifact.save_sealed(facts, path.with_suffix(".json"))


def outputs(halved: nn.Module, job: Job, inputs: Tensors, device: torch.device) -> Tensors:
    """What a model in half precision returns on a device at the traced case, by the names that an artifact gives it."""
    dtype = next(halved.parameters()).dtype
    moved = {name: value.to(device) for name, value in reference.cast(inputs, dtype).items()}
    # What calls the model makes tensors of its own without naming a device.
    with stage(f"{job.class_name} on {device.type}"), device:
        results, _ = program.evaluate(halved.to(device), job, moved, [])
    prefix = f"{job.traced.name}/{str(dtype).removeprefix('torch.')}"
    return {f"{prefix}/{name}": value.cpu().contiguous() for name, value in results.items()}


def main() -> None:
    """Keeps stdout for events, then makes references."""
    events = own_stdout()
    from .runner import run  # only now: libraries print while they are imported

    run(json.load(sys.stdin), events, made)


if __name__ == "__main__":
    main()
