"""What only Python can say about spec entries: `python -m exporter.validate`.

In: `{"source": …, "entries": [{"model", "class", "task", "config"}]}` on stdin. Out: a JSON object a line for every
fault, `{"model", "key", "message"}`; `key` is the path of the value at fault: `class`, `task`, `config.text_config.x`.
"""

import json
import sys
from collections.abc import Container, Iterator

import transformers

from . import foreign, package
from .__main__ import own_stdout
from .errors import ExportError, nearest
from .find import MAPPINGS, classes, tasks
from .job import Json, Source
from .model import Config, _checked, _inner, _needs_parts, default_config, find_class
from .overrides import UNFIT


def main() -> None:
    """Judges every entry."""
    events = own_stdout()
    request = json.load(sys.stdin)
    source = Source(**request["source"])
    for entry in request["entries"]:
        for key, message in faults(source, entry):
            fault = {"model": entry["model"], "key": key, "message": message}
            print(json.dumps(fault), file=events, flush=True)


def faults(source: Source, entry: Json) -> Iterator[tuple[str, str]]:
    """Where an entry is wrong, and why."""
    name, task = entry["class"], entry["task"]
    try:
        found = find_class(source, name)
    except ExportError as error:
        yield "class", str(error)
        return
    if source.package != transformers.__name__:
        if foreign.is_foreign(found):
            yield from _foreign(source, found, entry["config"])
            return
        package.adopt(source)
    config_class = getattr(found, "config_class", None)
    if config_class is None:
        others = [known for known in dir(transformers) if known[0].isupper() and known != name]
        yield (
            "class",
            f"transformers {transformers.__version__} has no model class '{name}'{nearest(name, others)}",
        )
        return
    own = tasks(name)
    if own and MAPPINGS.get(task) and task not in own:
        better = classes(config_class.model_type, task)
        hint = f"; its class for {task} is {' or '.join(better)}" if better else ""
        yield "task", f"{name} is the auto model of {', '.join(sorted(own))}, not of {task}{hint}"
    declared = vars(config_class)
    try:
        if _needs_parts(config_class):
            default, declared = Config(), getattr(config_class, "__dataclass_fields__", {})
        else:
            default = default_config(config_class)
    except UNFIT as error:
        yield "class", f"{config_class.__name__} cannot be made: {error}"
        return
    yield from unknown(default, entry["config"], "config", declared)


def _foreign(source: Source, found: type, config: Json) -> Iterator[tuple[str, str]]:
    """Other packages have no auto models to compare with, but classes that know their keys."""
    for name in config:
        try:
            foreign.check_key(found, source, name)
        except ExportError as error:
            yield f"config.{name}", str(error)


def unknown(
    default: Config, config: Json, path: str, declared: Container[str] = ()
) -> Iterator[tuple[str, str]]:
    """Keys of a config that its class does not know, as the exporter sees it."""
    for name, value in config.items():
        try:
            inner = _inner(vars(default).get(name), value)
        except ValueError:
            wrong = value["model_type"]
            hint = nearest(wrong, transformers.CONFIG_MAPPING)
            yield f"{path}.{name}.model_type", f"there is no model type {wrong!r}{hint}"
            continue
        shallow = value if inner is None else {"model_type": inner.model_type}
        try:
            _checked(default, {name: shallow}, declared)
        except ExportError as error:
            yield f"{path}.{name}", str(error)
        else:
            if inner is not None:
                yield from unknown(inner, value, f"{path}.{name}")


if __name__ == "__main__":
    main()
