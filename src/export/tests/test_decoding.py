from typing import Any

import pytest
import torch
from samples import MASK, TOKENS, job
from torch import Tensor
from transformers import (
    DynamicCache,
    MistralConfig,
    MistralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    cache_utils,
)

from exporter.cache import Refusal, _mask_sizes
from exporter.cache_faults import FAULTS
from exporter.decoding import Decoder, decoder
from exporter.generation import Written, generate
from exporter.job import Job, Json
from exporter.once import Once
from exporter.program import DECODE, PREFILL, Tensors, evaluate, trace

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
    ((_, step, example),) = made.programs()
    script = trace(step, example)
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


def _t5() -> tuple[Decoder, Json]:
    config = T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    config.update({"decoder_start_token_id": 0})
    target: Json = {**TOKENS, "name": "decoder_input_ids", "shape": ["batch", "target"]}
    names: Json = {"grows": "decoder_input_ids", "mask": None, "positions": None, "logits": "logits"}
    asked = job(
        **{"class": "T5ForConditionalGeneration", "generation": names, "decoded_tokens": 41},
        inputs=[TOKENS, MASK, target],
        cases=[{"name": "traced", "sizes": {"batch": 2, "sequence": 12, "target": 8}}],
    )
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(config).eval().requires_grad_(requires_grad=False)
    made, facts = decoder(model, asked, generate(model, asked, {"vocabulary": 32})[2])
    assert made is not None
    return made, facts


def test_what_an_encoder_read_is_held_and_every_step_sees_it() -> None:
    made, _ = _t5()
    scripts = {file: trace(each, example) for file, each, example in made.programs()}
    whole, _ = evaluate(made.model, made.job, made.row, [])
    logits, *held = scripts[PREFILL](*made.opening(4).values())
    torch.testing.assert_close(logits, whole["logits"][:, :4])
    for first, last in ((4, 5), (5, 9), (9, 10)):
        logits, *held[: len(made.slots)] = scripts[DECODE](*made.part(first, last).values(), *held)
        torch.testing.assert_close(logits, whole["logits"][:, first:last])


def test_the_manifest_says_what_is_held_of_what_is_given_once() -> None:
    _, facts = _t5()
    assert (facts["prompt"], facts["prefill"]) == (1, 1)
    assert [(held["name"], held["shape"]) for held in facts["held"]] == [
        ("cross/0/key", ("batch", 2, "encoded", 4)),
        ("cross/0/value", ("batch", 2, "encoded", 4)),
        ("encoder/last_hidden_state", ("batch", "encoded", 8)),
        ("given/attention_mask", ("batch", "sequence")),
    ]


@pytest.mark.parametrize(
    ("name", "file"), [(name, file) for name, (file, _) in FAULTS.items() if "cross" in name]
)
def test_a_fault_of_what_is_held_changes_what_the_prefill_returns(name: str, file: str) -> None:
    made, _ = _t5()
    hooks = FAULTS[name][1](made)
    assert hooks is not None
    assert file == PREFILL
    healthy = made.begin(made.opening(4))
    changed = [key for key, value in hooks.outputs(healthy).items() if not torch.equal(value, healthy[key])]
    assert changed == ["cross/0/key"]


def _said(kind: str) -> Once:
    """A model that is told something of every token."""
    said: Json = {
        "name": "said",
        "dtype": "int64",
        "shape": ["batch", "sequence", 2],
        "fill": {"kind": kind},
    }
    asked = _job(inputs=[TOKENS, MASK, said])
    assert asked.generation is not None
    return Once(MistralForCausalLM(CONFIG), asked, asked.generation, encodes=False)


PROMPTS = {
    "input_ids": torch.tensor([[9, 9, 9, 9]]),
    "said": torch.tensor([[[1, 2], [3, 4], [0, 5], [0, 5]]]),
}


def test_a_prefill_reads_until_nothing_new_is_said_of_tokens() -> None:
    assert _said("integers").least(PROMPTS) == 3
    assert _said("mm_token_type_ids").least(PROMPTS) == 1


def test_of_a_word_that_was_written_is_said_what_was_said_last_and_that_it_is_nothing_seen() -> None:
    assert _said("integers").later(PROMPTS, 2)["said"].tolist() == [[[0, 5], [0, 5]]]
    assert _said("mm_token_type_ids").later(PROMPTS, 2)["said"].tolist() == [[[0, 0], [0, 0]]]


def test_a_step_is_told_of_its_tokens_what_was_said_last() -> None:
    once = _said("integers")
    kept = once.kept(PROMPTS, None, {})
    assert kept["given/said"].tolist() == [[[0, 5]]]
    assert once.step(kept, {"input_ids": torch.zeros(1, 3)}, None)["said"].tolist() == [[[0, 5]] * 3]


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
