"""Runs jobs, each in a process of its own.

In: the request of `__main__`. Out: its events. torch and transformers are imported once (seconds); each job
then runs in a fork, so that a crash or a time-out costs one model.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import TextIO

import torch

from .artifact import partial_path
from .errors import ExportError, reason
from .export import export, versions
from .job import Job, Json

FORK = multiprocessing.get_context("fork")


@dataclass
class Child:
    """A running job."""

    data: Json
    process: ForkProcess
    failure: Connection
    log: Path
    started: float


def run(request: Json, events: TextIO) -> None:
    """Runs the jobs, as many at a time as there are workers."""
    limit = request["timeout_seconds"]
    waiting = list(enumerate(request["jobs"]))[::-1]
    running: list[Child] = []
    _emit(events, event="ready", versions=versions())
    with tempfile.TemporaryDirectory() as logs:
        while waiting or running:
            while waiting and len(running) < request["workers"]:
                number, data = waiting.pop()
                _emit(events, event="started", model=data["model"])
                running.append(_start(data, limit, Path(logs, str(number))))
            running = [child for child in running if not _finished(child, limit, events)]
            wait([child.process.sentinel for child in running], timeout=0.1)


def _emit(events: TextIO, **event: object) -> None:
    print(json.dumps(event), file=events, flush=True)


def _start(data: Json, limit: float, log: Path) -> Child:
    receiver, sender = FORK.Pipe(duplex=False)
    log.touch()
    process = FORK.Process(target=_work, args=(data, limit, sender, log), daemon=True)
    process.start()
    sender.close()
    return Child(data, process, receiver, log, time.monotonic())


def _work(data: Json, limit: float, failure: Connection, log: Path) -> None:
    """Runs in the child, which prints to its log and sends the reason of a failure."""
    # The parent keeps the time; should it be gone by then, this ends the child.
    signal.setitimer(signal.ITIMER_REAL, 2 * limit)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    try:
        export(Job.from_json(data))
    except Exception as error:  # noqa: BLE001  whatever it is, the parent is told
        failure.send(reason(error))
        # An ExportError has said all by its text; only where another error is behind it, that one's place helps.
        unexpected = error.__cause__ if isinstance(error, ExportError) else error
        if unexpected:
            traceback.print_exception(unexpected)
        sys.exit(1)


def _finished(child: Child, limit: float, events: TextIO) -> bool:
    """Reports a job that ended or ran out of time; False while it is still running."""
    seconds = time.monotonic() - child.started
    late = child.process.is_alive() and seconds > limit
    if late:
        child.process.kill()
    elif child.process.is_alive():
        return False
    child.process.join()
    model, fault = child.data["model"], child.data["fault"]
    if child.process.exitcode == 0:
        _emit(events, event="done", model=model, fault=fault, seconds=round(seconds, 3))
        return True
    why = f"timed out after {limit:g} s" if late else _why(child)
    detail = child.log.read_text(errors="replace")
    _emit(events, event="failed", model=model, fault=fault, reason=why, detail=detail)
    if child.process.pid is not None:
        shutil.rmtree(partial_path(Path(child.data["directory"]), child.process.pid), ignore_errors=True)
    return True


def _why(child: Child) -> str:
    if child.failure.poll():
        try:
            return child.failure.recv()
        except EOFError:
            pass
    code = child.process.exitcode
    if code is not None and code < 0:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    return f"exited with status {code}"
