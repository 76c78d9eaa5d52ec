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


def certified(data: Json) -> None:
    """Makes a job's artifact."""
    embedding = data.pop("embedding")
    job = Job.from_json(data)
    if embedding:
        install(job.class_name, find_class(job.source, job.class_name), embedding)
    export(job)


def main() -> None:
    """Keeps stdout for events, then exports."""
    events = own_stdout()
    from .runner import run  # only now: libraries print while they are imported

    run(json.load(sys.stdin), events, certified)


if __name__ == "__main__":
    main()
