"""The files of an artifact.

In: programs, reference tensors and a manifest. Out: a folder that is there as a whole or not at all.
"""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from .errors import stage
from .job import Json
from .program import DOT, Tensors


@contextmanager
def folder(directory: Path) -> Iterator[Path]:
    """A new folder to write to, which takes the place of `directory` when the block ends well."""
    _sweep(directory)
    partial = partial_path(directory, os.getpid())
    partial.mkdir(parents=True)
    yield partial
    if directory.exists():
        old = partial.with_name(f"{partial.name}-old")
        directory.rename(old)
        partial.rename(directory)
        shutil.rmtree(old)
    else:
        partial.rename(directory)


def partial_path(directory: Path, process: int) -> Path:
    """Where a process writes before the rename."""
    return directory.with_name(f"{directory.name}.partial-{process}")


def _sweep(directory: Path) -> None:
    """Removes what exports of this artifact left behind whose processes were killed."""
    for path in directory.parent.glob(f"{glob.escape(directory.name)}.partial-*"):
        process = int(path.name.removeprefix(f"{directory.name}.partial-").removesuffix("-old"))
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            shutil.rmtree(path)


def save_program(program: torch.jit.ScriptModule, path: Path) -> None:
    """Writes a TorchScript archive.

    Beside `forward` it has a method that returns the buffers, in the order of their names: libtorch lists parameters
    by itself, and buffers to nobody but Python.
    """
    with stage("torch.jit.save"):
        names = sorted((name for name, _ in program.named_buffers()), key=lambda name: name.replace(DOT, "."))
        held = ", ".join(f'getattr(self, "{name}")' for name in names)
        empty = "torch.jit.annotate(List[Tensor], [])"
        program.define(f"def buffer_values(self):\n    return {f'[{held}]' if names else empty}\n")
        torch.jit.save(program, str(path))


def save_tensors(tensors: Tensors, path: Path) -> None:
    """Writes tensors, each with storage of its own (safetensors refuses shared memory)."""
    save_file(
        {name: value.detach().clone().contiguous() for name, value in tensors.items()},
        path,
    )


def save_manifest(manifest: Json, path: Path) -> None:
    """Writes the manifest, with the digests of its neighbours."""
    save_sealed(manifest | {"files": digests(path.parent.iterdir())}, path)


def digests(files: Iterable[Path]) -> dict[str, str]:
    """The sha256 of files, by their names."""
    return {file.name: sha256(file) for file in sorted(files)}


def sha256(file: Path) -> str:
    """The digest of a file of any size."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def save_sealed(facts: Json, path: Path) -> None:
    """Writes facts, and beside them their sha256: they hold the digests of other files, and nothing holds theirs."""
    text = json.dumps(facts, indent=1) + "\n"
    path.write_text(text)
    path.with_name(f"{path.name}.sha256").write_text(hashlib.sha256(text.encode()).hexdigest() + "\n")
