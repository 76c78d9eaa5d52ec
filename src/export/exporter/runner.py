"""Runs jobs, each in a process of its own.

In: the request of `__main__`. Out: its events. torch and transformers are imported once (seconds); each job
then runs in a fork, so that a crash or a time-out costs one model.
"""

import gc
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, TextIO

import torch

from .artifact import partial_path
from .errors import ExportError, reason
from .export import export, versions
from .job import Job, Json

FORK = multiprocessing.get_context("fork")
# A job may take its limit of a processor's time, however busy the machine is. One that waits for ever uses none: so
# many limits of ordinary time end it, too.
PATIENCE = 8


@dataclass
class Child:
    """A running job."""

    data: Json
    process: ForkProcess
    outcome: Connection
    log: Path
    started: float


# What is done with a job; what it returns, where it returns anything, is the `result` of the job's `done`.
Work = Callable[[Json], Any]


def exported(data: Json) -> None:
    """Makes a job's artifact."""
    export(Job.from_json(data))


def run(request: Json, events: TextIO, work: Work = exported) -> None:
    """Runs the jobs, as many at a time as there are workers."""
    limit = request["timeout_seconds"]
    waiting = list(enumerate(request["jobs"]))[::-1]
    running: list[Child] = []
    _emit(events, event="ready", versions=versions())
    # What is imported stays: children need not look through it for garbage, nor copy its pages to do so.
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as logs:
        while waiting or running:
            while waiting and len(running) < request["workers"]:
                number, data = waiting.pop()
                _emit(events, event="started", model=data["model"])
                running.append(_start(data, limit, Path(logs, str(number)), work))
            running = [child for child in running if not _finished(child, limit, events)]
            wait([child.process.sentinel for child in running], timeout=0.1)


def _emit(events: TextIO, **event: object) -> None:
    print(json.dumps(event), file=events, flush=True)


def _start(data: Json, limit: float, log: Path, work: Work) -> Child:
    receiver, sender = FORK.Pipe(duplex=False)
    log.touch()
    process = FORK.Process(target=_work, args=(data, limit, sender, log, work), daemon=True)
    process.start()
    sender.close()
    return Child(data, process, receiver, log, time.monotonic())


def _work(data: Json, limit: float, outcome: Connection, log: Path, work: Work) -> None:
    """Runs in the child, which prints to its log and sends a result, or the reason of a failure."""
    limit_time(limit)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    try:
        outcome.send(work(data))
    except Exception as error:  # noqa: BLE001  whatever it is, the parent is told
        outcome.send(reason(error))
        # An ExportError has said all by its text; only where another error is behind it, that one's place helps.
        unexpected = error.__cause__ if isinstance(error, ExportError) else error
        if unexpected:
            traceback.print_exception(unexpected)
        sys.exit(1)


def _finished(child: Child, limit: float, events: TextIO) -> bool:
    """Reports a job that ended or ran out of time; False while it is still running."""
    if child.process.is_alive():
        return False
    child.process.join()
    seconds = time.monotonic() - child.started
    about = {key: child.data[key] for key in ("model", "fault", "without") if key in child.data}
    if child.process.exitcode == 0:
        result = _said(child)
        _emit(events, event="done", **about, seconds=round(seconds, 3), result=result)
        return True
    why = _said(child) or ending(child.process.exitcode, limit)
    detail = child.log.read_text(errors="replace")
    _emit(events, event="failed", **about, reason=why, detail=detail)
    if child.process.pid is not None:
        shutil.rmtree(partial_path(Path(child.data["directory"]), child.process.pid), ignore_errors=True)
    return True


def _said(child: Child) -> Any:
    """What a child that has ended sent; None where it sent nothing."""
    try:
        return child.outcome.recv() if child.outcome.poll() else None
    except EOFError:
        return None


def limit_time(limit: float) -> None:
    """Ends this process, by a signal, when it has used up so many seconds of a processor's time, or does not end."""
    signal.setitimer(signal.ITIMER_PROF, limit)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * limit)


def ending(status: int | None, limit: float) -> str:
    """How a process with such a limit ended, in words, by multiprocessing's status of it."""
    if status == -signal.SIGPROF:
        return f"timed out after {limit:g} s of a processor's time"
    if status == -signal.SIGALRM:
        return f"timed out after {PATIENCE * limit:g} s"
    if status is not None and status < 0:
        return f"killed by signal {-status} ({signal.Signals(-status).name})"
    return f"exited with status {status}"
