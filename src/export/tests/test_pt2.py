import builtins
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import samples
import torch
from torch import Tensor, nn
from transformers import BertConfig
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.bert.modeling_bert import BertLayer

from exporter.graphed import Graphed, free
from exporter.job import Job
from exporter.program import Program, Tensors
from exporter.pt2 import _exported, _saved


def _graph_of(job: Job, whole: Program, cases: dict[str, Tensors]) -> torch.export.ExportedProgram:
    return _exported(Graphed("program", whole, free(job), cases))


def test_a_program_has_the_models_names_and_sizes_that_move(tmp_path: Path) -> None:
    cases = [{"name": "traced", "sizes": {"batch": 2}}, {"name": "batch", "sizes": {"batch": 5}}]
    job = samples.job(inputs=[samples.VALUES], outputs=[samples.ROW], cases=cases)
    model = samples.Doubled().eval().requires_grad_(False)
    whole = Program(model, job)
    with torch.no_grad():
        exported = _graph_of(job, whole, {"traced": {"values": torch.randn(2, 3)}})
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

    def forward(self, values: Tensor) -> Tensor:
        torch._check(cast("bool", values.isfinite().all().item()))
        self.inner = self.inner.to(torch.float32)
        return self.inner(values) * math.ceil(values.shape[0] / 2)


def test_what_cannot_be_saved_is_said_in_other_words(tmp_path: Path) -> None:
    cases = [{"name": "traced", "sizes": {"batch": 4}}, {"name": "batch", "sizes": {"batch": 5}}]
    job = samples.job(inputs=[samples.VALUES], outputs=[samples.ROW], cases=cases)
    model = Worded().eval().requires_grad_(False)
    whole = Program(model, job)
    with torch.no_grad():
        exported = _graph_of(job, whole, {"traced": {"values": torch.randn(4, 3)}})
        _saved(whole, exported, tmp_path / "program.pt2")
        other = torch.randn(5, 3)
        loaded = torch.export.load(tmp_path / "program.pt2")
        assert torch.equal(loaded.module()(other)[0], model(other))


# Its types leave out what upstream calls.
jit: Any = torch.jit


def torch_int(size: Any) -> int:
    """As upstream's, which is looked up in the module of the class that calls it."""
    return builtins.int(size)


def mixed(values: Tensor) -> Tensor:
    return values + values.mean(0)


def unless_known(values: Tensor, known: tuple[int, ...]) -> Tensor:
    rows = values.shape[0]
    size = next((size for size in known if size == rows), None)
    return mixed(values) if size is None else mixed(values[:size])


def unless_traced(values: Tensor) -> Tensor:
    return mixed(values) if jit.is_tracing() else unless_known(values, (FEW, MORE))


def pooled(values: Tensor) -> Tensor:
    return nn.MaxPool1d(2, padding=1)(values.t()[None])[0]


FEW, MORE = 4, 9
# Functions of [rows, 3] that make a number of how many rows there are, or ask for one.
OF_ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "int": lambda values: values.repeat(int(values.shape[0] ** 0.5), 1),
    "len": lambda values: values / len(values),
    "torch_int": lambda values: values[: torch_int(values.shape[0] / 2)],
    "tensor": lambda values: values * torch.tensor([values.shape[0], 1, 2]),
    "tensor of one": lambda values: values * torch.tensor(values.shape[0]),
    "is_tracing": unless_traced,
    "repeat_interleave": lambda values: values.repeat_interleave(2, 0, output_size=values.shape[0] * 2),
    "max_pool1d": pooled,
    "a branch": lambda values: unless_known(values, (FEW,)),
}


class OfRows(nn.Module):
    config = samples.CONFIG

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        return self.function(self.inner(values))


@pytest.mark.parametrize("function", OF_ROWS.values(), ids=OF_ROWS)
def test_sizes_stay_free_whatever_a_class_makes_of_them(function: Callable[[Tensor], Tensor]) -> None:
    rows = {"traced": FEW, "batch": MORE}
    job = samples.job(
        inputs=[samples.VALUES],
        outputs=[samples.ROW],
        cases=[{"name": name, "sizes": {"batch": count}} for name, count in rows.items()],
    )
    model = OfRows(function).eval().requires_grad_(False)
    cases = {name: {"values": torch.randn(count, 3)} for name, count in rows.items()}
    with torch.no_grad():
        graph = _graph_of(job, Program(model, job), cases).module(check_guards=False)
        for count in (FEW, MORE, 16):
            values = torch.randn(count, 3)
            torch.testing.assert_close(graph(values)[0], model(values))


class Attends(nn.Module):
    """Rows that attend to each other, all of them."""

    config = samples.CONFIG

    def __init__(self) -> None:
        super().__init__()
        config = BertConfig(hidden_size=4, num_attention_heads=1)
        config._attn_implementation = "sdpa"
        self.layer = BertLayer(config)
        self.inner = nn.Linear(3, 4)

    def forward(self, values: Tensor) -> Tensor:
        rows = self.inner(values)[None]
        mask = create_bidirectional_mask(self.layer.attention.self.config, rows, None)
        return self.layer(rows, mask)[0]


def test_a_mask_that_hides_nothing_is_no_part_of_a_graph() -> None:
    cases = [{"name": "traced", "sizes": {"batch": 4}}, {"name": "batch", "sizes": {"batch": 5}}]
    job = samples.job(inputs=[samples.VALUES], outputs=[samples.ROW], cases=cases)
    model = Attends().eval().requires_grad_(False)
    with torch.no_grad():
        graph = _graph_of(job, Program(model, job), {"traced": {"values": torch.randn(4, 3)}})
        other = torch.randn(5, 3)
        torch.testing.assert_close(graph.module()(other)[0], model(other))
    called = {str(node.target) for node in graph.graph.nodes}
    assert "aten.scaled_dot_product_attention.default" in called
    assert "aten.arange.default" not in called
