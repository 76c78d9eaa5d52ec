"""Checkpoints from a hub that refuses, stalls, breaks off and sends something else."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from hub_server import COMMIT, REPOSITORY, Answer, serving
from samples import BERT
from transformers import BertConfig, BertModel

from exporter import hub
from exporter.stored import Unusable

SHARD = "model-00001-of-"
# What really waits.
WAIT = time.sleep


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in shards."""
    folder = tmp_path_factory.mktemp("repository")
    BertModel(BertConfig(**BERT)).save_pretrained(folder, max_shard_size="2KB")
    return folder


@pytest.fixture(autouse=True)
def paused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """An empty cache, and the seconds that were waited in no time."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    # What has come is kept by chunks.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 256)
    return seconds


@pytest.fixture
def point(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the hub that is asked."""

    def at(url: str) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(
            huggingface_hub.file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False
        )

    return at


def is_shard(answer: Answer) -> bool:
    """Whether the first shard is to be sent."""
    return SHARD in answer.path and answer.command == "GET"


def cut(answer: Answer) -> bool:
    """Sends the first half of what is left of a shard and hangs up."""
    name = answer.path.rpartition("/")[2]
    content = answer.hub.content(answer.repository, name)
    first = int((answer.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
    answer.send_response(206 if first else 200)
    answer.send_header("Content-Length", str(len(content) - first))
    answer.end_headers()
    answer.wfile.write(content[first : first + (len(content) - first) // 2])
    answer.close_connection = True
    return True


def times(count: int, trouble: Callable[[Answer], bool]) -> Callable[[Answer], bool]:
    """Trouble that ends."""
    left = [count]

    def now(answer: Answer) -> bool:
        if left[0] == 0 or not trouble(answer):
            return False
        left[0] -= 1
        return True

    return now


def fetched(folder: Path) -> Path:
    """The checkpoint as it came, which must be whole."""
    came, commit = hub.folder_of(REPOSITORY, None)
    assert commit == COMMIT
    assert {path.name for path in came.iterdir()} == {path.name for path in folder.iterdir()}
    assert all((came / path.name).read_bytes() == path.read_bytes() for path in folder.iterdir())
    return came


def test_a_repository_in_shards_comes_whole_and_is_asked_for_once(
    folder: Path, point: Callable[[str], None]
) -> None:
    assert len(list(folder.glob("*.safetensors"))) > 1
    with serving(folder) as server:
        point(server.url)
        fetched(folder)
        count = len(server.asked)
        fetched(folder)
        assert not any("resolve" in path for path, _ in server.asked[count:])


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [
        (401, "GatedRepo", "org/model is gated: its owner has to let you in"),
        (403, "GatedRepo", "org/model is gated: its owner has to let you in"),
        (404, "RepoNotFound", "there is neither a folder nor a hub repository org/model"),
        (404, "RevisionNotFound", "org/model has no revision None"),
    ],
)
def test_a_refusal_is_told_and_not_tried_again(
    status: int, code: str, why: str, folder: Path, point: Callable[[str], None], paused: list[float]
) -> None:
    with serving(folder, lambda answer: answer.refuse(status, X_Error_Code=code)) as server:
        point(server.url)
        with pytest.raises(Unusable) as told:
            hub.folder_of(REPOSITORY, None)
    assert (told.value.why, paused) == (why, [])


def test_what_is_larger_than_the_budget_or_the_disk_is_not_fetched(
    folder: Path, point: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(folder) as server:
        point(server.url)
        with pytest.raises(Unusable, match=r"org/model takes \d\.\d KiB, and 2\.0 KiB is the budget"):
            hub.folder_of(REPOSITORY, None, 2**-19)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9))
        with pytest.raises(Unusable, match=r"org/model takes \d\.\d KiB, and 0\.0 KiB are free"):
            hub.folder_of(REPOSITORY, None)
        assert not any("resolve" in path for path, _ in server.asked)


def test_a_busy_hub_is_asked_again_when_it_says(
    folder: Path, point: Callable[[str], None], paused: list[float]
) -> None:
    busy = times(2, lambda answer: answer.refuse(429, Retry_After="7") if "/api/" in answer.path else False)
    with serving(folder, busy) as server:
        point(server.url)
        fetched(folder)
    assert paused == [7.0, 7.0]


def test_a_hub_that_stays_out_of_order_is_asked_a_few_times(
    folder: Path, point: Callable[[str], None], paused: list[float]
) -> None:
    with serving(folder, lambda answer: answer.refuse(503)) as server:
        point(server.url)
        with pytest.raises(Unusable, match=r"the hub refused org/model: .*503"):
            hub.folder_of(REPOSITORY, None)
        assert len(server.asked) == hub.TRIES
    assert paused == [1.0, 2.0, 4.0]


def test_a_hub_that_is_not_there_is_told(point: Callable[[str], None]) -> None:
    point("http://127.0.0.1:9")
    with pytest.raises(Unusable, match="the hub cannot be reached for org/model") as told:
        hub.folder_of(REPOSITORY, None)
    assert "HF_ENDPOINT" in told.value.advice


def test_a_connection_that_breaks_goes_on_where_it_broke(folder: Path, point: Callable[[str], None]) -> None:
    with serving(folder, times(2, lambda answer: is_shard(answer) and cut(answer))) as server:
        point(server.url)
        fetched(folder)
        resumed = [first for path, first in server.asked if SHARD in path and first]
        assert len(resumed) == 2


def test_a_connection_that_always_breaks_ends_with_a_word_and_leaves_nothing_half(
    folder: Path, point: Callable[[str], None]
) -> None:
    def hang_up(answer: Answer) -> bool:
        if is_shard(answer):
            answer.close_connection = True
        return is_shard(answer)

    with serving(folder, hang_up) as server:
        point(server.url)
        with pytest.raises(Unusable, match="the hub cannot be reached for org/model"):
            hub.folder_of(REPOSITORY, None)
    with serving(folder) as server:
        point(server.url)
        fetched(folder)


@pytest.mark.parametrize("name", [SHARD, "config.json"])
def test_a_file_that_comes_otherwise_is_told_and_the_cache_does_not_keep_it(
    name: str, folder: Path, point: Callable[[str], None]
) -> None:
    spoilt = next(path for path in folder.iterdir() if path.name.startswith(name))
    content = spoilt.read_bytes()
    with serving(folder) as server:
        point(server.url)
        server.spoilt[spoilt.name] = content[:-2] + b"\0" + content[-1:]
        with pytest.raises(Unusable, match=f"{spoilt.name} came otherwise than org/model has it"):
            hub.folder_of(REPOSITORY, None)
        server.spoilt.clear()
        fetched(folder)


def test_a_slow_hub_is_waited_for(folder: Path, point: Callable[[str], None]) -> None:
    def drip(answer: Answer) -> bool:
        if not is_shard(answer):
            return False
        content = answer.hub.content(answer.repository, answer.path.rpartition("/")[2])
        answer.send_response(200)
        answer.send_header("Content-Length", str(len(content)))
        answer.end_headers()
        for start in range(0, len(content), len(content) // 4):
            answer.wfile.write(content[start : start + len(content) // 4])
            answer.wfile.flush()
            WAIT(0.1)
        return True

    with serving(folder, drip) as server:
        point(server.url)
        fetched(folder)
