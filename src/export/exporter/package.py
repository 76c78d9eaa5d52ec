"""Someone else's package: architectures that are in no release of transformers.

In: a source whose package is not transformers. Out: its model types, known to transformers' auto classes from then on,
whether or not the package registers them itself.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import transformers
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from .errors import ExportError, stage
from .find import MAPPINGS, plain
from .job import Source


def adopt(source: Source) -> list[str]:
    """Makes the package's configs and models known; its model types.

    Raises:
        ExportError: a module cannot be imported, or nothing in the package is a config with a model type.
    """
    found = [value for module in _modules(source) for value in _classes(module, source)]
    configs = {value.model_type: value for value in found if issubclass(value, PretrainedConfig)}
    configs.pop("", None)
    if not configs:
        raise ExportError(
            f"{_name(source)} has no config class: no subclass of PretrainedConfig with a `model_type`"
        )
    models = [value for value in found if issubclass(value, PreTrainedModel)]
    for model_type, config in configs.items():
        AutoConfig.register(model_type, config, exist_ok=True)
        for model in models:
            if model.config_class is config:
                _enter(model_type, model)
    for value in found:
        setattr(transformers, value.__name__, value)
    return sorted(configs)


def check_asked(source: Source, asked: str, known: list[str]) -> None:
    """That a name, in any spelling, is one of the package's model types."""
    if plain(asked) not in map(plain, known):
        raise ExportError(f"{_name(source)} has no model type {asked!r}; it has: {', '.join(known)}")


def _name(source: Source) -> str:
    return f"package {source.module or source.package}"


def _modules(source: Source) -> Iterator[ModuleType]:
    """The package and those of its modules that define configs and models."""
    name = source.module or source.package
    with stage(f"importing {name}"):
        top = importlib.import_module(name)
    yield top
    for module in pkgutil.walk_packages(getattr(top, "__path__", []), f"{name}."):
        if module.name.rpartition(".")[2].startswith(("configuration", "modeling")):
            with stage(f"importing {module.name}"):
                yield importlib.import_module(module.name)


def _classes(module: ModuleType, source: Source) -> Iterator[type]:
    """Configs and models that the package itself defines."""
    own = source.module or source.package
    for value in vars(module).values():
        if (
            isinstance(value, type)
            and issubclass(value, (PretrainedConfig, PreTrainedModel))
            and value.__module__.partition(".")[0] == own.partition(".")[0]
        ):
            yield value


def _enter(model_type: str, model: type[PreTrainedModel]) -> None:
    """Makes the auto classes know a model: those that it is registered with, else those its name's ending tells."""
    tables = _tables()
    registered = [
        table for table in tables if model in getattr(_mapping(table), "_extra_content", {}).values()
    ]
    for table in registered or _by_ending(model.__name__):
        tables[table].setdefault(model_type, model.__name__)
        _mapping(table).register(model.config_class, model, exist_ok=True)


def _tables() -> dict[str, dict[str, str | tuple[str, ...]]]:
    """The tables of classes by model type that tasks know, by name: `MODEL_FOR_CAUSAL_LM_MAPPING_NAMES`."""
    parts = ["", *(f"FOR_{part}_" for parts in MAPPINGS.values() for part in parts)]
    names = [f"MODEL_{part}MAPPING_NAMES" for part in parts]
    return {name: table for name in names if (table := getattr(modeling_auto, name, None)) is not None}


def _mapping(table: str) -> Any:
    """The auto classes' own view of a table."""
    return getattr(modeling_auto, table.removesuffix("_NAMES"))


def _by_ending(name: str) -> list[str]:
    """The table in which most classes end like this one (`ForCausalLM`); none where it ends like no others."""
    _, found, ending = name.rpartition("For")
    ending = found + ending if found else "Model"

    def alike(names: dict[str, str | tuple[str, ...]]) -> int:
        flat = [one for value in names.values() for one in ([value] if isinstance(value, str) else value)]
        return sum(one.endswith(ending) for one in flat)

    counts = {table: alike(names) for table, names in _tables().items()}
    best = max(counts, key=lambda table: counts[table])
    return [best] if name.endswith(ending) and counts[best] else []
