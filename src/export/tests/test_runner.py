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


# Longer than anything here takes, however busy the machine is.
AMPLE = 3600


def last(work: Callable[[Json], object], folder: Path, limit: float = AMPLE) -> Json:
    """The last event of a run of one job."""
    events = io.StringIO()
    jobs = [{"model": "bert", "directory": str(folder / "bert")}]
    runner.run({"workers": 1, "timeout_seconds": limit, "jobs": jobs}, events, work)
    return json.loads(events.getvalue().splitlines()[-1])


@pytest.mark.parametrize(
    ("work", "limit", "patience", "reason"),
    [
        # Each can meet one of the two limits only: on a busy machine ordinary time passes and a processor's does not.
        (spin, 0.2, AMPLE, "timed out after 0.2 s of a processor's time"),
        (sleep, AMPLE, 0.4 / AMPLE, "timed out after 0.4 s"),
        (crash, AMPLE, 1, "killed by signal 9 (SIGKILL)"),
        (leave, AMPLE, 1, "exited with status 3"),
        (fail, AMPLE, 1, "ValueError: no"),
    ],
)
def test_the_end_of_a_job_is_told(
    work: Callable[[Json], object],
    limit: float,
    patience: float,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "PATIENCE", patience)
    told = last(work, tmp_path, limit)
    assert (told["event"], told["model"], told["reason"]) == ("failed", "bert", reason)


def test_what_a_job_returns_is_told(tmp_path: Path) -> None:
    told = last(lambda data: len(data["model"]), tmp_path)
    assert (told["event"], told["result"]) == ("done", 4)
