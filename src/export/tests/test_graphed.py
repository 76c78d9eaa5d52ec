from typing import Any, cast

import samples
import torch
from torch import Tensor
from transformers import MistralConfig, MistralForCausalLM

from exporter.graphed import Graphed, free, of_all, planted
from exporter.job import Json
from exporter.prepared import Prepared
from exporter.pt2 import _exported

CONFIG = MistralConfig(
    vocab_size=32,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    sliding_window=8,
)
NAMES: Json = {"grows": "input_ids", "mask": "attention_mask", "positions": None, "logits": "logits"}


def _all(**changes: Any) -> list[Graphed]:
    job = samples.job(**{"class": "MistralForCausalLM", "generation": NAMES, "decoded_tokens": 41} | changes)
    torch.manual_seed(0)
    model = MistralForCausalLM(CONFIG).eval().requires_grad_(requires_grad=False)
    traced = samples.inputs()
    ready = Prepared(model, model, CONFIG, {"vocabulary": 32}, {"traced": traced}, traced)
    return list(of_all(job, ready))


def test_a_model_that_decodes_has_a_graph_of_its_step() -> None:
    assert [(one.name, one.decodes) for one in _all()] == [("program", False), ("program.decode", True)]
    assert [one.name for one in _all(decoded_tokens=0)] == ["program"]


def test_a_step_is_made_from_a_chunk_and_tried_at_nothing_read_one_token_and_one_row() -> None:
    step = _all()[1]
    read = {
        name: (*inputs["input_ids"].shape, inputs["cache/0/key"].shape[2])
        for name, inputs in step.cases.items()
    }
    assert read == {
        "example": (2, 3, 7),
        "token": (2, 1, 7),
        "token after few": (2, 1, 5),
        "chunk after few": (2, 5, 5),
        "first chunk": (2, 5, 0),
        "first token of a row": (1, 1, 0),
    }
    assert list(step.examples()) == [step.cases["example"], step.cases["chunk after few"]]


def test_one_graph_is_prefill_step_and_chunk() -> None:
    step = _all()[1]
    graph = cast("Any", _exported(step).module(check_guards=False))
    graph.validate_inputs = False
    with torch.no_grad():
        for inputs in step.cases.values():
            torch.testing.assert_close(graph(*inputs.values()), step.program(*inputs.values()))


def test_a_fault_of_a_cache_is_in_the_step_alone() -> None:
    model, step = _all(fault="cache-key-stale")
    inputs = step.cases["chunk after few"]
    with torch.no_grad():
        kept = step.program(*inputs.values())[1]
        traced = model.cases["traced"]
        assert torch.equal(model.program(*traced.values())[0], _all()[0].program(*traced.values())[0])
    assert torch.equal(kept[:, :, -1], kept[:, :, -2])


def test_an_axis_that_no_case_moves_is_not_free_unless_it_is_named() -> None:
    assert free(samples.job())["input_ids"] == [1]
    assert free(samples.job(), ("batch",))["input_ids"] == [0, 1]


def test_a_fault_is_in_the_program_that_it_is_about() -> None:
    model = samples.Doubled().eval().requires_grad_(False)
    cases = {"traced": {"values": torch.randn(2, 3)}}

    def returned(fault: str, about: str = "") -> Tensor:
        job = samples.job(inputs=[samples.VALUES], outputs=[samples.ROW], fault=fault)
        return planted(job, model, cases, about)(cases["traced"]["values"])[0]

    healthy = model(cases["traced"]["values"])
    assert torch.equal(returned("rows-swapped"), healthy.flip(0))
    assert torch.equal(returned("rows-swapped", "half-"), healthy)
    assert torch.equal(returned("half-layer-dropped"), healthy)
