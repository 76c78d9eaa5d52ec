"""Suggests spec entries: `python -m exporter.suggest`.

In: `{"timeout_seconds", "source", "dims", "tasks", "families", "entries", "requests"}` on stdin. Out: a JSON object a
line for every request, `{"name", "draft"}` or `{"name", "stage", "reason", "copy"}`; `copy` names the entry whose code
is nearest, or else one of the same task. Each request is worked on in a fork, so that a crash or a time-out costs one
name.
"""

import json
import math
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
import transformers

from . import model, package
from .__main__ import own_stdout
from .draft import Draft
from .errors import ExportError, reason
from .find import Found, find
from .job import Json, Source
from .kin import entries_like, entries_sized_like, parts_of
from .overrides import at, carried, fewest, is_small, less, merged, paths
from .ports import take_inputs
from .runner import FORK, ending, limit_time
from .trials import measure, put_to

# The family whose file an entry goes to.
FAMILIES = {
    "text-generation": "decoder-only",
    "text2text-generation": "encoder-decoder",
    "translation": "encoder-decoder",
    "summarization": "encoder-decoder",
    "automatic-speech-recognition": "speech",
    "audio-classification": "speech",
    "text-to-audio": "speech",
    "image-text-to-text": "multimodal",
    "document-question-answering": "multimodal",
    "visual-question-answering": "multimodal",
    "visual-document-retrieval": "multimodal",
    "zero-shot-image-classification": "vision-text",
    "zero-shot-object-detection": "vision-text",
    "time-series-forecasting": "time-series",
    "image-classification": "vision",
    "image-feature-extraction": "vision",
    "image-segmentation": "vision",
    "image-to-image": "vision",
    "depth-estimation": "vision",
    "keypoint-detection": "vision",
    "keypoint-matching": "vision",
    "mask-generation": "vision",
    "object-detection": "vision",
    "video-classification": "vision",
}
# How many entries a draft is tried to be like: where its own defaults do not do, or where it is much shorter then.
KIN = 3
# How many, where it is refused by itself.
FAR = 8
# How many more of those that say the same sizes it is tried to be like, where it is much shorter then.
SIZED = 2
# How many sizes are left as the class has them, one after the other.
UNDONE = 16
# What a class says of sizes that do not belong together.
MISFIT = re.compile(r"sizes? of|shape|channels|index|cannot be multiplied|dimension")
# What a form of the draft may take of a processor's time.
SECONDS = 30
# How many seeds, where the failure itself asks for another.
SEEDS = 4
ANOTHER_SEED = "another seed"
# Whoever reads an entry like another must look that up, too: worth it for one that is so much shorter.
WORTH = 2 / 3
# What of a draft is known before it has a config.
KEPT = ("found", "family", "base", "contract", "near", "like", "source")
# What of a draft the spec would say.
SAID = (
    *("like", "task", "class", "checkpoint", "config", "axes", "dims", "padding", "seed"),
    *("inputs", "outputs", "without", "placeholders", "omit"),
)


class Refused(Exception):
    """A request that cannot be met: the stage it ended at, why, and the entry to copy."""

    def __init__(self, stage: str, why: str, copy: str | None = None) -> None:
        super().__init__(stage, why, copy)
        self.stage, self.why, self.copy = stage, why, copy


def main() -> None:
    """Answers every request, in order."""
    events = own_stdout()
    data = json.load(sys.stdin)
    for request in data["requests"]:
        answer = {"name": request["name"]} | _isolated(request, data)
        print(json.dumps(answer), file=events, flush=True)


def _isolated(request: Json, data: Json) -> Json:
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_answer, args=(request, data, sender), daemon=True)
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        answer = None
    process.join()
    return answer or _failed("build", ending(process.exitcode, data["timeout_seconds"]))


def _answer(request: Json, data: Json, sender: Any) -> None:
    limit_time(data["timeout_seconds"])
    torch.set_num_threads(1)
    try:
        sender.send({"draft": suggest(request, data).to_json()})
    except Refused as refused:
        sender.send(_failed(refused.stage, refused.why, refused.copy))


