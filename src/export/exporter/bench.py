"""Times eager models on request: `python -m exporter.bench`, one JSON request a line, one JSON reply a line.

In: `load` (a job, its artifact's folder, a device), then `time` (how often, and which rows of the traced inputs), then
`peak`. Out: seconds, and MiB. The other side of the pipe runs the same forwards on libtorch in turns with these.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from . import model
from .errors import reason
from .job import Job, Json
from .program import Program


class Bench:
    """The model under test."""

    program: Program
    inputs: list[Tensor]
    device: torch.device
    before: float | None

    def load(self, request: Json) -> Json:
        """Builds the model as the exporter does and runs it once."""
        self.device = torch.device(request["device"])
        self.before = _memory("VmRSS", reset=True)
        started = time.perf_counter()
        job = Job.from_json(request["job"])
        self.program = Program(model.build(job).to(self.device), job, [])
        loaded = time.perf_counter()
        tensors = load_file(Path(request["folder"]) / "cases.safetensors")
        self.inputs = [
            tensors[f"traced/input/{entry.name}"].to(self.device)
            for entry in job.inputs
        ]
        return {
            "load_ms": 1e3 * (loaded - started),
            "first_ms": 1e3 * self._forward(self.inputs),
        }

    def time(self, request: Json) -> Json:
        """Seconds of each forward, with the rows that `select` names: position of the input, axis, indices."""
        inputs = list(self.inputs)
        for position, axis, indices in request["select"]:
            chosen = torch.tensor(indices, device=self.device)
            inputs[position] = inputs[position].index_select(axis, chosen)
        return {"seconds": [self._forward(inputs) for _ in range(request["count"])]}

    def peak(self, _request: Json) -> Json:
        """How far memory rose since before `load`."""
        after = _memory("VmHWM")
        known = after is not None and self.before is not None
        return {"peak_mib": after - self.before if known else None}

    def _forward(self, inputs: list[Tensor]) -> float:
        with torch.no_grad():
            started = time.perf_counter()
            self.program(*inputs)
            if self.device.type != "cpu":
                getattr(torch, self.device.type).synchronize()
            return time.perf_counter() - started


def _memory(field: str, reset: bool = False) -> float | None:
    """A field of /proc/self/status in MiB; nothing where there is no such file."""
    try:
        if reset:
            # 5 sets the peak back to what is resident now.
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    values = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return next((int(value) / 1024 for value in values), None)


def main() -> None:
    """Answers until its input ends."""
    replies = os.fdopen(os.dup(1), "w")
    # Models print; what they print must not mix with replies.
    os.dup2(2, 1)
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    bench = Bench()
    commands: dict[str, Any] = {
        "load": bench.load,
        "time": bench.time,
        "peak": bench.peak,
    }
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = commands[request["command"]](request)
        except Exception as error:  # noqa: BLE001  whatever it is, the other side is told
            reply = {"error": reason(error)}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
