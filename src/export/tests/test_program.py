from pathlib import Path

import pytest
import samples
import torch
from torch import nn

from exporter.errors import ExportError
from exporter.program import Program, check_inputs, find_layers, first_tensor, nested, trace


def test_plain_inputs_are_keywords_as_they_are() -> None:
    assert nested({"input_ids": 1, "attention_mask": 2}) == {"input_ids": 1, "attention_mask": 2}


def test_numbered_places_become_a_tuple() -> None:
    assert nested({"states__0": "a", "states__1": "b"}) == {"states": ("a", "b")}


def test_named_places_become_a_mapping_at_every_depth() -> None:
    inputs = {"x": 0, "states__full__0": 1, "states__full__1": 2, "states__window__0": 3}
    assert nested(inputs) == {"x": 0, "states": {"full": (1, 2), "window": (3,)}}


def test_an_input_that_forward_does_not_take_is_an_error() -> None:
    kinds = {**samples.TOKENS, "name": "token_type_ids"}
    with pytest.raises(ExportError, match=r"takes no 'token_type_ids'; add `without: \[token_type_ids\]`"):
        check_inputs(samples.Reader(), samples.job(inputs=[samples.TOKENS, kinds]))


def test_a_nested_input_is_taken_by_its_keyword() -> None:
    part = {**samples.TOKENS, "name": "input_ids__0"}
    check_inputs(samples.Reader(), samples.job(inputs=[part]))


def test_the_first_float_tensor_of_what_a_module_returned_is_found() -> None:
    whole, real = torch.ones(1, dtype=torch.int64), torch.ones(2)
    assert first_tensor((None, whole, {"a": [real]})) is real
    assert first_tensor({"a": whole, "b": "text"}) is None


def test_layers_are_the_children_of_lists_in_the_order_they_ran() -> None:
    class Stack(nn.Module):
        config = samples.CONFIG

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)])

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            # The last layer never runs.
            return self.layers[0](self.layers[1](values))

    values = {
        **samples.TOKENS,
        "name": "values",
        "dtype": "float32",
        "shape": ["batch", 3],
        "fill": {"kind": "normal"},
    }
    job = samples.job(inputs=[values])
    assert find_layers(Stack(), job, {"values": torch.ones(2, 3)}) == ["layers.1", "layers.0"]


class Masked(nn.Module):
    """A whole tensor times a Python float, which is float32; and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.config = samples.CONFIG
        self.inner = nn.BatchNorm1d(1).requires_grad_(False)

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Of the task's output."""
        return {"logits": (1 - input_ids) * -1e4 + self.inner.bias}


def test_a_program_has_pythons_numbers_whether_libtorch_optimises_it_or_not(tmp_path: Path) -> None:
    """As the tracer leaves it, the product of a whole tensor and a float would be float64."""
    tokens = torch.tensor([[0, 1, 1]])
    script = trace(Program(Masked().eval(), samples.job(inputs=[samples.TOKENS])), {"input_ids": tokens})
    torch.jit.save(script, str(tmp_path / "program.pt"))
    loaded = torch.jit.load(str(tmp_path / "program.pt"))
    torch._C._set_graph_executor_optimize(False)
    try:
        (logits,) = loaded(tokens)
    finally:
        torch._C._set_graph_executor_optimize(True)
    assert logits.dtype is torch.float32
    assert logits.tolist() == [[-1e4, 0.0, 0.0]]


def test_a_program_is_one_module_with_the_models_tensors() -> None:
    """Under names that TorchScript takes, which are told with dots."""
    program = Program(Masked(), samples.job())
    assert [name for name, _ in program.named_parameters()] == ["model/inner/weight", "model/inner/bias"]
    assert [name for name, _ in program.tensors()][1:3] == ["model.inner.bias", "model.inner.running_mean"]
    assert len(list(program.modules())) == 1
