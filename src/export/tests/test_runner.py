"""Jobs run in processes of their own: whatever becomes of one, its line says so."""

import io
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter import runner
from exporter.job import Json


def spin(_: Json) -> None:
    """Uses a processor and never returns."""
    while True:
        pass


def sleep(_: Json) -> None:
    """Uses nothing and never returns."""
    time.sleep(3600)


def crash(_: Json) -> None:
    """Ends its process."""
    os.kill(os.getpid(), signal.SIGKILL)


def leave(_: Json) -> None:
    """Ends its process without a word."""
    os._exit(3)


def fail(_: Json) -> None:
    """Raises."""
    raise ValueError("no")


def last(work: Callable[[Json], object], folder: Path) -> Json:
    """The last event of a run of one job."""
    events = io.StringIO()
    jobs = [{"model": "bert", "directory": str(folder / "bert")}]
    runner.run({"workers": 1, "timeout_seconds": 0.2, "jobs": jobs}, events, work)
    return json.loads(events.getvalue().splitlines()[-1])


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (spin, "timed out after 0.2 s of a processor's time"),
        (sleep, "timed out after 0.4 s"),
        (crash, "killed by signal 9 (SIGKILL)"),
        (leave, "exited with status 3"),
        (fail, "ValueError: no"),
    ],
)
def test_the_end_of_a_job_is_told(
    work: Callable[[Json], object], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PATIENCE", 2)
    told = last(work, tmp_path)
    assert (told["event"], told["model"], told["reason"]) == ("failed", "bert", reason)


def test_what_a_job_returns_is_told(tmp_path: Path) -> None:
    told = last(lambda data: len(data["model"]), tmp_path)
    assert (told["event"], told["result"]) == ("done", 4)
