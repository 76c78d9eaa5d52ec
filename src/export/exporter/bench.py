"""Times models on request: `python -m exporter.bench`, one JSON request a line, one JSON reply a line.

In: `load` (a job, a device, how many threads share an operator), then `time` (how often, which rows of the traced
inputs, eager or compiled), `generate` (how often, which prompts, how many new tokens), and `peak`. Out: seconds, and
MiB. The other side of the pipe runs the same on libtorch in turns with these. The model has the artifact's weights and
is what `from_pretrained` makes of them: with the attention that its class chooses, which is the program's, and called
as its users call it.
"""

import contextlib
import ctypes
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from .__main__ import own_stdout
from .calls import completed, forward_of, parameters_of
from .errors import ExportError, reason
from .generation import LIBRARY
from .job import Job, Json
from .prepared import prepared
from .program import Tensors, nested


class Bench:
    """The model under test."""

    model: nn.Module
    compiled: Callable[..., object] | None
    inputs: Tensors
    device: torch.device
    before: float | None
    gpu_before: int

    def load(self, request: Json) -> Json:
        """Makes the model of the job's weights, brings it to the device and runs it once."""
        # The one before must not be there while this one's memory is measured.
        self.model, self.inputs, self.compiled = nn.Module(), {}, None
        self.device = torch.device(request["device"])
        torch.set_num_threads(request["threads"])
        job = Job.from_json(request["job"])
        ready = prepared(job)
        traced = ready.traced
        if self.device.type == "cuda":
            # Before it has begun, its allocator knows no device.
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(self.device)
            self.gpu_before = torch.cuda.memory_allocated(self.device)
        with tempfile.TemporaryDirectory() as folder:
            load = loader(ready.served, job, folder)
            del ready
            _give_back()
            self.before = _memory("VmRSS")
            started = time.perf_counter()
            self.model = load().to(self.device)
            self._wait()
            loaded = time.perf_counter()
        # What loading a model takes meanwhile is no part of what it holds in service.
        _restart_peak()
        self.inputs = {name: value.to(self.device) for name, value in traced.items()}
        first = self._forward(forward_of(self.model), keywords(self.model, self.inputs))
        return {"load_ms": 1e3 * (loaded - started), "first_ms": 1e3 * first}

    def time(self, request: Json) -> Json:
        """Seconds of each forward, with the rows that `select` names: position of the input, axis, indices."""
        inputs = list(self.inputs.values())
        for position, axis, indices in request["select"]:
            chosen = torch.tensor(indices, device=self.device)
            inputs[position] = inputs[position].index_select(axis, chosen)
        given = keywords(self.model, dict(zip(self.inputs, inputs, strict=True)))
        model = self._compiled() if request["compiled"] else forward_of(self.model)
        return {"seconds": [self._forward(model, given) for _ in range(request["count"])]}

    def generate(self, request: Json) -> Json:
        """Seconds of each greedy decoding by the library with its default cache, and the tokens that it wrote."""
        prompts = torch.tensor(request["prompts"], device=self.device)
        model: Any = self.model
        model.set_attn_implementation(request["attention"])
        most = request["new"]
        # No end: every text has as many tokens, on this side and on the other.
        config = transformers.GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=most,
            use_cache=True,
            eos_token_id=None,
            pad_token_id=0,
        )
        model.generation_config = config
        seconds, written = [], prompts
        for _ in range(request["count"]):
            with torch.inference_mode():
                self._wait()
                started = time.perf_counter()
                given = {"input_ids": prompts, "attention_mask": torch.ones_like(prompts)}
                written = LIBRARY(model, **given, generation_config=config)
                self._wait()
                seconds.append(time.perf_counter() - started)
        return {"seconds": seconds, "tokens": written[:, prompts.shape[1] :].tolist()}

    def peak(self, _request: Json) -> Json:
        """How far memory rose since before the model was there."""
        after = _memory("VmHWM")
        risen = None if after is None or self.before is None else after - self.before
        return {"peak_mib": risen, "peak_gpu_mib": self._gpu_peak()}

    def _compiled(self) -> Callable[..., object]:
        """The model under torch.compile, which compiles when it is run, every batch size by itself."""
        if self.compiled is None:
            # Models of one class share its code, and with it the number of times that it may be compiled anew.
            torch.compiler.reset()
            self.compiled = torch.compile(forward_of(self.model), dynamic=False)
        return self.compiled

    def _gpu_peak(self) -> float | None:
        """MiB that tensors took on a CUDA device; other devices do not say."""
        if self.device.type != "cuda":
            return None
        peak = torch.cuda.max_memory_allocated(self.device)
        return (peak - self.gpu_before) / 2**20

    def _forward(self, model: Callable[..., object], given: Json) -> float:
        with torch.inference_mode():
            # What was asked of the device before is not this forward's.
            self._wait()
            started = time.perf_counter()
            model(**given)
            self._wait()
            return time.perf_counter() - started

    def _wait(self) -> None:
        """Until the device has done what it was asked."""
        if self.device.type != "cpu":
            getattr(torch, self.device.type).synchronize()


def loader(served: nn.Module, job: Job, folder: str) -> Callable[[], nn.Module]:
    """What loads a model as its users do: by `from_pretrained`, from a folder written here.

    A class of another kind has no such way; there the model itself is the one that is measured.
    """
    if not isinstance(served, transformers.PreTrainedModel):
        return lambda: served
    served.save_pretrained(folder)
    kind, attention = type(served), job.attention
    weights = dict(served.named_parameters())

    def load() -> nn.Module:
        return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)

    for name, value in load().named_parameters():
        if name not in weights or not torch.equal(value, weights[name]):
            raise ExportError(f"from_pretrained gives {kind.__name__} another {name} than was saved")
    return load


def keywords(model: nn.Module, inputs: Tensors) -> Json:
    """What the class is called with: named inputs, and no cache, which no program returns."""
    switches = {"use_cache": False} if "use_cache" in parameters_of(model) else {}
    return nested(completed(model, inputs)) | switches


def _reason(error: Exception) -> str:
    """One line; of torch.compile's errors the one before its advice to torch's own developers."""
    said, advice, _ = str(error).partition("Set TORCHDYNAMO_VERBOSE")
    lines = said.split("\n")
    return lines[0] if advice and lines[0] else reason(error)


def _memory(field: str) -> float | None:
    """A field of /proc/self/status in MiB; nothing where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    values = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return next((int(value) / 1024 for value in values), None)


def _give_back() -> None:
    """Gives freed memory back to the system, where the C library can: it would be used again unseen."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _restart_peak() -> None:
    """Sets the peak of this process's memory back to what is resident now, where the system can."""
    # 5: see clear_refs in proc(5).
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Answers until its input ends."""
    replies = own_stdout()
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    bench = Bench()
    commands: dict[str, Any] = {
        "load": bench.load,
        "time": bench.time,
        "generate": bench.generate,
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
