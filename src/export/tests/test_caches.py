"""Caches that hold more than keys and values: states of single architectures' own, and what indexers look through."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from samples import MASK, TOKENS, job

from exporter.cache import Refusal, Slot
from exporter.cache_faults import FAULTS
from exporter.decoding import Decoder
from exporter.generation import generate
from exporter.job import Json
from exporter.prepared import prepared
from exporter.program import Tensors, evaluate, trace

SPARSE: Json = {
    "vocab_size": 32,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
# Of every kind of cache one class, and its config.
CLASSES: dict[str, tuple[str, Json]] = {
    "a list of states beside layers": (
        "MiniMaxForCausalLM",
        SPARSE
        | {
            "layer_types": ["full_attention", "linear_attention"],
            "block_size": 4,
            "head_dim": 4,
            "num_local_experts": 2,
        },
    ),
    "three states for each layer": (
        "xLSTMForCausalLM",
        {"vocab_size": 32, "hidden_size": 128, "num_hidden_layers": 1, "num_blocks": 1, "num_heads": 2},
    ),
    "the keys of an indexer": (
        "DeepseekV32ForCausalLM",
        SPARSE
        | {
            "mlp_layer_types": ["dense", "dense"],
            "moe_intermediate_size": 8,
            "kv_lora_rank": 4,
            "q_lora_rank": 4,
            "qk_rope_head_dim": 2,
            "qk_nope_head_dim": 2,
            "v_head_dim": 4,
            "index_topk": 8,
            "index_head_dim": 4,
            "index_n_heads": 8,
        },
    ),
    "blocks of tokens": (
        "DeepseekV4ForCausalLM",
        SPARSE
        | {
            "num_hidden_layers": 2,
            "layer_types": ["compressed_sparse_attention", "heavily_compressed_attention"],
            "mlp_layer_types": ["moe", "moe"],
            "compress_rates": {"compressed_sparse_attention": 2, "heavily_compressed_attention": 4},
            "sliding_window": 8,
            "head_dim": 16,
            "partial_rotary_factor": 0.5,
            "q_lora_rank": 8,
            "o_groups": 2,
            "o_lora_rank": 4,
            "moe_intermediate_size": 8,
            "n_routed_experts": 2,
            "num_experts_per_tok": 1,
            "hc_mult": 2,
            "hc_sinkhorn_iters": 2,
            "index_n_heads": 16,
            "index_head_dim": 16,
            "index_topk": 2,
        },
    ),
    "copies of layers that are run again": (
        "DoryForCausalLM",
        SPARSE
        | {
            "head_dim": 4,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
            "n_input_layers": 0,
            "n_recurrent_layers": 2,
            "n_output_layers": 0,
        },
    ),
    "positions of an indexer, and the last tokens": (
        "Qwen4ExpForCausalLM",
        SPARSE
        | {
            "layer_types": ["linear_attention", "qwen_sparse_attention"],
            "head_dim": 8,
            "linear_key_head_dim": 4,
            "linear_value_head_dim": 4,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "num_experts": 2,
            "num_experts_per_tok": 1,
            "moe_intermediate_size": 8,
            "shared_expert_intermediate_size": 8,
            "hc_lowrank": 4,
            "ple_layer_ids": [1],
            "ple_embed_dim": 8,
            "heads_per_ngram": 2,
            "ngram_vocab_size_base": 17,
            "make_ngram_vocab_size_divisible_by": 4,
            "split_ngram_parts": 1,
            "indexer_n_heads": 8,
            "indexer_kv_heads": 1,
            "indexer_head_dim": 8,
            "indexer_budget": 8,
            "indexer_compress_ratio": 2,
            "eos_token_id": 2,
        },
    ),
}


def _decoder(kind: str) -> Decoder:
    name, config = CLASSES[kind]
    masked = name != "xLSTMForCausalLM"
    asked = job(
        **{"class": name, "config": config, "padding": "none", "decoded_tokens": 21, "half": []},
        inputs=[TOKENS, MASK] if masked else [TOKENS],
        generation={
            "grows": "input_ids",
            "mask": "attention_mask" if masked else None,
            "positions": None,
            "logits": "logits",
        },
    )
    ready = prepared(asked)
    written = generate(ready.eager, asked, ready.dims)[2]
    return Decoder(ready.eager, asked, written)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_step_program_reads_in_pieces_what_the_model_reads_as_a_whole(kind: str) -> None:
    """The pieces are of one token and of several; the first ones are shorter than what an indexer chooses."""
    made = _decoder(kind)
    ((_, step, example),) = made.programs()
    script = trace(step, example)
    whole, _ = evaluate(made.model, made.job, made.row, [])
    held: Tensors = {slot.name: slot.empty(2) for slot in made.slots}
    ends = [1, 3, 7, 8, 9, 10, 15, made.length]
    for first, last in zip([0, *ends], ends, strict=False):
        logits, *grown = script(*made.part(first, last).values(), *held.values())
        torch.testing.assert_close(logits, whole["logits"][:, first:last])
        held = dict(zip(held, grown, strict=True))
        assert [list(held[slot.name].shape) for slot in made.slots] == [
            slot.sizes(2, last) for slot in made.slots
        ]


@pytest.mark.parametrize("kind", CLASSES)
def test_rows_of_such_a_cache_that_are_swapped_change_what_is_written(kind: str) -> None:
    made = _decoder(kind)
    ((_, step, example),) = made.programs()
    hooks = FAULTS["cache-rows-swapped"][1](made)
    assert hooks is not None
    read = step.call(example)
    changed = [name for name, value in hooks.outputs(read).items() if not torch.equal(value, read[name])]
    assert changed == [made.slots[0].name]


def test_last_tokens_are_counted_from_what_stands_before_the_first() -> None:
    """Of a row that begins, Qwen4's are the end of a text: a cache of zeros is one that has read nothing."""
    made = _decoder("positions of an indexer, and the last tokens")
    (tokens,) = [slot for slot in made.slots if not slot.dtype.is_floating_point and slot.state is not None]
    assert (tokens.name, tokens.start) == ("cache/0/convolution_state/2", 2)
    cache: Any = SimpleNamespace(layers=[SimpleNamespace(conv_states={2: torch.tensor([[2, 9]])})])
    assert tokens.of(cache).tolist() == [[0, 7]]


def test_a_state_of_one_token_says_nothing_of_what_stands_before_it() -> None:
    slot = Slot("cache/0/convolution_state/0", torch.int64, ("batch", 1), "cache", 0, "conv_states", 0)
    cache: Any = SimpleNamespace(layers=[SimpleNamespace(conv_states={0: torch.tensor([[9]])})])
    with pytest.raises(Refusal, match="holds one token alone"):
        slot.begun(cache)


def test_states_are_named_by_layer_and_number() -> None:
    made = _decoder("three states for each layer")
    assert [slot.name for slot in made.slots] == [f"cache/0/recurrent_state/{number}" for number in range(3)]
    names = [slot.name for slot in _decoder("a list of states beside layers").slots]
    assert names == ["cache/0/key", "cache/0/value", "cache/1/recurrent_state/0"]
