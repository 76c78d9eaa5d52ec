"""Programs that show what a class computes otherwise with a cache, or for a row alone."""

import pytest
from samples import TOKENS, job

from exporter.errors import ExportError
from exporter.job import Job, Json
from exporter.upstream import WAYS, Way, program, run

TOKEN, SEVERAL, ALONE, _, AGAIN = WAYS
SMALL: Json = {"vocab_size": 32, "hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1}


def _job(name: str, **config: object) -> Job:
    names: Json = {"grows": "input_ids", "mask": None, "positions": None, "logits": "logits"}
    known = {name: value for name, value in (SMALL | config).items() if value is not None}
    return job(**{"class": name, "config": known}, inputs=[TOKENS], generation=names)


def test_a_class_that_returns_no_cache_is_given_one() -> None:
    gemma = {"num_hidden_layers": 3, "intermediate_size": 8, "lru_width": 8, "head_dim": 4}
    text = program(_job("RecurrentGemmaForCausalLM", attention_window_size=8, **gemma), SEVERAL)
    assert "first = model(input_ids=tokens[:, :12], cache=held, use_cache=True)" in text
    assert run(text, SEVERAL)[1]


def test_a_class_that_skips_what_its_cache_holds_is_given_the_whole_row() -> None:
    # With two layers: what earlier tokens hold follows from later ones behind the first alone.
    ant = {"num_hidden_layers": 2, "dim_head": 4, "dim_ff": 8, "prompt_length": 4}
    text = program(_job("CpmAntForCausalLM", **ant), SEVERAL)
    assert "later = model(input_ids=tokens[:, :], cache=held, use_cache=True)" in text
    assert run(text, SEVERAL)[1]


@pytest.mark.parametrize(("window", "shown"), [(64, False), (48, True)])
def test_a_row_longer_than_what_bounds_a_cache_alone_shows_it(window: int, shown: bool) -> None:
    moshi = {"num_hidden_layers": 1, "ffn_dim": 8, "max_position_embeddings": 64, "num_key_value_heads": 2}
    text = program(_job("MoshiForCausalLM", sliding_window=window, **moshi), TOKEN)
    assert run(text, TOKEN)[1] is shown


def test_a_class_that_calls_its_cache_a_state_is_asked_for_that() -> None:
    headless = {"num_attention_heads": None, "num_key_value_heads": None}
    text = program(_job("RwkvForCausalLM", num_hidden_layers=2, attention_hidden_size=8, **headless), TOKEN)
    assert 'held = first["state"]' in text
    assert run(text, TOKEN)[1]


def test_a_row_alone_shows_nothing_where_rows_do_not_meet() -> None:
    mistral = {"num_hidden_layers": 1, "intermediate_size": 8, "head_dim": 4}
    text = program(_job("MistralForCausalLM", **mistral), ALONE)
    assert "later = model(input_ids=tokens[-1:]).logits" in text
    assert not run(text, ALONE)[1]


def test_a_class_without_a_cache_has_no_program() -> None:
    with pytest.raises(ExportError, match=r"OpenAIGPTLMHeadModel\.forward takes no cache"):
        program(_job("OpenAIGPTLMHeadModel", n_embd=8, n_layer=1, n_head=2), TOKEN)


@pytest.mark.parametrize(
    ("asked", "way", "shown"),
    [("held.length", TOKEN, True), ("None.length", TOKEN, False), ("None.length", AGAIN, True)],
)
def test_an_error_shows_a_fault_of_a_class_that_was_told_all_or_asks_its_own_cache(
    asked: str, way: Way, shown: bool
) -> None:
    """One that finds nothing where it wants to be told more shows nothing."""
    printed, shows = run(f"whole, held = 1, (2,)\nlater = {asked}\n", way)
    assert (printed.startswith("AttributeError"), shows) == (True, shown)
