"""A hub on the loopback: folders as repositories, and what may go wrong on the way.

It speaks as much of the hub's API as fetching a snapshot takes: the description of a repository with the digest of each
file, and the files, whole or from a byte on.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from exporter.job import Json

REPOSITORY = "org/model"
API = "/api/models/"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Files from so many bytes on have a sha256, as those that git keeps elsewhere; smaller ones have git's own digest.
LARGE = 1000
# What is said of those besides, and nobody reads.
BESIDE = {"size": 0, "pointerSize": 0}


class Answer(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> "Hub":
        """Whose answer it is."""
        assert isinstance(self.server, Hub)
        return self.server

    def do_GET(self) -> None:
        """Describes the repository, or sends a file."""
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        """The same without a body."""
        self.answer(with_body=False)

    def answer(self, with_body: bool) -> None:
        """Goes wrong if it is to, else serves."""
        self.hub.asked.append((self.path, self.headers.get("Range")))
        if self.hub.trouble(self):
            return
        if self.repository not in self.hub.repositories:
            self.refuse(404, X_Error_Code="RepoNotFound")
        elif not self.path.startswith(API):
            self.file(with_body)
        else:
            told = self.hub.tree if "/tree/" in self.path else self.hub.description
            self.send(json.dumps(told(self.repository)).encode(), {}, with_body)

    @property
    def repository(self) -> str:
        """The repository that is asked for."""
        return "/".join(self.path.removeprefix(API).partition("?")[0].strip("/").split("/")[:2])

    def file(self, with_body: bool) -> None:
        """A file of the commit, from the byte on that is asked for."""
        name = self.path.partition(f"/resolve/{COMMIT}/")[2]
        content = self.hub.content(self.repository, name)
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        own = (self.hub.repositories[self.repository] / name).read_bytes()
        about = {"ETag": f'"{digest(own)}"', "X-Repo-Commit": COMMIT}
        if first:
            about["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.send(content[first:], about, with_body, 206 if first else 200)

    def send(self, body: bytes, about: dict[str, str], with_body: bool, status: int = 200) -> None:
        """An answer."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **about}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def refuse(self, status: int, **about: str) -> bool:
        """An answer that is none."""
        headers = {name.replace("_", "-"): value for name, value in about.items()}
        self.send(b"{}", headers, self.command == "GET", status)
        return True

    def log_message(self, format: str, *args: object) -> None:
        """Prints nothing."""


def digest(content: bytes) -> str:
    """As a hub names what a file holds."""
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Hub(ThreadingHTTPServer):
    """Serves folders, each by the name of a repository."""

    daemon_threads = True

    def __init__(self, repositories: dict[str, Path], trouble: Callable[[Answer], bool]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories, self.trouble = repositories, trouble
        self.asked: list[tuple[str, str | None]] = []
        # Files that are sent otherwise than they are described.
        self.spoilt: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    def content(self, repository: str, name: str) -> bytes:
        """What is sent of a file."""
        return self.spoilt.get(name, (self.repositories[repository] / name).read_bytes())

    def description(self, repository: str) -> Json:
        """A repository and its files."""
        files = [
            {"rfilename": path.name, "size": len(content), "blobId": digest(content)}
            | ({"lfs": {"sha256": digest(content), **BESIDE}} if len(content) >= LARGE else {})
            for path, content in self._files(repository)
        ]
        return {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": files}

    def tree(self, repository: str) -> list[Json]:
        """The same files, as a folder lists them."""
        return [
            {"type": "file", "path": path.name, "size": len(content), "oid": digest(content)}
            | ({"lfs": {"oid": digest(content), **BESIDE}} if len(content) >= LARGE else {})
            for path, content in self._files(repository)
        ]

    def _files(self, repository: str) -> list[tuple[Path, bytes]]:
        return [(path, path.read_bytes()) for path in sorted(self.repositories[repository].iterdir())]


Trouble = Callable[[Answer], bool]


def serving(folder: Path, trouble: Trouble = lambda _: False) -> AbstractContextManager[Hub]:
    """A hub of one repository while it is needed."""
    return serving_all({REPOSITORY: folder}, trouble)


@contextmanager
def serving_all(repositories: dict[str, Path], trouble: Trouble) -> Iterator[Hub]:
    """A hub while it is needed."""
    with Hub(repositories, trouble) as hub:
        Thread(target=hub.serve_forever, args=(0.02,), daemon=True).start()
        yield hub
        hub.shutdown()
