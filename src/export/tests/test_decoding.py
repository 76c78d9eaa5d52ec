from typing import Any

import pytest
import torch
from samples import MASK, TOKENS, job
from torch import Tensor
from transformers import DynamicCache, MistralConfig, MistralForCausalLM, cache_utils

from exporter.decoding import Decoder, Refusal, Step, _mask_sizes, decoder
from exporter.generation import Written, generate
from exporter.job import Job, Json
from exporter.program import Tensors, evaluate, trace

WINDOW = 8
CONFIG = MistralConfig(
    vocab_size=32,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    sliding_window=WINDOW,
)
NAMES: Json = {"grows": "input_ids", "mask": "attention_mask", "positions": None, "logits": "logits"}


def _job(**changes: Any) -> Job:
    return job(**{"class": "MistralForCausalLM", "generation": NAMES, "decoded_tokens": 41} | changes)


def _written(job: Job) -> tuple[MistralForCausalLM, Written]:
    torch.manual_seed(0)
    model = MistralForCausalLM(CONFIG).eval().requires_grad_(requires_grad=False)
    return model, generate(model, job, {"vocabulary": 32})[2]


def test_a_step_program_reads_a_row_in_pieces_as_the_model_reads_it_whole() -> None:
    model, written = _written(_job())
    made = Decoder(model, _job(), written)
    script = trace(Step(made), made.example())
    whole, _ = evaluate(model, made.job, made.row, [])
    held: Tensors = {slot.name: slot.empty(2) for slot in made.slots}
    ends = [5, 12, *range(13, 30), 41, 52]
    for first, last in zip([0, *ends], ends, strict=False):
        logits, *grown = script(*made.part(first, last).values(), *held.values())
        seen = made.row["attention_mask"][:, first:last].bool()
        torch.testing.assert_close(logits[seen], whole["logits"][:, first:last][seen])
        held = dict(zip(held, grown, strict=True))
        assert {tuple(tensor.shape) for tensor in held.values()} == {(2, 1, min(last, WINDOW - 1), 4)}


def test_the_manifest_says_what_bounds_a_cache() -> None:
    model, written = _written(_job())
    made, facts = decoder(model, _job(), written)
    assert made is not None
    assert facts["prompt"] == 12
    assert facts["cache"][0] == {
        "name": "cache/0/key",
        "dtype": "float32",
        "shape": ("batch", 1, {"window": 7}, 4),
    }


def test_inputs_that_a_step_has_nothing_for_are_a_reason() -> None:
    pixels: Json = {
        "name": "pixel_values",
        "dtype": "float32",
        "shape": ["batch"],
        "fill": {"kind": "normal"},
    }
    model, written = _written(_job())
    made, facts = decoder(model, _job(inputs=[TOKENS, MASK, pixels]), written)
    assert made is None
    assert facts["refused"] == "inputs"


def test_a_cache_of_another_class_is_a_reason() -> None:
    model, written = _written(_job())
    other = Written(written.prompts, written.tokens, (written.cache,))
    with pytest.raises(Refusal, match="generate keeps a tuple, not a DynamicCache"):
        Decoder(model, _job(), other)


@pytest.mark.parametrize("read", [1, WINDOW - 1, WINDOW, 20])
def test_what_a_window_holds_tells_what_upstream_counts(read: int) -> None:
    layer = cache_utils.DynamicSlidingWindowLayer(sliding_window=WINDOW)
    keys: Tensor = torch.zeros(1, 1, read, 4)
    layer.update(keys, keys)
    assert _mask_sizes(layer, 3) == layer.get_mask_sizes(3)
    assert isinstance(DynamicCache(config=CONFIG).layers[0], cache_utils.DynamicSlidingWindowLayer)
