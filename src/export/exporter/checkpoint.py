"""What a checkpoint is: `python -m exporter.checkpoint`.

In: `{"checkpoint", "revision", "task", "source", "scratch", "dims", "entries": [{"name", "class", "task"}]}` on stdin.
Out: one JSON object: `{"found": …}`, all that an entry for it needs, or `{"refused": …, "advice": …}`. The weights are
loaded once, by the class that the config names and no other: what that class lacks or has too many is told.
"""

import inspect
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from . import find, hub, kin, package, processed, stored, unpacked
from .__main__ import own_stdout
from .errors import nearest, reason
from .job import Json, Source
from .model import Config, _attribute
from .sentence import MODULES, embedding_of
from .stored import Unusable

# The task of a model without a head.
TRUNK = "feature-extraction"
# Where a config says how many positions its model has, unless its embeddings of positions say it.
POSITIONS = (
    "max_position_embeddings",
    "max_target_positions",
    "n_positions",
    "max_sequence_length",
    "text_config.max_position_embeddings",
)
# Where it says how large a picture must be.
PICTURES = ("image_size", "vision_config.image_size")


@dataclass
class Found:
    """A checkpoint: where it is, the class that it is of, and what its config decides."""

    checkpoint: str
    # Where all its files are, and where those of the model itself.
    root: str
    folder: str
    revision: str | None
    model_type: str
    class_name: str
    task: str
    # The entry of the spec whose inputs and reasons are taken over.
    near: str
    # Keywords of the class's forward.
    takes: list[str]
    dims: dict[str, int]
    # The most positions that there are; none where nothing says so.
    positions: int | None
    image: int | None
    # Pooling and normalisation of a sentence-transformers folder.
    embedding: Json | None
    # What makes its inputs of pictures or sounds, by its numbers.
    preprocessor: Json | None
    # Elements of all parameters, a shared one once, and of the largest.
    parameters: int
    largest: int
    # Weights of the checkpoint that the class has no place for.
    unexpected: list[str]
    reasons: list[str] = field(default_factory=list)
    # File → sha256, weights and all that describes them.
    files: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Answers the one request."""
    answers = own_stdout()
    print(json.dumps(answer(json.load(sys.stdin))), file=answers, flush=True)


def answer(request: Json) -> Json:
    """What the checkpoint is, or why nothing can be proved of it."""
    try:
        return {"found": asdict(examine(request))}
    except Unusable as unusable:
        return {"refused": unusable.why, "advice": unusable.advice}


def examine(request: Json) -> Found:
    """Finds out what a checkpoint is, by its files, its config and its weights, in this order."""
    source = Source(**request["source"])
    if source.package != transformers.__name__:
        package.adopt(source)
    packed = unpacked.is_packed(request["checkpoint"])
    root, revision = _root(request, packed)
    folder, embedding = embedding_of(root)
    config = stored.config_of(folder)
    model_type = _model_type(config)
    class_name, reasons = (
        _trunk(config, model_type) if embedding else _class(config, model_type, request["task"])
    )
    task, why = _task(class_name, request)
    near, nearness = _near(class_name, task, request["entries"])
    files = stored.weight_files(folder)
    model, unexpected = _loaded(folder, class_name)
    counts = [parameter.numel() for parameter in model.parameters()]
    digests = stored.digests(iter([*([] if packed else files), *stored.descriptions(root)]), root)
    if packed:
        file = Path(request["checkpoint"])
        digests |= stored.digests(iter([file]), file.parent)
    return Found(
        checkpoint=request["checkpoint"],
        root=str(root.resolve()),
        folder=str(folder.resolve()),
        revision=revision,
        model_type=model_type,
        class_name=class_name,
        task=task,
        near=near,
        takes=list(inspect.signature(model.forward).parameters),
        dims=_dims(model.config, request["dims"]),
        positions=_positions(model),
        image=_first(model.config, PICTURES),
        embedding=embedding,
        preprocessor=processed.numbers(folder),
        parameters=sum(counts),
        largest=max(counts, default=0),
        unexpected=unexpected,
        reasons=[*reasons, why, nearness],
        files=digests,
    )


def _root(request: Json, packed: bool) -> tuple[Path, str | None]:
    """The folder that has the checkpoint's files, unpacked where it is one file; and the commit that they are of."""
    if packed and request["revision"] is None:
        return unpacked.unpack(Path(request["checkpoint"]), Path(request["scratch"])), None
    return hub.folder_of(request["checkpoint"], request["revision"], request["budget"])


def _model_type(config: Json) -> str:
    said = config.get("model_type") or ""
    if said in transformers.CONFIG_MAPPING:
        return said
    version = transformers.__version__
    if not said:
        raise Unusable(
            "config.json names no model_type", "write the architecture's into it, as transformers spells it"
        )
    raise Unusable(
        f"transformers {version} has no model type {said!r}{nearest(said, transformers.CONFIG_MAPPING)}",
        "look at the transformers release that the checkpoint was saved with: it may be newer, or have code of its own",
    )


def _class(config: Json, model_type: str, task: str | None) -> tuple[str, list[str]]:
    """The class that the config names; where it names several, the one for the task that was asked for."""
    names = config.get("architectures") or []
    if not names:
        return _unnamed(model_type, task)
    for name in names:
        _exists(name, model_type)
    fitting = [name for name in names if task is None or task in _tasks(name)]
    if len(fitting) == 1:
        return fitting[0], [f"class {fitting[0]}: config.json names it under architectures"]
    if not fitting:
        raise Unusable(
            f"config.json names {' and '.join(names)}, which {'is' if len(names) == 1 else 'are'} not for {task}",
            f"leave --task out, or name one of: {', '.join(sorted({t for name in names for t in _tasks(name)}))}",
        )
    raise Unusable(
        f"config.json names several architectures: {', '.join(names)}",
        "say which by --task: " + ", ".join(f"{name} is for {' or '.join(_tasks(name))}" for name in fitting),
    )


