"""Starts a module of the exporter, `python -m exporter.start MODULE …`, in a process that ends with who started it.

From its first moment on: importing what models are made of takes seconds, in which a starter may be killed.
"""

import os
import runpy
import signal
import sys
import threading
import time

# Says who started this process: once that is gone, another has it.
STARTER = "HF_CONFORMANCE_GROUPED"
# How often it is looked for.
LOOK_SECONDS = 0.2


def end_with(starter: int) -> None:
    """Ends this process, and all that it started, when another than its starter has it."""
    while os.getppid() == starter:
        time.sleep(LOOK_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    known = os.environ.get(STARTER)
    if known:
        threading.Thread(target=end_with, args=(int(known),), daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
