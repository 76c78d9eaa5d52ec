"""The models that checks are put to, and what they are held to.

In: `HF_CONFORMANCE_SUITE`, a JSON list that `just bench-suite` writes, with each model's job, the checks that are due
and the folder of its artifact. Out: a `Subject` a model, built once for all of its checks: the class with its tiny
config and its seeded weights in eager Python, and the inputs and references that the artifact stores.
"""

import functools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from exporter import model as models
from exporter.calls import completed, forward_of, parameters_of, viewed
from exporter.job import Job, Json
from exporter.model import EAGER
from exporter.program import Tensors, nested, promised
from safetensors.torch import load_file
from torch import Tensor, nn


@dataclass(frozen=True)
class Subject:
    """A model, and its artifact's inputs, references and manifest."""

    job: Job
    model: nn.Module
    manifest: Json
    tensors: Tensors
    switches: Json
    # Names of parameters that may move no output, `*` for any text.
    idle: list[str]

    def run(self, inputs: Tensors, model: nn.Module | None = None) -> Tensors:
        """The task's outputs for named inputs."""
        model = model or self.model
        with torch.no_grad():
            result = forward_of(model)(**nested(completed(model, inputs)), **self.switches)
        return viewed(model, inputs, promised(self.job, result))

    def inputs(self, case: str) -> Tensors:
        """Stored inputs of a case or situation, in the order of the job."""
        return {port.name: self.tensors[f"{case}/input/{port.name}"] for port in self.job.inputs}

    def outputs(self, case: str, kind: str = "float64") -> Tensors:
        """Stored outputs of a case, or how far eager itself is off there."""
        return {port.name: self.tensors[f"{case}/{kind}/{port.name}"] for port in self.job.outputs}

    def situations(self, change: str) -> list[Json]:
        """What a check does to the traced case."""
        return [one for one in self.manifest["situations"] if one["change"] == change]

    def limit(self, exact: Tensor, error: Tensor) -> float:
        """The rmse that the numerical rule allows."""
        return self.job.rule.k * rms(error) + self.job.rule.floor * rms(exact)

    def agrees(self, found: Tensor, exact: Tensor, error: Tensor, keep: Tensor | None = None) -> None:
        """Asserts that an output is as near to the exact one as the rule asks for, where it is compared."""
        assert found.shape == exact.shape
        compared = ~error.isnan() if keep is None else ~error.isnan() & keep
        off = rms(found.double()[compared] - exact.double()[compared])
        assert off <= self.limit(exact[compared], error[compared])

    def matches(self, case: str) -> None:
        """Asserts that a stored case comes out as stored, under every attention that there is a program of."""
        inputs, exact, error = self.inputs(case), self.outputs(case), self.outputs(case, "error/float32")
        for attention in self.manifest["attention"]:
            with attending(self.model, attention, self.manifest["attention"]):
                found = self.run(inputs)
            for name, value in found.items():
                self.agrees(value, exact[name], error[name])


@contextmanager
def attending(model: Any, way: str, ways: list[str]) -> Iterator[None]:
    """Has a model compute attention in one way, and then in the first of its ways again."""
    if way != ways[0]:
        model.set_attn_implementation(way)
    try:
        yield
    finally:
        if way != ways[0]:
            model.set_attn_implementation(ways[0])


def rms(value: Tensor) -> float:
    """Root mean square."""
    return value.double().square().mean().sqrt().item() if value.numel() else 0.0


@functools.cache
def suite() -> dict[str, Json]:
    """What is to be checked, by model."""
    listed = json.loads(Path(os.environ["HF_CONFORMANCE_SUITE"]).read_text())
    return {one["job"]["model"]: one for one in listed}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`test_half` is put to every model for which `half` is due."""
    check = metafunc.function.__name__.removeprefix("test_")
    due = [name for name, one in suite().items() if check in one["checks"]]
    metafunc.parametrize("subject", due, indirect=True, scope="module")


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest) -> Subject:
    """The model of that name, as `from_pretrained` would configure it, with the job's weights."""
    one = suite()[request.param]
    job, folder = Job.from_json(one["job"]), Path(one["folder"])
    model = models.with_attention(job, EAGER if job.attention == EAGER else None)
    takes = parameters_of(model)
    tensors = load_file(folder / "cases.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text())
    switches = {"use_cache": False} if "use_cache" in takes else {}
    made = Subject(job, model, manifest, tensors, switches, one["idle"])
    models.settle(model, lambda: made.run(made.inputs("traced")))
    return made


torch.set_num_threads(1)
