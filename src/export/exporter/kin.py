"""Which entries an architecture is like.

In: a class, or a config. Out: entries by their code: those of folders of transformers' models that the class's code
inherits from or copies, most used first, then those whose forward takes the same; entries that say the same sizes.
"""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import transformers

from .job import Json
from .model import Config, default_config
from .overrides import at, paths

# Names that two classes' forwards share, of all that either has, for one to be like the other.
ALIKE = 0.75
TAKEN = re.compile(r"(\w+)\s*:")
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


@cache
def taken(class_name: str) -> frozenset[str]:
    """The names that a class's forward takes, without importing it; none where its file has no forward of its own."""
    module = vars(transformers)["_class_to_module"].get(class_name)
    path = Path(transformers.__file__).parent.joinpath(*(module or "none").split(".")).with_suffix(".py")
    text = _text(path)
    start = text.find(f"\nclass {class_name}(")
    end = text.find("\nclass ", start + 1)
    body = text[start : end if end > 0 else None] if start >= 0 else ""
    _, _, arguments = body.partition("def forward(")
    return frozenset(TAKEN.findall(arguments.partition("\n    ) ->")[0].partition('"""')[0]))


@cache
def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def entries_by_code(class_name: str, entries: list[Json]) -> list[Json]:
    """Entries by their code: the same, what it was written from, what was written from it."""
    folder = folder_of(class_name)
    near = {name: rank for rank, name in enumerate([folder, *sources(folder)])} if folder else {}

    def rank(entry: Json) -> int | None:
        other = folder_of(entry["class"])
        if other is None:
            return None
        return near.get(other, len(near) if folder in sources(other) else None)

    kin = [(found, entry) for entry in entries if (found := rank(entry)) is not None]
    ranked = sorted(kin, key=lambda one: (one[0], -_alike(class_name, one[1]["class"])))
    return [entry for _, entry in ranked]


def entries_like(class_name: str, entries: list[Json]) -> list[Json]:
    """Entries by their code, then those whose forward takes much the same."""
    near = entries_by_code(class_name, entries)
    others = [entry for entry in entries if entry not in near]
    shares = [(_alike(class_name, entry["class"]), entry) for entry in others]
    alike = sorted((one for one in shares if one[0] >= ALIKE), key=lambda one: -one[0])
    return near + [entry for _, entry in alike]


def _alike(one: str, other: str) -> float:
    """The share of what two classes' forwards take that both do."""
    names, others = taken(one), taken(other)
    return len(names & others) / max(len(names | others), 1)


def parts_of(class_name: str, said: Json, entries: list[Json]) -> Json:
    """What entries say of configs that a class's config is made of, as far as nothing is said of those."""
    parts = vars(default_config(getattr(transformers, class_name).config_class))
    free = {name: type(part) for name, part in parts.items() if isinstance(part, Config) and name not in said}
    known = {name: _said_of(part, entries) for name, part in free.items()}
    return {name: said for name, said in known.items() if said}


def _said_of(part: type[Config], entries: list[Json]) -> Json:
    """What the first entry says that runs such a config, or has it as a part."""
    folder = part.__module__.split(".")[-2]
    for entry in (entry for entry in entries if folder_of(entry["class"]) == folder):
        own, said = getattr(transformers, entry["class"]).config_class, entry["base"]["config"]
        if own is part:
            return said
        inner = (said[name] for name, sub in own.sub_configs.items() if sub is part and said.get(name))
        if found := next(inner, None):
            return found
    return {}


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
