from dataclasses import replace
from typing import Any

import pytest
import samples

from exporter import suggest
from exporter.draft import Draft
from exporter.job import Json
from exporter.suggest import SEEDS, Refused, _attempt, _over, _shorter, _tried, length

DATA: Json = {"dims": {"vocabulary": ["vocab_size"]}, "new_tokens": 16}
# What a family says of BERT without making it small.
WIDE: Json = {"config": {"vocab_size": 128}}


def bert() -> Draft:
    """BERT over a family that leaves most of its sizes to it."""
    return _tried(samples.draft(base=WIDE), DATA)


def entry(**changes: Any) -> Json:
    """An entry that has all of BERT's sizes."""
    small: Json = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = {"vocab_size": 128, "hidden_size": 32, "max_position_embeddings": 64} | small
    base = samples.draft().base | {"config": config, "class": "BertForMaskedLM"}
    return {"name": "bert", "task": "fill-mask", "usable": True, "omit": [], "base": base} | changes


def test_a_draft_is_like_another_entry_where_that_is_much_shorter() -> None:
    draft = bert()
    shorter = _shorter(draft, [entry()], None, DATA)
    assert (shorter.like, shorter.config) == ("bert", {})
    assert length(shorter) < length(draft)


def test_what_leaves_out_a_check_that_the_draft_passes_is_nothing_to_be_like() -> None:
    draft = bert()
    assert _shorter(draft, [entry(omit=["half"])], None, DATA) is draft
    assert _shorter(draft, [entry(task="text-generation")], None, DATA) is draft


def test_a_reason_that_is_inherited_is_not_said_again() -> None:
    draft = bert()
    draft.omit["half"] = "no kernel"
    assert _shorter(draft, [entry(omit=["half"])], None, DATA).omit == {}


def test_a_template_is_taken_where_it_is_shorter_at_all() -> None:
    draft = bert()
    near = entry()
    # Half of the sizes are still the draft's to say.
    near["base"]["config"] = {name: near["base"]["config"][name] for name in ("vocab_size", "hidden_size")}
    assert _shorter(draft, [near], None, DATA) is draft
    assert _shorter(draft, [near], "bert", DATA).like == "bert"


def test_class_and_task_count_where_the_base_has_others() -> None:
    draft = samples.draft(base={"class": "BertForMaskedLM"})
    other = samples.draft(base={"class": "BertModel", "task": "feature-extraction"})
    assert length(draft) < length(other)


def test_what_an_entry_leaves_out_is_not_tried_on_a_draft_that_is_like_it() -> None:
    draft = _attempt(replace(bert(), omit={"half": "", "batch_invariant": ""}), DATA)
    assert draft.omit == {"half": "", "batch_invariant": ""}


def test_what_is_like_an_entry_because_it_must_be_is_put_to_the_checks_that_the_entry_leaves_out() -> None:
    refused = Refused("run", "no size fits")
    draft = _over(samples.draft(), entry(omit=["half", "decodes"]), refused, DATA)
    assert (draft.like, draft.omit) == ("bert", {"half": None, "decodes": None})
    assert draft.reasons[0] == "like bert: its code is near; without, stage run: no size fits"


def test_a_draft_is_like_an_entry_that_says_the_same_sizes_where_no_code_is_near() -> None:
    draft = bert()
    shorter = _shorter(draft, [], None, DATA | {"entries": [entry()]})
    assert (shorter.like, shorter.config) == ("bert", {})
    assert "it says the same sizes" in shorter.reasons[0]
    assert _shorter(draft, [], None, DATA | {"entries": [entry(usable=False)]}) is draft


def test_another_seed_is_tried_where_the_failure_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int | None] = []

    def refuse(draft: Draft, data: Json) -> Draft:
        seen.append(draft.seed)
        if draft.seed == 2:
            return draft
        raise Refused("run", "a new token is a placeholder; give the entry another seed")

    monkeypatch.setattr(suggest, "_run", refuse)
    assert _attempt(samples.draft(), DATA).seed == 2
    assert seen == [None, 1, 2]


def test_the_seeds_end_and_no_other_failure_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int | None] = []

    def refuse(why: str) -> Any:
        def run(draft: Draft, data: Json) -> Draft:
            seen.append(draft.seed)
            raise Refused("run", why)

        return run

    monkeypatch.setattr(suggest, "_run", refuse("give the entry another seed"))
    with pytest.raises(Refused, match="another seed"):
        _attempt(samples.draft(), DATA)
    assert len(seen) == SEEDS
    seen.clear()
    monkeypatch.setattr(suggest, "_run", refuse("no size fits"))
    with pytest.raises(Refused, match="no size fits"):
        _attempt(samples.draft(), DATA)
    assert seen == [None]
