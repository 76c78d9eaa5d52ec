"""Config overrides as data, and the fewest that make a class's config tiny.

In: a class, and what the spec says already. Out: overrides, each with its reason.
"""

import re
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError

from .errors import ExportError
from .job import Json
from .model import Config, _configure, _needs_parts, default_config
from .shrink import drops, listed, shrink, unsaid

# What config classes raise at values that they do not take.
UNFIT = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ExportError,
    LookupError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
# A size that only widens layers: where no parameter's shape depends on it, the class does not use it.
WIDTH = re.compile(r"(_dims?|(?<!vocab)_size|_channels|_width|_layers|codevectors?_.*)$")
# Counts of layers that add up to all: none of them goes without the others.
SECTION = re.compile(r"^n_\w+_layers$")
SHOWN_MAX = 60


def fewest(class_name: str, said: Json) -> tuple[Json, list[str]]:
    """The smallest set of overrides on what is said that makes the tiny config, and why each is there."""
    model_class = getattr(transformers, class_name)
    config_class = model_class.config_class
    if _needs_parts(config_class):
        raise ExportError(f"{config_class.__name__} has no default: copy an entry that names its parts")
    default = default_config(config_class)
    nulls = drops(default, said)
    kept = merged(said, nulls)
    over = shrink(default, kept)
    sizes = shapes(model_class, merged(kept, over))
    if sizes is None:
        over = _completed(model_class, kept, over)
        sizes = shapes(model_class, merged(kept, over))
    target = listed(_configure(config_class, merged(kept, over)).to_dict())
    for path in list(paths(over)):
        fewer = less(over, path)
        without = merged(kept, fewer)
        width = WIDTH.search(path[-1]) and not SECTION.search(path[-1])
        unused = sizes and width and sizes == shapes(model_class, without)
        if unused or target == _as_json(config_class, without):
            over = fewer
    name = config_class.__name__
    reasons = [
        f"config {'.'.join(path)}: {_at(default, path)} in {name}, shrunk to {_at(over, path)}"
        for path in paths(over)
    ]
    reasons += [f"config {'.'.join(path)}: {name} has none" for path in paths(nulls)]
    return _with_nulls(over, nulls), reasons


def _completed(model_class: Any, kept: Json, over: Json) -> Json:
    """The overrides, with the fewest sizes that the class cannot be built without and its config leaves open."""
    config = merged(kept, over)
    open_sizes = unsaid(_configure(model_class.config_class, config))
    if not open_sizes or shapes(model_class, merged(config, open_sizes)) is None:
        return over
    for path in list(paths(open_sizes)):
        fewer = less(open_sizes, path)
        if shapes(model_class, merged(config, fewer)) is not None:
            open_sizes = fewer
    return merged(over, open_sizes)


def _as_json(config_class: type[Config], config: Json) -> Json | None:
    """The config as its class completes it; None where the class does not take it."""
    try:
        return listed(_configure(config_class, config).to_dict())
    except UNFIT:
        return None


def shapes(model_class: Any, config: Json) -> dict[str, torch.Size] | None:
    """The shapes of a model's parameters; None where it cannot be built without memory."""
    try:
        with torch.device("meta"):
            built = model_class(_configure(model_class.config_class, config))
    except (*UNFIT, RuntimeError):
        return None
    return {name: value.shape for name, value in built.named_parameters()}


def _at(config: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        config = (config if isinstance(config, dict) else getattr(config, "__dict__", {})).get(name)
    text = str(config)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def merged(base: Json, over: Json) -> Json:
    """A config over another, as the spec does it: null takes an inherited key away."""
    result = dict(base)
    for name, value in over.items():
        if isinstance(result.get(name), dict) and isinstance(value, dict):
            result[name] = merged(result[name], value)
        elif value is None and name in result:
            del result[name]
        else:
            result[name] = value
    return result


def _with_nulls(over: Json, nulls: Json) -> Json:
    """Overrides and nulls together; no key is in both."""
    result = dict(over)
    for name, value in nulls.items():
        inner = result.get(name)
        result[name] = _with_nulls(inner, value) if isinstance(inner, dict) else value
    return result


def paths(config: Json, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from paths(value, (*above, name))
        else:
            yield (*above, name)


def less(config: Json, path: tuple[str, ...]) -> Json:
    """The config without the value at that path, and without mappings that become empty."""
    name, *rest = path
    inner = less(config[name], tuple(rest)) if rest else {}
    kept = {key: value for key, value in config.items() if key != name}
    return config | {name: inner} if inner else kept
