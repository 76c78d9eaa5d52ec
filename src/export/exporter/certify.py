"""Exports one checkpoint: `python -m exporter.certify`.

In: the request of `__main__`, whose jobs may have an `embedding`, and say whether references are `streamed`. Out: its
events and artifacts. What a sentence-transformers folder does with hidden states is a part of the program, as calls
are. Padding is added on both sides, where eager's own outputs promise that neither matters.
"""

import json
import sys
from dataclasses import replace
from functools import partial

from .__main__ import own_stdout
from .export import export
from .invariance import moved
from .job import Job, Json
from .model import find_class
from .prepared import Prepared
from .reference import Widen, widened
from .sentence import install
from .situations import Situation, situations
from .streamed import streamed

# The keys of a request that a plain job has not.
EMBEDDING, STREAMED = "embedding", "streamed"
OTHER = {"left": "right", "right": "left"}


def adopted(data: Json) -> Job:
    """The job, whose class from now on is called with what becomes of its hidden states, where that is told."""
    job = Job.from_json({name: value for name, value in data.items() if name not in (EMBEDDING, STREAMED)})
    if data.get(EMBEDDING):
        install(job.class_name, find_class(job.source, job.class_name), data[EMBEDDING])
    return job


def other_side(job: Job, ready: Prepared, widen: Widen = widened) -> list[Situation]:
    """Padding on the other side than the entry's, unless it moves what eager returns: then nobody promised it."""
    if not job.pads or job.padding not in OTHER:
        return []
    side = OTHER[job.padding]
    other = replace(job, padding=side, rows={}, causal=None)
    changed = [
        replace(situation, name=f"{situation.name}-{side}")
        for situation in situations(other, ready.config, ready.dims, ready.traced)
    ]
    return [] if any(moved(other, widen(ready.eager), ready.traced, changed)) else changed


def certified(data: Json) -> None:
    """Makes a job's artifact."""
    widen = streamed if data.get(STREAMED) else widened
    export(adopted(data), partial(other_side, widen=widen), widen)


def main() -> None:
    """Keeps stdout for events, then exports."""
    events = own_stdout()
    from .runner import run  # only now: libraries print while they are imported

    run(json.load(sys.stdin), events, certified)


if __name__ == "__main__":
    main()
