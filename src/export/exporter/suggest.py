"""Suggests spec entries: `python -m exporter.suggest`.

In: `{"timeout_seconds", "source", "dims", "tasks", "families", "entries", "requests"}` on stdin. Out: a JSON object a
line for every request, `{"name", "draft"}` or `{"name", "stage", "reason", "copy"}`; `copy` names the entry whose code
is nearest, or else one of the same task. Each request is worked on in a fork, so that a crash or a time-out costs one
name.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
import transformers

from . import model, package
from .__main__ import own_stdout
from .draft import Draft
from .errors import ExportError, reason
from .find import Found, find
from .job import Json, Source
from .kin import entries_like, entries_sized_like
from .overrides import fewest
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
# How many more of those that say the same sizes it is tried to be like, where it is much shorter then.
SIZED = 2
# How many seeds, where the failure itself asks for another.
SEEDS = 4
ANOTHER_SEED = "another seed"
# Whoever reads an entry like another must look that up, too: worth it for one that is so much shorter.
WORTH = 2 / 3
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
        near = entries_like(found.class_name, found.task, data["entries"])
    named = {entry["name"]: entry["base"] for entry in data["entries"]}
    like, template = request["like"], request["template"]
    base = named[like] if like else data["families"][family]
    same = (entry for entry in data["entries"] if entry["task"] == found.task)
    copy = next((entry["name"] for entry in (*near, *same)), None)
    plain = Draft(found, family, base, data["tasks"][found.task], near=copy, like=like, source=source)
    templates = [entry for entry in data["entries"] if entry["name"] == template]
    others = [] if like else [entry for entry in (*templates, *near) if entry["usable"]]
    try:
        return _shorter(_tried(plain, data), others, template, data)
    except Refused as refused:
        for other in others[:KIN]:
            with suppress(Refused):
                return _over(plain, other, refused, data)
        raise Refused(refused.stage, refused.why, copy) from refused


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


def _over(plain: Draft, other: Json, refused: Refused, data: Json) -> Draft:
    """The draft like another entry, because it was refused over its family's defaults.

    What the other leaves out, it leaves out for reasons of its own: the draft is put to it.
    """
    name = other["name"]
    draft = _tried(replace(plain, like=name, base=other["base"]), data)
    draft.omit = dict.fromkeys(other["omit"]) | draft.omit
    draft.reasons.insert(0, f"like {name}: its code is near; without, stage {refused.stage}: {refused.why}")
    return draft


def _shorter(draft: Draft, others: list[Json], template: str | None, data: Json) -> Draft:
    """The draft, or one like another entry where that is worth looking up the other.

    It is like the template where it is shorter at all.
    """
    best, shortest = draft, length(draft)
    alike = [other for other in others if _suits(other, draft)][:KIN]
    usual = draft.base["config"]
    sized = entries_sized_like(draft.config, draft.found.task, usual, data.get("entries", []))
    sized = [other for other in sized if other["usable"] and _suits(other, draft) and other not in alike]
    for other in (*alike, *sized[:SIZED]):
        limit = shortest if other["name"] == template else min(shortest, WORTH * length(draft))
        with suppress(Refused):
            small = _small(replace(draft, like=other["name"], base=other["base"]))
            if length(small) >= limit:
                continue
            # What the other leaves out is not tried.
            tried = _attempt(replace(small, omit=dict.fromkeys(other["omit"], "")), data)
            tried.omit = {check: why for check, why in tried.omit.items() if check not in other["omit"]}
            if length(tried) < limit:
                why = "its code is near" if other in alike else "it says the same sizes"
                tried.reasons.insert(0, f"like {other['name']}: {why}, and the entry is shorter")
                best, shortest = tried, length(tried)
    return best


def _suits(other: Json, draft: Draft) -> bool:
    """Whether an entry has the draft's task, and leaves out no check but those that the draft leaves out."""
    return other["task"] == draft.found.task and draft.omit.keys() >= {*other["omit"]}


def length(draft: Draft) -> int:
    """Characters of what the entry would say, near enough."""
    said = {name: value for name, value in draft.to_json().items() if value and name in SAID}
    if draft.found.class_name == draft.base.get("class"):
        said.pop("class")
    if draft.found.task == draft.base.get("task"):
        said.pop("task")
    return len(json.dumps(said).replace('"', ""))


def _small(draft: Draft) -> Draft:
    """A fresh copy of the draft that has its config, and nothing else yet."""
    with _stage("config"):
        config, reasons = fewest(draft.found.class_name, draft.base["config"])
    return replace(
        draft,
        config=config,
        reasons=reasons,
        axes={},
        inputs={},
        returns={},
        dims={},
        omit={},
        placeholders={},
        padding=None,
        seed=None,
        without=[],
    )


def _tried(draft: Draft, data: Json) -> Draft:
    """A fresh copy of the draft that was built and run."""
    return _attempt(_small(draft), data)


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
    with _stage("build"):
        eager = model.build(draft.job(data))
    with _stage("run"):
        take_inputs(draft, eager)
        measure(draft, eager, data)
        put_to(draft, eager, data)
    return draft


if __name__ == "__main__":
    main()
