"""The exporter's process: `python -m exporter`.

In: `{"workers": 2, "timeout_seconds": 120, "jobs": […]}` on stdin. Out: one JSON event a line on stdout and
nothing else: `ready` after the imports, then `started` and `done` or `failed` for every job. Whatever
libraries print goes to stderr. The status is 0 when all jobs were tried, whether or not they failed.
"""

import json
import os
import signal
import sys
import threading
import time
from typing import TextIO

# How often a process looks whether the one that started it is still there.
LOOK_SECONDS = 0.2


def main() -> None:
    """Keeps stdout for events, then starts the work."""
    events = own_stdout()
    from .runner import run  # only now: libraries print while they are imported

    run(json.load(sys.stdin), events)


def own_stdout() -> TextIO:
    """Keeps stdout for events: everything else that writes to it, C++ included, reaches stderr.

    From then on the process lives no longer than the one that reads them.
    """
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    return events


def _end_with(parent: int) -> None:
    """Ends this process and all that it started when the one that started it is gone: killed, it could not say so."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
