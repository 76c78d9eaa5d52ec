import samples
import torch
from torch import nn

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
    found = idle(Gated(), samples.job(), {"input_ids": torch.ones(1, 2)}, {"logits": 1e-6})
    assert found == ["gate", "one", "other"]