def _trunk(config: Json, model_type: str) -> tuple[str, list[str]]:
    """The class that sentence-transformers makes of a config, whatever head that names."""
    names = find.classes(model_type, TRUNK)
    if not names:
        raise Unusable(
            f"{model_type} has no class without a head, which sentence-transformers would load",
            f"take {MODULES} out of the folder to certify the class that config.json names",
        )
    said = config.get("architectures") or []
    other = "" if names[0] in said else f"; config.json names {' and '.join(said) or 'none'}"
    return names[0], [f"class {names[0]}: sentence-transformers takes the model without a head{other}"]


def _unnamed(model_type: str, task: str | None) -> tuple[str, list[str]]:
    """The usual class for a task that was asked for: nothing else may be guessed."""
    usual = {other: names[0] for other in find.MAPPINGS if (names := find.classes(model_type, other))}
    if task not in usual:
        raise Unusable(
            "config.json names no class under architectures"
            + (f", and {model_type} has none for {task}" if task else ""),
            f"say what it is for by --task: {', '.join(usual)}",
        )
    return usual[task], [
        f"class {usual[task]}: config.json names none; it is the usual one for --task {task}"
    ]


def _exists(name: str, model_type: str) -> None:
    """Whether transformers has the class, and for this architecture."""
    found = getattr(transformers, name, None)
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        known = [other for other in dir(transformers) if other[0].isupper()]
        raise Unusable(
            f"transformers {transformers.__version__} has no model class {name!r}{nearest(name, known)}",
            "write the class that the weights are of under architectures in config.json",
        )
    own = getattr(getattr(found, "config_class", None), "model_type", None)
    if own != model_type:
        raise Unusable(
            f"config.json is of model type {model_type}, and its class {name} is of {own}",
            "make model_type and architectures in config.json agree",
        )


def _tasks(name: str) -> list[str]:
    """The tasks of a class, in the order in which architectures are known for them; a trunk's is to find features."""
    own = find.tasks(name)
    named = [task for task in find.MAPPINGS if task in own]
    if named:
        return named
    model_type = getattr(transformers, name).config_class.model_type
    return [task for task in (TRUNK, "image-feature-extraction") if name in find.classes(model_type, task)]


def _task(name: str, request: Json) -> tuple[str, str]:
    """The task that was asked for, or else the one of the class's own entry, or else its first."""
    tasks = _tasks(name)
    entries = [entry["task"] for entry in request["entries"] if entry["class"] == name]
    if request["task"]:
        return request["task"], f"task {request['task']}: as asked for"
    if entries:
        return entries[0], f"task {entries[0]}: the entry of {name} says so"
    if not tasks:
        raise Unusable(
            f"{name} is no class of a task: nothing says what goes in and what comes out",
            "name a class with a head, or the model's trunk, under architectures in config.json",
        )
    return tasks[0], f"task {tasks[0]}: {name} is an auto model of it"


def _near(name: str, task: str, entries: list[Json]) -> tuple[str, str]:
    """The entry to take inputs from: of the same class, the same architecture, or else the nearest code."""
    folder = kin.folder_of(name)
    own = [entry for entry in entries if kin.folder_of(entry["class"]) == folder]
    ranked = [
        *((entry, f"runs {name} too") for entry in own if entry["class"] == name and entry["task"] == task),
        *((entry, f"is {folder} for {task}") for entry in own if entry["task"] == task),
        *((entry, f"is {folder} for {entry['task']}") for entry in own),
        *(
            (entry, f"has the nearest code for {task}")
            for entry in kin.entries_by_code(name, entries)
            if entry["task"] == task
        ),
    ]
    if not ranked:
        raise Unusable(
            f"no entry of the spec is of {folder}, nor near it for {task}",
            f"add one first: just add {folder}",
        )
    entry, why = ranked[0]
    return entry["name"], f"inputs as of the entry {entry['name']}: it {why}"


def _loaded(folder: Path, name: str) -> tuple[transformers.PreTrainedModel, list[str]]:
    """The model with all its weights, and the names of those that it has no place for."""
    try:
        model, info = getattr(transformers, name).from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except Exception as error:
        raise Unusable(
            f"{name} does not load these weights: {reason(error)}",
            "load it by from_pretrained in Python first: the whole error is there",
        ) from error
    wrong = sorted(info["mismatched_keys"])
    if wrong:
        key, stored_shape, own = wrong[0]
        raise Unusable(
            f"{len(wrong)} of the weights have other shapes than config.json makes {name}, first {key}: "
            f"{list(stored_shape)} stored, {list(own)} wanted",
            "use the config.json that the weights were saved with",
        )
    missing, unexpected = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    if missing:
        raise Unusable(
            f"the checkpoint lacks {len(missing)} of the weights of {name}, first {missing[0]}",
            "name the class that the weights are of under architectures in config.json, or save the whole model again"
            + (f"; stored and without a place is {unexpected[0]}" if unexpected else ""),
        )
    return model, unexpected


def _positions(model: nn.Module) -> int | None:
    """How many positions a row may have: RoBERTa and its kin count past the id of the padding."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - offset
    config: Any = model.config
    return _first(config, POSITIONS)


def _dims(config: Config, dims: dict[str, list[str]]) -> dict[str, int]:
    sizes = {name: _first(config, paths) for name, paths in dims.items()}
    return {name: size for name, size in sizes.items() if size is not None}


def _first(config: Config, paths: Any) -> int | None:
    values = (_attribute(config, path) for path in paths)
    return next((value for value in values if type(value) is int), None)


if __name__ == "__main__":
    main()
