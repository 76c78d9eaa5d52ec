"""The exporter's process: `python -m exporter`.

In: `{"workers": 2, "timeout_seconds": 120, "jobs": […]}` on stdin. Out: one JSON event a line on stdout and
nothing else: `ready` after the imports, then `started` and `done` or `failed` for every job. Whatever
libraries print goes to stderr. The status is 0 when all jobs were tried, whether or not they failed.
"""

import json
import os
import sys
from typing import TextIO


def main() -> None:
    """Keeps stdout for events, then starts the work."""
    events = own_stdout()
    from .runner import run  # only now: libraries print while they are imported

    run(json.load(sys.stdin), events)


def own_stdout() -> TextIO:
    """Keeps stdout for events: everything else that writes to it, C++ included, reaches stderr."""
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return events


if __name__ == "__main__":
    main()
