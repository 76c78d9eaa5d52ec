"""A roster, worked through from a hub that refuses, breaks off and is interrupted: `just roster`.

Whole checkpoints are certified here, by the program that HF_CONFORMANCE names, in a folder of its own. It is no part of
the other tests: minutes, not seconds, and it needs the program.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest
import torch
import transformers
from checkpoints import CHECKPOINTS
from hub_server import Answer, Hub, serving_all
from test_hub import cut

# The project, whose environment and compiled dependencies are used.
PROJECT = Path(__file__).parents[3]
# GiB: as much as any of them takes but one.
BUDGET = "0.001"
# Checkpoint → priority, in the order of the roster.
ROSTER = {
    "org/labels": "critical",
    "org/shards": "critical",
    "org/gated": "critical",
    "org/later": "low",
    "org/cut": "critical",
    "org/large": "critical",
    "org/dead": "critical",
}
WEIGHTS = "model.safetensors"
INTERRUPTED = 128 + signal.SIGINT
# Seconds in which an interrupted run must have ended, on a busy machine, and in which its work must be done.
PATIENCE, PATIENCE_OF_WORK = 10, 1800


@dataclass
class Troubles:
    """What the hub does to who asks it."""

    # Whether it stands still in the middle of the last shard, and does.
    stalls: bool = True
    stalled: Event = field(default_factory=Event)
    ends: Event = field(default_factory=Event)

    def __call__(self, answer: Answer) -> bool:
        """Refuses one, breaks another off, and stands still in the middle of a third."""
        is_weight = answer.command == "GET" and answer.path.endswith(".safetensors")
        match answer.repository:
            case "org/gated":
                return answer.refuse(401, X_Error_Code="GatedRepo")
            case "org/cut":
                return is_weight and cut(answer)
            case "org/shards" if self.stalls and is_weight and _is_last(answer):
                self.stalled.set()
                self.ends.wait()
                answer.close_connection = True
                return True
        return False


def _is_last(answer: Answer) -> bool:
    """Whether the last shard is asked for."""
    first, _, of = answer.path.rpartition("/")[2].removesuffix(".safetensors").rpartition("-of-")
    return first.endswith(of)


def write_checkpoints(root: Path) -> dict[str, Path]:
    """Repository → its folder."""
    folders = {name: root / name.partition("/")[2] for name in ROSTER}
    torch.manual_seed(0)
    CHECKPOINTS["labels"](folders["org/labels"])
    CHECKPOINTS["masks"](folders["org/shards"])
    for name in ("org/gated", "org/later", "org/cut", "org/dead"):
        shutil.copytree(folders["org/labels"], folders[name])
    classifier = transformers.BertForSequenceClassification
    dead = classifier.from_pretrained(folders["org/dead"])
    # Whatever it is told, it answers the same.
    torch.nn.init.zeros_(dead.classifier.weight)
    dead.save_pretrained(folders["org/dead"])
    whole = transformers.BertForMaskedLM.from_pretrained(folders["org/shards"])
    (folders["org/shards"] / WEIGHTS).unlink()
    whole.save_pretrained(folders["org/shards"], max_shard_size="40KB")
    large = transformers.BertConfig(num_hidden_layers=1, vocab_size=400)
    classifier(large).save_pretrained(folders["org/large"])
    return folders


def write_project(root: Path) -> None:
    """The project's spec with another roster, and what it has installed and compiled."""
    shutil.copytree(PROJECT / "spec", root / "spec")
    header, *_ = (PROJECT / "spec/roster.tsv").read_text().splitlines()
    known = {"tier": "plan", "category": "encoder-only", "source": "transformers", "model_type": "bert"}
    rows = [
        known | {"name": name.partition("/")[2], "checkpoint": name, "priority": priority}
        for name, priority in ROSTER.items()
    ]
    table = [header, *("\t".join(row.get(column, "") for column in header.split("\t")) for row in rows)]
    (root / "spec/roster.tsv").write_text("\n".join(table) + "\n")
    shutil.copy(PROJECT / "Cargo.lock", root)
    (PROJECT / "target/certified").mkdir(exist_ok=True)
    (root / "target").mkdir()
    for shared in (".cargo", ".venv", "target/certified"):
        (root / shared).symlink_to(PROJECT / shared)


@dataclass
class Place:
    """Where the roster is worked through, and what the hub does meanwhile."""

    root: Path
    hub: Hub
    troubles: Troubles

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts the program here, with this hub and no other."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": self.hub.url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        environment |= {"HF_HOME": str(self.root / "home"), "HF_CONFORMANCE_DEVICE": "cpu"}
        return subprocess.Popen(
            [os.environ["HF_CONFORMANCE"], *words],
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def work(self) -> subprocess.Popen[str]:
        """Starts to work through what is critical."""
        return self.start("certify", "--priority", "critical", "--budget", BUDGET)

    def sent(self) -> list[str]:
        """The files that were asked for, in order."""
        return [path for path, _ in self.hub.asked if "/resolve/" in path]

    def left(self) -> list[str]:
        """What is on the disk below the artifacts, but for locks."""
        return [
            path.name
            for path in (self.root / "artifacts").rglob("*")
            if path.is_file() and path.stat().st_size > 200
        ]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A project with a hub beside it."""
    root = tmp_path / "project"
    root.mkdir()
    write_project(root)
    troubles = Troubles()
    with serving_all(write_checkpoints(tmp_path / "hub"), troubles) as hub:
        yield Place(root, hub, troubles)
        troubles.ends.set()


def fates(said: str) -> dict[str, str]:
    """Checkpoint → what the table says became of it."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in said.splitlines()]
    return {name: fate for name, _, _, fate, *_ in (row for row in rows if len(row) > 3) if name in ROSTER}


def test_a_roster_is_worked_through_within_a_budget_and_gone_on_with_after_an_interrupt(place: Place) -> None:
    running = place.work()
    assert place.troubles.stalled.wait(PATIENCE_OF_WORK), "it came to the shards"
    time.sleep(2)  # whatever else is asked for at the same time has come
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=PATIENCE)
    print(said)
    assert running.returncode == INTERRUPTED
    assert fates(said) == {"org/labels": "certified"}
    assert "1 of 6 checkpoints certified" in said and "the same command goes on from there" in said

    place.troubles.stalls = False
    place.troubles.ends.set()
    place.hub.asked.clear()
    running = place.work()
    said, _ = running.communicate(timeout=PATIENCE_OF_WORK)
    print(said)
    assert running.returncode == 1
    assert fates(said) == {
        "org/labels": "certified before",
        "org/shards": "certified",
        "org/gated": "NOT CERTIFIED",
        "org/cut": "NOT CERTIFIED",
        "org/large": "NOT CERTIFIED",
        "org/dead": "NOT CERTIFIED",
    }
    assert "2 of 6 checkpoints certified" in said and "the same command tries the others again" in said
    for why in (
        "org/gated is gated",
        "cannot be reached for org/cut",
        "MiB is the budget",
        "logits is constant",
    ):
        assert why in said, why
    assert place.left() == [], "all but bundles and locks is deleted"
    fetched = {path.rpartition("/")[2] for path in place.sent() if path.startswith("/org/shards/")}
    assert len(fetched) == 1, "what had come before is not asked for again"
    assert not any(path.startswith("/org/labels/") for path in place.sent())

    covered, _ = place.start("coverage").communicate(timeout=PATIENCE_OF_WORK)
    assert "certified checkpoints, critical: 2 of 6: labels, shards" in covered
    assert "certified checkpoints, low: 0 of 1" in covered
