"""Times models on request: `python -m exporter.bench`, one JSON request a line, one JSON reply a line.

In: `load` (a job, its artifact's folder, a device), then `time` (how often, which rows of the traced inputs, eager or
compiled), then `peak`. Out: seconds, and MiB. The other side of the pipe runs the same forwards on libtorch in turns
with these.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from . import model
from .__main__ import own_stdout
from .errors import reason
from .job import Job, Json
from .program import Program


class Bench:
    """The model under test."""

    program: Program
    compiled: Callable[..., object] | None
    inputs: list[Tensor]
    device: torch.device
    before: float | None
    gpu_before: int

    def load(self, request: Json) -> Json:
        """Builds the model as the exporter does and runs it once."""
        self.device = torch.device(request["device"])
        self.before = _memory("VmRSS", reset=True)
        if self.device.type == "cuda":
            # Before it has begun, its allocator knows no device.
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(self.device)
            self.gpu_before = torch.cuda.memory_allocated(self.device)
        started = time.perf_counter()
        job = Job.from_json(request["job"])
        self.program = Program(model.build(job).to(self.device), job)
        loaded = time.perf_counter()
        self.compiled = None
        tensors = load_file(Path(request["folder"]) / "cases.safetensors")
        self.inputs = [tensors[f"traced/input/{entry.name}"].to(self.device) for entry in job.inputs]
        return {
            "load_ms": 1e3 * (loaded - started),
            "first_ms": 1e3 * self._forward(self.program, self.inputs),
        }

    def time(self, request: Json) -> Json:
        """Seconds of each forward, with the rows that `select` names: position of the input, axis, indices."""
        inputs = list(self.inputs)
        for position, axis, indices in request["select"]:
            chosen = torch.tensor(indices, device=self.device)
            inputs[position] = inputs[position].index_select(axis, chosen)
        model = self._compiled() if request["compiled"] else self.program
        return {"seconds": [self._forward(model, inputs) for _ in range(request["count"])]}

    def peak(self, _request: Json) -> Json:
        """How far memory rose since before `load`."""
        after = _memory("VmHWM")
        risen = None if after is None or self.before is None else after - self.before
        return {"peak_mib": risen, "peak_gpu_mib": self._gpu_peak()}

    def _compiled(self) -> Callable[..., object]:
        """The model under torch.compile, which compiles when it is run, every batch size by itself."""
        if self.compiled is None:
            # All models share the code of Program, and with it the number of times that it may be compiled anew.
            torch.compiler.reset()
            self.compiled = torch.compile(self.program, dynamic=False)
        return self.compiled

    def _gpu_peak(self) -> float | None:
        """MiB that tensors took on a CUDA device; other devices do not say."""
        if self.device.type != "cuda":
            return None
        peak = torch.cuda.max_memory_allocated(self.device)
        return (peak - self.gpu_before) / 2**20

    def _forward(self, model: Callable[..., object], inputs: list[Tensor]) -> float:
        with torch.no_grad():
            started = time.perf_counter()
            model(*inputs)
            if self.device.type != "cpu":
                getattr(torch, self.device.type).synchronize()
            return time.perf_counter() - started


def _reason(error: Exception) -> str:
    """One line; of torch.compile's errors the one before its advice to torch's own developers."""
    said, advice, _ = str(error).partition("Set TORCHDYNAMO_VERBOSE")
    lines = said.split("\n")
    return lines[0] if advice and lines[0] else reason(error)


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
    replies = own_stdout()
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
            reply = {"error": _reason(error)}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
