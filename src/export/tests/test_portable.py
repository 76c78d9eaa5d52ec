from typing import Any, cast

import samples
import torch
from torch import nn

from exporter.program import Program, trace


class Counted(nn.Module):
    """Repeats as often, and cuts off at what, its input's sizes say, and adds a tensor that it makes itself."""

    config = samples.CONFIG

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Of the task's output."""
        rows, tokens = input_ids.shape
        places = torch.arange(tokens, device=input_ids.device)
        return {"logits": input_ids.repeat_interleave(tokens // rows, 0).clamp(max=tokens - 1) + places}


def script() -> Any:
    program = Program(Counted(), samples.job(inputs=[samples.TOKENS]))
    return trace(program, {"input_ids": torch.zeros(2, 4).long()})


def test_what_is_counted_by_sizes_is_no_tensor_on_the_cpu() -> None:
    """As the tracer leaves it, a GPU refuses the numbers."""
    for kind in ("aten::repeat_interleave", "aten::clamp"):
        (node,) = script().graph.findAllNodes(kind)
        assert all(value.type().kind() != "TensorType" for value in list(node.inputs())[1:])


def test_a_program_names_no_device() -> None:
    code = cast("str", script().code)
    assert "torch.device" not in code
    assert "ops.prim.device(input_ids)" in code


def test_numbers_still_follow_the_sizes() -> None:
    (logits,) = script()(torch.full((1, 3), 9))
    assert logits.tolist() == [[2, 3, 4]] * 3
