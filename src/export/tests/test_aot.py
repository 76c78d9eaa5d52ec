import json
from collections.abc import Iterator
from typing import Any

import pytest
import samples
import torch
from torch import nn

from exporter.aot import held, package, processor
from exporter.graphed import Graphed, free
from exporter.program import Program
from exporter.pt2 import _exported


class Tied(nn.Module):
    config = samples.CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.outer = nn.Linear(3, 3)
        self.outer.weight = self.inner.weight
        self.spare = nn.Linear(2, 2, bias=False)
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.register_buffer("seen", torch.tensor(7))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(self.outer(self.inner(values))) * self.scale.exp()


@pytest.fixture(scope="module")
def whole() -> Program:
    cases = [{"name": "traced", "sizes": {"batch": 2}}, {"name": "batch", "sizes": {"batch": 5}}]
    job = samples.job(inputs=[samples.VALUES], outputs=[samples.ROW], cases=cases)
    return Program(Tied().eval().requires_grad_(False), job)


@pytest.fixture(scope="module")
def graph(whole: Program) -> torch.export.ExportedProgram:
    return _exported(Graphed("program", whole, free(whole.job), {"traced": {"values": torch.randn(2, 3)}}))


def test_a_tied_weight_is_held_by_the_name_that_is_read_and_one_that_nothing_reads_by_none(
    whole: Program, graph: torch.export.ExportedProgram
) -> None:
    constants = {name: facts["constant"] for name, facts in held(whole, graph).items()}
    assert constants.pop("model.inner.weight") in ("model.inner.weight", "model.outer.weight")
    assert constants == {
        "model.inner.bias": "model.inner.bias",
        "model.outer.bias": "model.outer.bias",
        "model.scale": "model.scale",
        "model.spare.weight": None,
        "model.seen": None,
    }
    is_parameter = {name for name, facts in held(whole, graph).items() if facts["is_parameter"]}
    assert is_parameter == set(constants) - {"model.seen"} | {"model.inner.weight"}


@pytest.fixture(scope="module")
def loader(
    whole: Program, graph: torch.export.ExportedProgram, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("aot")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "inductor"))
        package(whole, graph, "cpu", folder / "program.aot.cpu.pt2")
    # Its types are not told.
    aoti = getattr(torch._C, "_aoti")  # noqa: B009
    yield aoti.AOTIModelPackageLoader(str(folder / "program.aot.cpu.pt2"), "model", False, 1, -1)


def test_a_package_computes_what_the_model_does_at_other_sizes(whole: Program, loader: Any) -> None:
    for rows in (2, 5, 1):
        values = torch.randn(rows, 3)
        torch.testing.assert_close(loader.boxed_run([values])[0], whole.model(values))


def test_a_package_says_what_it_is_for_and_has_the_weights_that_it_names(
    whole: Program, graph: torch.export.ExportedProgram, loader: Any
) -> None:
    facts = loader.get_metadata()
    assert (facts["AOTI_DEVICE_KEY"], facts["processor"]) == ("cpu", processor())
    weights = json.loads(facts["weights"])
    assert weights == held(whole, graph)
    named = {one["constant"] for one in weights.values() if one["constant"]}
    assert set(loader.get_constant_fqns()) == named
