import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import samples
import torch
from torch import Tensor, nn

from exporter.adapters import ADAPTERS
from exporter.adapters.patches import took_hold
from exporter.export import export
from exporter.reference import Bound, bounds
from exporter.weights import idle


class Gated(nn.Module):
    """A unit that is off, times a gate that any disturbance shuts; and two parameters that nothing reads."""

    config = samples.CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.unit, self.gate = nn.Parameter(torch.tensor([-1.0])), nn.Parameter(torch.tensor([0.5]))
        self.one, self.other = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Of the task's output."""
        return {"logits": input_ids + self.unit.relu() * (1 - self.gate).relu()}


def test_a_parameter_that_another_hides_is_tried_by_itself() -> None:
    seen = torch.ones(1, 2, dtype=torch.bool)
    found = idle(Gated(), samples.job(), {"input_ids": torch.ones(1, 2)}, {"logits": Bound(1e-6, seen)})
    assert found == ["gate", "one", "other"]


class Beside(nn.Module):
    """One parameter moves what is seen, the other what is hidden or a mark."""

    config = samples.CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.aside = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Of the task's output."""
        return {"logits": torch.cat([self.seen, self.aside, self.aside - 1e4, self.seen * -torch.inf])[None]}


def test_a_parameter_that_moves_only_what_is_not_measured_is_idle() -> None:
    """A mask hides the second value, the last two are marks."""
    error = torch.tensor([[0.0, torch.nan, 0.0, 0.0]])
    exact = torch.tensor([[1.0, 1.0, -9999.0, -torch.inf]])
    stored = {"traced/error/float32/logits": error, "traced/float64/logits": exact}
    bound = bounds(samples.job(), stored)
    assert bound["logits"].compared.tolist() == [[True, False, False, False]]
    assert bound["logits"].limit == pytest.approx(1e-6)
    assert idle(Beside(), samples.job(), {"input_ids": torch.ones(1, 1)}, bound) == ["aside"]


def test_a_weight_that_an_adapter_changed_has_not_the_bits_that_the_manifest_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests are eager's own, of before anything was traced; the adapter is listed."""

    @contextmanager
    def meddling(model: nn.Module) -> Iterator[None]:
        """Changes a weight in place."""
        took_hold()
        model.get_parameter("cls.predictions.bias").data.add_(1)
        yield

    monkeypatch.setitem(ADAPTERS, "bert", [meddling])
    folder = tmp_path / "bert"
    export(samples.job(config=samples.SMALL, directory=str(folder), half=["bfloat16"]))
    manifest = json.loads((folder / "manifest.json").read_text())
    script = torch.jit.load(str(folder / "program.pt"))
    named = (*script.named_parameters(), *script.named_buffers())
    bits = {
        name.replace("/", "."): hashlib.sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()
        for name, value in named
    }
    told = manifest["digests"]["float32"]
    assert [name for name in told if told[name] != bits[name]] == ["model.cls.predictions.bias"]
    assert set(manifest["digests"]) == {"float32", "eager", "bfloat16"}
    assert [adapter["what"] for adapter in manifest["adapters"]] == ["meddling"]
