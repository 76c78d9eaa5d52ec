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
from .model import Config, _configure, _needs_parts, default_config, knows
from .shrink import TAPS, drops, listed, shrink, size_of, unsaid

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
# What no shape depends on, and outputs do: counts of layers that add up to all, layers that something is taken from,
# how far attention sees.
SHAPELESS = re.compile(rf"^n_\w+_layers$|window|chunk|{TAPS.pattern}")
# What a class says where it needs a switch of its config: "make sure that `is_decoder=True`".
SWITCH = re.compile(r"`?(?:config\.)?(\w+)=(True|False)`?")
SHOWN_MAX = 60
# Parameters that a model may have of which no size needs to be said.
MANY = 2_000_000


def fewest(class_name: str, said: Json, parts: Json | None = None) -> tuple[Json, list[str]]:
    """The smallest set of overrides on what is said that makes the tiny config, and why each is there.

    Parts of the config are made of what is known of them, where something is.
    """
    model_class = getattr(transformers, class_name)
    config_class = model_class.config_class
    if _needs_parts(config_class):
        raise ExportError(f"{config_class.__name__} has no default: copy an entry that names its parts")
    default = default_config(config_class)
    nulls = drops(default, said)
    kept = merged(said, nulls)
    known = _known(default, parts or {})
    over = merged(known, shrink(default, merged(kept, known)))
    small = _as_config(config_class, merged(kept, over))
    over = _with_nulls(over, _forgotten(default, small, merged(kept, over))) if small else over
    sizes = shapes(model_class, merged(kept, over))
    if sizes is None:
        over = _completed(model_class, kept, over)
        sizes = shapes(model_class, merged(kept, over))
    target = listed(_configure(config_class, merged(kept, over)).to_dict())
    for path in list(paths(over)):
        fewer = less(over, path)
        without = merged(kept, fewer)
        width = WIDTH.search(path[-1]) and not SHAPELESS.search(path[-1])
        unused = sizes and width and sizes == shapes(model_class, without)
        if unused or target == _as_json(config_class, without):
            over = fewer
    name = config_class.__name__
    reasons = [
        f"config {'.'.join(path)}: {_shown(default, path)} in {name}, shrunk to {_shown(over, path)}"
        for path in paths(over)
    ]
    reasons += [f"config {'.'.join(path)}: {name} has none" for path in paths(nulls)]
    return _with_nulls(over, nulls), reasons


def _known(default: Config, parts: Json) -> Json:
    """The parts, without what their classes do not know."""
    own = {name: merged(said, drops(vars(default)[name], said)) for name, said in parts.items()}
    return {name: {"model_type": vars(default)[name].model_type} | said for name, said in own.items()}


def carried(class_name: str, said: Json) -> Json | None:
    """Nulls for what the class's config does not know, if what is left of what is said makes the class small."""
    model_class = getattr(transformers, class_name)
    if _needs_parts(model_class.config_class):
        return None
    nulls = drops(default_config(model_class.config_class), said)
    return nulls if is_small(class_name, merged(said, nulls)) else None


def is_small(class_name: str, config: Json) -> bool:
    """Whether a class can be built with a config, and has few parameters then."""
    sizes = shapes(getattr(transformers, class_name), config)
    return sizes is not None and sum(shape.numel() for shape in sizes.values()) <= MANY


def _forgotten(default: Config, small: Config, said: Json) -> Json:
    """What parts of a config have otherwise than their classes, and lose where they are made of what is said."""
    found: Json = {}
    for name, part in vars(default).items():
        now, below = vars(small).get(name), said.get(name)
        if isinstance(part, Config) and isinstance(now, Config) and isinstance(below, dict):
            lost = {
                key: own
                for key, value in vars(part).items()
                if (own := _lost(key, value, now, below)) is not None
            }
            lost = _with_nulls(lost, _forgotten(part, now, below))
            found |= {name: lost} if lost else {}
    return found


def _lost(name: str, value: Any, now: Config, said: Json) -> Any:
    """A part's own value, small, where it is a size or names and is no longer what the part has."""
    held, size = vars(now).get(name), size_of(name)
    if name in said or held is None:
        return None
    if type(value) is int and type(held) is int and size is not None:
        return min(value, size) if held > size else None
    named = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    return value if named and value != held else None


def _completed(model_class: Any, kept: Json, over: Json) -> Json:
    """The overrides, with the fewest sizes that the class cannot be built without and its config leaves open."""
    over = _declared(model_class, kept, over)
    config = merged(kept, over)
    if shapes(model_class, config) is not None:
        return over
    open_sizes = unsaid(_configure(model_class.config_class, config))
    if not open_sizes or shapes(model_class, merged(config, open_sizes)) is None:
        return over
    for path in list(paths(open_sizes)):
        fewer = less(open_sizes, path)
        if shapes(model_class, merged(config, fewer)) is not None:
            open_sizes = fewer
    return merged(over, open_sizes)


def _declared(model_class: Any, kept: Json, over: Json) -> Json:
    """The overrides, with sizes that the class reads and its config does not declare, and switches that it asks for."""
    while (missed := _missed(model_class, merged(kept, over))) and missed[0] not in over:
        over = over | dict([missed])
    return over


def _missed(model_class: Any, config: Json) -> tuple[str, Any] | None:
    """The size, or the switch, that building the class misses in its config, where the config may have it."""
    default = default_config(model_class.config_class)
    try:
        with torch.device("meta"):
            model_class(_configure(model_class.config_class, config))
    except AttributeError as error:
        name = error.name or ""
        is_size = isinstance(error.obj, model_class.config_class) and size_of(name)
        known = is_size and knows(default, name)
        return (name, size_of(name)) if known else None
    except (*UNFIT, RuntimeError) as error:
        asked = SWITCH.search(str(error))
        known = asked and knows(default, asked[1])
        return (asked[1], asked[2] == "True") if asked and known else None
    return None


def _as_config(config_class: type[Config], config: Json) -> Config | None:
    """The config as its class completes it; None where the class does not take it."""
    try:
        return _configure(config_class, config)
    except UNFIT:
        return None


def _as_json(config_class: type[Config], config: Json) -> Json | None:
    completed = _as_config(config_class, config)
    return listed(completed.to_dict()) if completed else None


def shapes(model_class: Any, config: Json) -> dict[str, torch.Size] | None:
    """The shapes of a model's parameters; None where it cannot be built without memory."""
    try:
        with torch.device("meta"):
            built = model_class(_configure(model_class.config_class, config))
    except (*UNFIT, RuntimeError):
        return None
    return {name: value.shape for name, value in built.named_parameters()}


def at(config: Any, path: tuple[str, ...]) -> Any:
    """The value at a path of a config, or of what is said of one; None where there is none."""
    for name in path:
        config = (config if isinstance(config, dict) else getattr(config, "__dict__", {})).get(name)
    return config


def _shown(config: Any, path: tuple[str, ...]) -> str:
    text = str(at(config, path))
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
