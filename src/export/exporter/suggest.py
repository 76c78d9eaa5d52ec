"""Suggests spec entries: `python -m exporter.suggest`.

In: `{"timeout_seconds", "source", "dims", "tasks", "families", "entries", "requests"}` on stdin. Out: a JSON object a
line for every request, `{"name", "draft"}` or `{"name", "stage", "reason", "copy"}`; `copy` names the entry whose code
is nearest, or else one of the same task. Each request is worked on in a fork, so that a crash or a time-out costs one
name.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
from .kin import entries_like
from .overrides import fewest, paths
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
# How many entries a draft is tried to be like, where its own defaults do not do.
KIN = 3


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
    usable = {entry["name"] for entry in data["entries"] if entry["usable"]}
    like, template = request["like"], request["template"]
    base = named[like] if like else data["families"][family]
    same = (entry for entry in data["entries"] if entry["task"] == found.task)
    copy = next((entry["name"] for entry in (*near, *same)), None)
    plain = Draft(found, family, base, data["tasks"][found.task], near=copy, like=like, source=source)
    try:
        return _tried(_shorter(plain, named, template if template in usable else None), data)
    except Refused as refused:
        others = [] if like else [entry["name"] for entry in near if entry["name"] in usable]
        for other in others[:KIN]:
            try:
                return _over(plain, other, named[other], refused, data)
            except Refused:
                continue
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


def _over(plain: Draft, name: str, base: Json, refused: Refused, data: Json) -> Draft:
    """The draft like another entry, because it was refused over its family's defaults."""
    draft = _tried(replace(plain, like=name, base=base), data)
    draft.reasons.insert(0, f"like {name}: its code is near; without, stage {refused.stage}: {refused.why}")
    return draft


def _shorter(plain: Draft, named: Json, template: str | None) -> Draft:
    """The draft, or one like the template where that needs fewer words."""
    base = named.get(template) if template else None
    if base is None or base["task"] != plain.found.task or plain.base.get("class"):
        return plain
    count = [len(list(paths(fewest(plain.found.class_name, one["config"])[0]))) for one in (plain.base, base)]
    return replace(plain, like=template, base=base) if count[1] < count[0] else plain


def _tried(draft: Draft, data: Json) -> Draft:
    """A fresh copy of the draft that was built and run."""
    with _stage("config"):
        config, reasons = fewest(draft.found.class_name, draft.base["config"])
        draft = replace(
            draft,
            config=config,
            reasons=reasons,
            axes={},
            inputs={},
            returns={},
            dims={},
            omit={},
            placeholders={},
            without=[],
        )
    with _stage("build"):
        eager = model.build(draft.job(data))
    with _stage("run"):
        take_inputs(draft, eager)
        measure(draft, eager, data)
        put_to(draft, eager, data)
    return draft


if __name__ == "__main__":
    main()