def _failed(stage: str, why: str, copy: str | None = None) -> Json:
    return {"stage": stage, "reason": why, "copy": copy}


@contextmanager
def _limited() -> Iterator[None]:
    """Ends what takes so long that another form of the draft should be tried."""

    def end(*_: Any) -> None:
        raise ExportError(f"it takes more than {SECONDS} s of a processor's time")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Turns whatever is raised inside into a refusal at that stage."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(name, reason(error)) from error


def suggest(request: Json, data: Json) -> Draft:
    """Finds the class and tries it over its family's defaults, then over the entries whose code is nearest."""
    source = Source(**data["source"])
    with _stage("find"):
        if source.package != transformers.__name__:
            package.check_asked(source, request["name"], package.adopt(source))
        found = find(request["name"], request["task"], request["hint"])
        family = _family(request["family"], found, data["families"])
        near = entries_like(found.class_name, data["entries"])
    template = request["template"]
    named = {entry["name"]: entry for entry in data["entries"]}
    like = request["like"]
    base = named[like]["base"] if like else data["families"][family]
    alike = [entry for entry in near if entry["task"] == found.task]
    same = (entry for entry in data["entries"] if entry["task"] == found.task)
    copy = next((entry["name"] for entry in (*alike, *same)), None)
    plain = Draft(found, family, base, data["tasks"][found.task], near=copy, like=like, source=source)
    templates = [entry for name, entry in named.items() if name == template]
    others = [] if like else [entry for entry in (*templates, *alike) if entry["usable"]]
    draft, refused = plain, None
    try:
        draft = _tried(plain, data) or plain
    except Refused as error:
        refused = Refused(error.stage, error.why, copy)
    return _nearest(draft, refused, others, template, data)


def _family(asked: str | None, found: Found, families: Json) -> str:
    if asked in families:
        return asked
    if asked:
        raise ExportError(f"no family is called {asked!r}; there are: {', '.join(families)}")
    family = FAMILIES.get(found.task)
    if found.task == "fill-mask" or found.task.startswith(("text-", "token-", "question-")):
        family = family or "encoder-only"
    if found.task == "feature-extraction":
        main = getattr(transformers, found.class_name).main_input_name
        family = {"input_values": "speech", "input_features": "speech"}.get(main, "encoder-only")
    if family not in families:
        raise ExportError(f"no family suits task {found.task}; name one with --family: {', '.join(families)}")
    return family


def _nearest(
    draft: Draft, refused: Refused | None, others: list[Json], template: str | None, data: Json
) -> Draft:
    """The draft, or one like another entry where that is worth looking up the other; refused where none can be run.

    It is like the template where it is shorter at all, and like the first that does where it was refused by itself.
    """
    best = None if refused else draft
    alike = others[: KIN if refused is None else FAR]
    for other in (*alike, *_sized_like(draft, alike, data)):
        limit = math.inf
        if best is not None:
            limit = length(best) if other["name"] == template else min(length(best), WORTH * length(draft))
        with suppress(Refused):
            tried = _like(draft, other, limit, data)
            if tried is not None and length(tried) < limit:
                why = "its code is near" if other in alike else "it says the same sizes"
                than = f"without, stage {refused.stage}: {refused.why}" if refused else "the entry is shorter"
                tried.reasons.insert(0, f"like {other['name']}: {why}; {than}")
                best = tried
        if best is not None and refused is not None:
            break
    if best is None and refused is not None:
        raise refused
    return best or draft


def _sized_like(draft: Draft, alike: list[Json], data: Json) -> list[Json]:
    """Entries of the task that say the same sizes."""
    usual = draft.base["config"]
    sized = entries_sized_like(draft.config, draft.found.task, usual, data["entries"])
    return [other for other in sized if other["usable"] and other not in alike][:SIZED]


