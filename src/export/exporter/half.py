"""What eager computes in a half precision on a device: `python -m exporter.half`.

In: the request of `__main__`, with the kind of device and one half precision in every job, for artifacts that are
there. Out: its events, and beside each artifact `half.cuda.bfloat16.safetensors` with the outputs of the traced case
and eager's own error there, `half.cuda.float16.pt` where the artifact has no program in that precision, and
`half.cuda.bfloat16.json` with the digests of both.

A half program is held to eager kernel for kernel, and a GPU's kernels round between sums where a processor's do not:
what the artifact has from a processor is no reference there. By how much rounding moves eager is the model's own, in
units of the precision: the artifact knows it for bfloat16.
"""

import json
import sys
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from . import artifact, program, reference, weights
from .__main__ import own_stdout
from .certify import adopted
from .contract import dtype_name
from .errors import ExportError, stage
from .job import Job, Json
from .prepared import prepared
from .program import Tensors

# The precision of which every artifact has a program.
OWN = torch.bfloat16


def made(data: Json) -> None:
    """Writes what is known of a job's half precision on its device, then the file that lists it."""
    start = time.monotonic()
    device = torch.device(data["device"])
    job = adopted({name: value for name, value in data.items() if name != "device"})
    (half,) = job.half
    dtype = getattr(torch, half)
    ready = prepared(job)
    halved = reference.converted(ready.served, dtype)
    facts: Json = {"key": job.key}
    path = Path(job.directory, f"half.{device.type}.{half}.safetensors")
    files = [path]
    if dtype is not OWN:
        traced = reference.cast(ready.traced, dtype)
        # A class may change its weights when it is first run (RWKV halves them): a trace must not.
        program.evaluate(halved, job, traced, [])
        whole = program.Program(halved, job)
        facts["digests"] = weights.digests(whole)
        script = program.trace(whole, traced)
        files.append(path.with_suffix(".pt"))
        artifact.save_program(script, files[-1])
    known = errors(job, dtype)
    found = outputs(halved, job, ready.traced, device)
    for output in job.outputs:
        hidden = known[f"{job.traced.name}/error/{half}/{output.name}"].isnan()
        if (found[f"{job.traced.name}/{half}/{output.name}"].isnan() & ~hidden).any():
            raise ExportError(
                f"{output.name} of eager {job.class_name} is not a number in {half} on {device.type}"
            )
    save_file(known | found, path)
    facts |= {"seconds": round(time.monotonic() - start, 3), "files": artifact.digests(files)}
    artifact.save_sealed(facts, path.with_suffix(".json"))


def outputs(halved: nn.Module, job: Job, inputs: Tensors, device: torch.device) -> Tensors:
    """What a model in half precision returns on a device at the traced case, by the names that an artifact gives it."""
    dtype = next(halved.parameters()).dtype
    moved = {name: value.to(device) for name, value in reference.cast(inputs, dtype).items()}
    # What calls the model makes tensors of its own without naming a device.
    with stage(f"{job.class_name} on {device.type}"), device:
        results, _ = program.evaluate(halved.to(device), job, moved, [])
    prefix = f"{job.traced.name}/{dtype_name(dtype)}"
    return {f"{prefix}/{name}": value.cpu().contiguous() for name, value in results.items()}


def errors(job: Job, dtype: torch.dtype) -> Tensors:
    """By how much rounding in that precision moves eager: what the artifact says of bfloat16, in its units."""
    units = torch.finfo(dtype).eps / torch.finfo(OWN).eps
    prefix = f"{job.traced.name}/error/"
    with safe_open(Path(job.directory, "cases.safetensors"), "pt") as stored:
        known = {
            port.name: stored.get_tensor(f"{prefix}{dtype_name(OWN)}/{port.name}") for port in job.outputs
        }
    return {f"{prefix}{dtype_name(dtype)}/{name}": error * units for name, error in known.items()}


def main() -> None:
    """Keeps stdout for events, then makes references."""
    events = own_stdout()
    from .runner import run  # only now: libraries print while they are imported

    run(json.load(sys.stdin), events, made)


if __name__ == "__main__":
    main()
