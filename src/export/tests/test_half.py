import pytest
import samples
import torch
from torch import nn

from exporter import reference
from exporter.calls import CALLS
from exporter.certify import adopted
from exporter.half import outputs


class Counted(nn.Module):
    """Makes a tensor without naming a device, as code that calls models does."""

    config = samples.CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * self.scale + torch.arange(3)


def test_outputs_on_a_device_have_the_names_of_an_artifacts_own() -> None:
    cases = [{"name": "traced", "sizes": {"batch": 2}}]
    job = samples.job(inputs=[samples.VALUES], outputs=[samples.ROW], cases=cases)
    halved = reference.converted(Counted(), torch.bfloat16)
    found = outputs(halved, job, {"values": torch.zeros(2, 3)}, torch.device("cpu"))
    assert {name: value.dtype for name, value in found.items()} == {"traced/bfloat16/logits": torch.bfloat16}
    assert found["traced/bfloat16/logits"].tolist() == [[0, 1, 2], [0, 1, 2]]


def test_a_checkpoint_that_makes_embeddings_makes_them_in_half_precision_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(CALLS, "BertModel", nn.Identity())
    pooling = {"pooling": "cls", "normalised": True, "max_length": None}
    told = samples.data(**{"class": "BertModel", "embedding": pooling})
    assert adopted(told).class_name == "BertModel"
    assert "the hidden states' cls over real positions, at length 1" in (CALLS["BertModel"].__doc__ or "")
    assert adopted(samples.data()) == adopted(samples.data(embedding=None)) == samples.job()