def _like(plain: Draft, other: Json, limit: float, data: Json) -> Draft | None:
    """The draft like another entry; None where what it would say of sizes alone is too long.

    What the other leaves out, it leaves out for reasons of its own: the draft is put to it.
    """
    draft = _tried(replace(plain, like=other["name"], base=other["base"]), data, limit)
    if draft is not None:
        own = {check: why for check, why in draft.omit.items() if check not in other["omit"]}
        draft.omit = {check: None for check in other["omit"] if check not in draft.omit} | own
    return draft


def length(draft: Draft) -> int:
    """Characters of what the entry would say, near enough."""
    said = {name: value for name, value in draft.to_json().items() if value and name in SAID}
    if draft.found.class_name == draft.base.get("class"):
        said.pop("class")
    if draft.found.task == draft.base.get("task"):
        said.pop("task")
    return len(json.dumps(said).replace('"', ""))


def _carried(draft: Draft, _: Json) -> Draft | None:
    """A fresh copy of the draft that says no more than what of the other entry's config its class does not know."""
    if not draft.like:
        return None
    with _stage("config"):
        nulls = carried(draft.found.class_name, draft.base["config"])
    return None if nulls is None else _fresh(draft, nulls, [])


def _fewest(draft: Draft, _: Json) -> Draft:
    """A fresh copy of the draft with the fewest sizes."""
    with _stage("config"):
        return _fresh(draft, *fewest(draft.found.class_name, draft.base["config"]))


def _with_parts(draft: Draft, data: Json) -> Draft | None:
    """The same with parts as other entries have them."""
    name, said = draft.found.class_name, draft.base["config"]
    with _stage("config"):
        parts = parts_of(name, said, data["entries"])
        return _fresh(draft, *fewest(name, said, parts)) if parts else None


def _undone(small: Draft) -> Iterator[Draft]:
    """The same with one size, or all of a part, as the class itself has it: what belongs together there does again."""
    config = small.config
    tops = [(name,) for name, value in config.items() if isinstance(value, dict) and value]
    for path in (*tops, *paths(config)):
        fewer = less(config, path)
        if at(config, path) is not None and is_small(
            small.found.class_name, merged(small.base["config"], fewer)
        ):
            why = f"config {'.'.join(path)}: as the class has it, which the rest of it asks for"
            yield _fresh(small, fewer, [*small.reasons, why])


def _fresh(draft: Draft, config: Json, reasons: list[str]) -> Draft:
    kept = {name: getattr(draft, name) for name in KEPT}
    return Draft(**kept, config=config, reasons=reasons)


def _tried(draft: Draft, data: Json, limit: float = math.inf) -> Draft | None:
    """A fresh copy of the draft that was built and run; None where none says little enough."""
    refused = None
    seen: list[Json] = []
    for make in (_carried, _fewest, _with_parts):
        try:
            small = make(draft, data)
            if small is not None and small.config not in seen and length(small) < limit:
                seen.append(small.config)
                return _attempt(small, data)
        except Refused as error:
            refused = refused or error
    if refused is None:
        return None
    if not draft.like and MISFIT.search(refused.why):
        for small in islice(_undone(_fewest(draft, data)), UNDONE):
            with suppress(Refused):
                return _attempt(small, data)
    raise refused


def _attempt(small: Draft, data: Json) -> Draft:
    """The draft with its config, built and run; with another seed where the first does not do."""
    for seed in (None, *range(1, SEEDS)):
        try:
            return _run(replace(small, seed=seed, omit=dict(small.omit)), data)
        except Refused as refused:
            if ANOTHER_SEED not in refused.why or seed == SEEDS - 1:
                raise
    raise AssertionError("a last seed ends the loop")


def _run(draft: Draft, data: Json) -> Draft:
    """The draft, built and run."""
    with _stage("build"), _limited():
        eager = model.build(draft.job(data))
    with _stage("run"), _limited():
        take_inputs(draft, eager)
        measure(draft, eager, data)
        put_to(draft, eager, data)
    return draft


if __name__ == "__main__":
    main()
