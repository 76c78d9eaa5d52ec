"""Programs of both formats, run once more in Python; and what torch says of TorchScript."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from exporter import deprecated, replay


class Doubled(nn.Module):
    """Takes whatever many tensors, as programs do, and returns each twice as large."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(2 * tensor for tensor in tensors)


@pytest.mark.parametrize("name", ["program.pt", "program.pt2"])
def test_a_program_of_either_format_returns_its_outputs_in_order(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = (torch.ones(2), torch.arange(3.0))
    program, given, returned = (str(tmp_path / file) for file in (name, "inputs", "outputs"))
    if name.endswith(".pt2"):
        torch.export.save(torch.export.export(Doubled(), inputs, strict=False), program)
    else:
        torch.jit.save(torch.jit.trace(Doubled(), inputs), program)
    save_file({str(place): value for place, value in enumerate(inputs)}, given)
    monkeypatch.setattr(sys, "argv", ["replay", program, given, returned])
    replay.main()
    outputs = load_file(returned)
    assert [outputs[str(place)].tolist() for place in range(2)] == [[2.0, 2.0], [0.0, 2.0, 4.0]]


def test_what_torch_says_of_torchscript_names_the_call() -> None:
    said = deprecated.warned()
    assert any("torch.jit.trace" in line for line in said)
    assert all(line.split(":")[0].endswith("Warning") for line in said)
    assert said == sorted(set(said))
