from dataclasses import replace
from typing import Any

import pytest
import samples

from exporter import suggest
from exporter.draft import Draft
from exporter.errors import ExportError
from exporter.job import Json
from exporter.suggest import SEEDS, Refused, _attempt, _limited, _nearest, _tried, _undone, length

DATA: Json = {"dims": {"vocabulary": ["vocab_size"]}, "new_tokens": 16, "entries": []}
# What a family says of BERT without making it small.
WIDE: Json = {"config": {"vocab_size": 128}}


def bert() -> Draft:
    """BERT over a family that leaves most of its sizes to it."""
    draft = _tried(samples.draft(base=WIDE), DATA)
    assert draft is not None
    return draft


def nearest(draft: Draft, others: list[Json], template: str | None = None, **data: Any) -> Draft:
    """The draft, or one like another entry."""
    return _nearest(draft, None, others, template, DATA | data)


def entry(**changes: Any) -> Json:
    """An entry that has all of BERT's sizes."""
    small: Json = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = {"vocab_size": 128, "hidden_size": 32, "max_position_embeddings": 64} | small
    base = samples.draft().base | {"config": config, "class": "BertForMaskedLM"}
    return {"name": "bert", "task": "fill-mask", "usable": True, "omit": [], "base": base} | changes


def test_a_draft_is_like_another_entry_where_that_is_much_shorter() -> None:
    draft = bert()
    shorter = nearest(draft, [entry()])
    assert (shorter.like, shorter.config) == ("bert", {})
    assert length(shorter) < length(draft)


def test_a_template_is_taken_where_it_is_shorter_at_all() -> None:
    draft = bert()
    near = entry()
    # Half of the sizes are still the draft's to say.
    near["base"]["config"] = {name: near["base"]["config"][name] for name in ("vocab_size", "hidden_size")}
    assert nearest(draft, [near]) is draft
    assert nearest(draft, [near], "bert").like == "bert"


def test_class_and_task_count_where_the_base_has_others() -> None:
    draft = samples.draft(base={"class": "BertForMaskedLM"})
    other = samples.draft(base={"class": "BertModel", "task": "feature-extraction"})
    assert length(draft) < length(other)


def test_what_an_entry_leaves_out_is_not_tried_on_a_draft_that_is_like_it() -> None:
    draft = _attempt(replace(bert(), omit={"half": "", "batch_invariant": ""}), DATA)
    assert draft.omit == {"half": "", "batch_invariant": ""}


def test_what_is_like_an_entry_because_it_must_be_is_put_to_the_checks_that_the_entry_leaves_out() -> None:
    refused = Refused("run", "no size fits")
    draft = _nearest(samples.draft(), refused, [entry(omit=["half", "decodes"])], None, DATA)
    assert (draft.like, draft.omit) == ("bert", {"half": None, "decodes": None})
    assert draft.reasons[0] == "like bert: its code is near; without, stage run: no size fits"


def test_a_draft_is_like_an_entry_that_says_the_same_sizes_where_no_code_is_near() -> None:
    draft = bert()
    shorter = nearest(draft, [], entries=[entry()])
    assert (shorter.like, shorter.config) == ("bert", {})
    assert "it says the same sizes" in shorter.reasons[0]
    assert nearest(draft, [], entries=[entry(usable=False)]) is draft


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


def test_sizes_are_left_to_the_class_one_by_one_and_by_part() -> None:
    config = {"max_position_embeddings": 16, "intermediate_size": 8}
    draft = replace(samples.draft(base={"config": samples.SMALL}), config=config)
    assert [[*small.config] for small in _undone(draft)] == [
        ["intermediate_size"],
        ["max_position_embeddings"],
    ]


def test_a_form_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggest, "SECONDS", 0.05)
    with pytest.raises(ExportError, match="a processor's time"), _limited():
        while True:
            pass
    with _limited():
        pass


def test_what_no_entry_helps_is_refused_for_its_own_reason() -> None:
    refused = Refused("run", "no size fits")
    with pytest.raises(Refused, match="no size fits"):
        _nearest(samples.draft(), refused, [], None, DATA)
