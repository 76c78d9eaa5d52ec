"""Which architectures an architecture's code was written from.

In: a class, or a config. Out: the folders of transformers' models that the class's code inherits from or copies, most
used first, and entries of such code; entries that say the same sizes.
"""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import transformers

from .job import Json
from .overrides import at, paths

SOURCES = re.compile(r"^from \.\.(\w+)\.\w+ import|Copied from transformers\.models\.(\w+)\.", re.MULTILINE)


def folder_of(class_name: str) -> str | None:
    """The folder of a class, without importing it."""
    module = vars(transformers)["_class_to_module"].get(class_name, "").split(".")
    return module[-2] if module[0] == "models" else None


@cache
def sources(folder: str) -> list[str]:
    """Folders that the code of a folder names, most used first; `auto` builds whatever it is told to."""
    path = Path(transformers.__file__).parent / "models" / folder
    texts = [file.read_text() for kind in ("modular", "modeling") for file in path.glob(f"{kind}_*.py")]
    named = Counter(a or b for text in texts for a, b in SOURCES.findall(text))
    return [name for name, _ in named.most_common() if name not in (folder, "auto")]


def entries_like(class_name: str, task: str, entries: list[Json]) -> list[Json]:
    """Entries of a task by their code: the same, what it was written from, what was written from it."""
    folder = folder_of(class_name)
    near = {name: rank for rank, name in enumerate([folder, *sources(folder)])} if folder else {}

    def rank(entry: Json) -> int | None:
        other = folder_of(entry["class"])
        if other is None:
            return None
        return near.get(other, len(near) if folder in sources(other) else None)

    kin = [
        (found, entry) for entry in entries if entry["task"] == task and (found := rank(entry)) is not None
    ]
    return [entry for _, entry in sorted(kin, key=lambda one: one[0])]


def entries_sized_like(config: Json, task: str, usual: Json, entries: list[Json]) -> list[Json]:
    """Entries of a task whose config says the most of what a config says over the usual one, and little else."""
    wanted = {path: at(config, path) for path in paths(config)}

    def saved(entry: Json) -> int:
        own = entry["base"]["config"]
        said = {path: at(own, path) for path in paths(own)}
        alike = [path for path, value in wanted.items() if said.get(path) == value]
        other = [path for path, value in said.items() if path not in wanted and value != at(usual, path)]
        return sum(len(path[-1]) for path in alike) - sum(len(path[-1]) for path in other)

    alike = [(saved(entry), entry) for entry in entries if entry["task"] == task]
    ranked = sorted(((score, entry) for score, entry in alike if score > 0), key=lambda one: -one[0])
    return [entry for _, entry in ranked]
