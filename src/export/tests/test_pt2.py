import json
import math
import zipfile
from pathlib import Path
from typing import cast

import samples
import torch
from torch import nn

from exporter.program import Program
from exporter.pt2 import _exported, _free, _program, _saved


class Doubled(nn.Module):
    config = samples.CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.inner(values) * values.shape[0]


def test_an_axis_that_no_case_moves_is_not_free() -> None:
    job = samples.job()
    assert list(_free(job, "input_ids")) == [1]


def test_a_program_has_the_models_names_and_sizes_that_move(tmp_path: Path) -> None:
    cases = [{"name": "traced", "sizes": {"batch": 2}}, {"name": "batch", "sizes": {"batch": 5}}]
    job = samples.job(inputs=[samples.VALUES], outputs=[samples.ROW], cases=cases)
    model = Doubled().eval().requires_grad_(False)
    traced = {"values": torch.randn(2, 3)}
    whole = Program(model, job)
    with torch.no_grad():
        exported = _exported(job, whole, traced)
        other = torch.randn(5, 3)
        assert torch.equal(exported.module()(other)[0], model(other))
    _saved(whole, exported, tmp_path / "program.pt2")
    with zipfile.ZipFile(tmp_path / "program.pt2") as archive:
        weights = json.loads(archive.read("program/data/weights/model_weights_config.json"))
    assert list(weights["config"]) == ["model.inner.weight", "model.inner.bias"]


class Worded(nn.Module):
    """What graphs are exported with and cannot be saved with, or exported at all."""

    config = samples.CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        torch._check(cast("bool", values.isfinite().all().item()))
        self.inner = self.inner.to(torch.float32)
        return self.inner(values) * math.ceil(values.shape[0] / 2)


def test_what_cannot_be_saved_is_said_in_other_words(tmp_path: Path) -> None:
    cases = [{"name": "traced", "sizes": {"batch": 4}}, {"name": "batch", "sizes": {"batch": 5}}]
    job = samples.job(inputs=[samples.VALUES], outputs=[samples.ROW], cases=cases)
    model = Worded().eval().requires_grad_(False)
    whole = Program(model, job)
    with torch.no_grad():
        exported = _exported(job, whole, {"values": torch.randn(4, 3)})
        _saved(whole, exported, tmp_path / "program.pt2")
        other = torch.randn(5, 3)
        loaded = torch.export.load(tmp_path / "program.pt2")
        assert torch.equal(loaded.module()(other)[0], model(other))


def test_a_fault_is_in_the_program_that_it_is_about() -> None:
    model = Doubled().eval().requires_grad_(False)
    cases = {"traced": {"values": torch.randn(2, 3)}}

    def returned(fault: str, about: str = "") -> torch.Tensor:
        job = samples.job(inputs=[samples.VALUES], outputs=[samples.ROW], fault=fault)
        return _program(job, model, cases, about)(cases["traced"]["values"])[0]

    healthy = model(cases["traced"]["values"])
    assert torch.equal(returned("rows-swapped"), healthy.flip(0))
    assert torch.equal(returned("rows-swapped", "half-"), healthy)
    assert torch.equal(returned("half-layer-dropped"), healthy)
