"""Where the files of a checkpoint are: in a folder, or first to be fetched from a hub.

In: a folder or a hub id. Out: a folder; one from a hub is in the cache that transformers has too, and every file in it
is what the hub says it is. Or an `Unusable` that says what went wrong and what to do about it.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

import httpx
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling

from .artifact import sha256
from .errors import reason
from .stored import CONFIG, DESCRIBED, Unusable

# How often a hub is asked that is busy or cannot be reached.
TRIES = 4
# Seconds before the second try where the hub names none, twice as many before each later one; and the most that it
# may name.
PAUSE, PAUSE_MOST = 1.0, 60.0
GIB = 1 << 30
UNITS = {"GiB": GIB, "MiB": 1 << 20, "KiB": 1 << 10}
# The same model for other engines.
UNWANTED = "onnx/"
# What it answers while another try may help.
BUSY = {408, 429, 500, 502, 503, 504}

Answer = TypeVar("Answer")


def folder_of(checkpoint: str, revision: str | None, budget: float | None = None) -> tuple[Path, str | None]:
    """The folder that has the checkpoint's files, and the commit that they are of where they come from a hub.

    Those may take so many GiB as there is budget for.
    """
    path = Path(checkpoint)
    if path.is_dir():
        if revision:
            raise Unusable(f"{checkpoint} is a folder and has no revision", "leave --revision out")
        return path, None
    if path.is_file():
        raise Unusable(
            f"{checkpoint} is a file, neither a folder with a {CONFIG} nor GGUF",
            "name the folder that `save_pretrained` wrote, or a GGUF file",
        )
    if checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1:
        raise Unusable(f"there is no folder {checkpoint}", "look at the spelling of the path")
    return _downloaded(checkpoint, revision, budget)


def _downloaded(repository: str, revision: str | None, budget: float | None) -> tuple[Path, str | None]:
    """The folder with the repository's descriptions, and weights of one kind, and the commit that they are of."""
    try:
        found = _patiently(lambda: HfApi().model_info(repository, revision=revision, files_metadata=True))
        files = found.siblings or []
        is_safe = any(file.rfilename.endswith(".safetensors") and "/" not in file.rfilename for file in files)
        wanted = [*DESCRIBED, "*.safetensors" if is_safe else "pytorch_model*.bin"]
        files = [
            file
            for file in files
            if any(fnmatch(file.rfilename, pattern) for pattern in wanted)
            and not file.rfilename.startswith(UNWANTED)
        ]
        _fits(repository, sum(file.size or 0 for file in files), budget)
        names = [file.rfilename for file in files]
        folder = _patiently(lambda: snapshot_download(repository, revision=found.sha, allow_patterns=names))
    except GatedRepoError as error:
        raise Unusable(
            f"{repository} is gated: its owner has to let you in",
            f"ask for access on its page, then put a token into HF_TOKEN or run: hf auth login ({reason(error)})",
        ) from error
    except RevisionNotFoundError as error:
        raise Unusable(f"{repository} has no revision {revision!r}", "look for it on its page") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise Unusable(
            f"there is neither a folder nor a hub repository {repository}",
            "look at the spelling; a private repository needs a token in HF_TOKEN",
        ) from error
    except HfHubHTTPError as error:
        raise Unusable(
            f"the hub refused {repository}: {reason(error)}", "try again later; what has come is kept"
        ) from error
    except (OSError, httpx.TransportError) as error:
        raise Unusable(
            f"the hub cannot be reached for {repository}: {reason(error)}",
            "look at the network and at HF_ENDPOINT, or name a folder; what has come is kept",
        ) from error
    _as_promised(Path(folder), files, repository)
    return Path(folder), found.sha


def _fits(repository: str, size: int, budget: float | None) -> None:
    """Whether so many bytes may be fetched, and have a place."""
    cache = Path(constants.HF_HUB_CACHE)
    # The cache is made when it is first used.
    there = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    takes = f"{repository} takes {_told(size)}"
    if budget is not None and size > budget * GIB:
        raise Unusable(f"{takes}, and {_told(budget * GIB)} is the budget", "give it more: --budget GIB")
    if size > free:
        raise Unusable(
            f"{takes}, and {_told(free)} are free",
            f"make room in {there}, or name another folder in HF_HUB_CACHE",
        )


def _told(size: float) -> str:
    """So many bytes, in the largest unit of which they are one."""
    unit = next((unit for unit, of in UNITS.items() if size >= of), "KiB")
    return f"{size / UNITS[unit]:.1f} {unit}"


def _patiently(ask: Callable[[], Answer]) -> Answer:
    """The answer of a hub that may be busy: asked a few times."""
    for tried in range(1, TRIES):
        try:
            return ask()
        except (HfHubHTTPError, httpx.TransportError) as error:
            pause = _pause(error, tried)
            if pause is None:
                raise
            time.sleep(pause)
    return ask()


def _pause(error: HfHubHTTPError | httpx.TransportError, tried: int) -> float | None:
    """Seconds to wait before the next try; None where none would help."""
    usual = PAUSE * 2 ** (tried - 1)
    if isinstance(error, httpx.TransportError):
        return usual
    if error.response.status_code not in BUSY:
        return None
    asked = error.response.headers.get("Retry-After", "")
    return min(float(asked), PAUSE_MOST) if asked.isdigit() else usual


def _as_promised(folder: Path, files: Iterable[RepoSibling], repository: str) -> None:
    """Whether each file has the digest that the hub has of it; the cache keeps none that has another."""
    for file in files:
        path = folder / file.rfilename
        if not path.is_file() or _digest(path, file) in (file.lfs and file.lfs.sha256, file.blob_id):
            continue
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise Unusable(
            f"{file.rfilename} came otherwise than {repository} has it: its digest differs",
            "run the command again; the file was taken out of the cache",
        )


def _digest(path: Path, file: RepoSibling) -> str:
    """As the hub counts it: sha256 of a large file, git's blob id of a small one."""
    if file.lfs:
        return sha256(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
