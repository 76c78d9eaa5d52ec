"""Exports one checkpoint: `python -m exporter.certify`.

In: the request of `__main__`, whose jobs may have an `embedding`. Out: its events and artifacts. What a
sentence-transformers folder does with hidden states is a part of the program, as calls are.
"""

import json
import sys

from .__main__ import own_stdout
from .export import export
from .job import Job, Json
from .model import find_class
from .sentence import install

# The key of a request that a plain job has not.
EMBEDDING = "embedding"


def adopted(data: Json) -> Job:
    """The job, whose class from now on is called with what becomes of its hidden states, where that is told."""
    job = Job.from_json({name: value for name, value in data.items() if name != EMBEDDING})
    if data.get(EMBEDDING):
        install(job.class_name, find_class(job.source, job.class_name), data[EMBEDDING])
    return job


def certified(data: Json) -> None:
    """Makes a job's artifact."""
    export(adopted(data))


def main() -> None:
    """Keeps stdout for events, then exports."""
    events = own_stdout()
    from .runner import run  # only now: libraries print while they are imported

    run(json.load(sys.stdin), events, certified)


if __name__ == "__main__":
    main()
