"""Models whose class is not transformers'.

In: a job with a class of another package. Out: that class's model, and beside it a config of transformers' kind, in
which the rest of the exporter finds sizes, token ids and a model type (the class's name) as it does in any other.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import nn

from .errors import ExportError, nearest
from .job import Job, Json, Source

Config = transformers.PretrainedConfig
# Where the config is kept: `config` may be a property of the class (diffusers).
KEPT = "exporter_config"
# Names that torch had in a private place when older packages were made (natten), and where it has them now.
DROPPED = ((torch.cuda, "_device_t", torch.types.Device),)


def import_module(path: str) -> Any:
    """A module by its path, without what the packages around it import in their own `__init__`.

    ImageBind's imports readers of sounds and videos, which none of its classes needs.
    """
    for owner, name, now in DROPPED:
        if not hasattr(owner, name):
            setattr(owner, name, now)
    names = path.split(".")
    for end in range(1, len(names)):
        around = ".".join(names[:end])
        spec = importlib.util.find_spec(around)
        if spec is not None:
            sys.modules.setdefault(around, importlib.util.module_from_spec(spec))
    return importlib.import_module(path)


def find_below(module: Any, name: str) -> Any:
    """A class of a package that its `__init__` does not name: that of the module whose text defines it."""
    for found in pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}."):
        origin = str(getattr(importlib.util.find_spec(found.name), "origin", None))
        if origin.endswith(".py") and f"\nclass {name}(" in Path(origin).read_text():
            return getattr(importlib.import_module(found.name), name, None)
    return None


def is_foreign(model_class: type[nn.Module]) -> bool:
    """Whether the class is built here."""
    return not issubclass(model_class, transformers.PreTrainedModel)


def config_of(model: nn.Module) -> Config:
    """The config of a model of any package."""
    kept = vars(model).get(KEPT)
    return cast("Config", model.config if kept is None else kept)


def build(model_class: type[nn.Module], job: Job) -> nn.Module:
    """The model: from its package's config class where the source names one, else from keyword arguments."""
    if job.weights == "checkpoint":
        raise ExportError(
            f"{job.class_name} of {job.source.package} loads no checkpoints: only transformers' classes do"
        )
    torch.manual_seed(job.seed)
    config_class = find_config_class(job.source)
    for name in job.config:
        check_key(model_class, job.source, name)
    if config_class is None:
        settings = defaults(model_class) | job.config
        model = model_class(**job.config)
    else:
        own = config_class(**job.config)
        settings, model = vars(own), model_class(own)
    config = Config()
    for name, value in (settings | {"model_type": job.class_name}).items():
        setattr(config, name, value)
    setattr(model, KEPT, config)
    return model


def check_key(model_class: type[nn.Module], source: Source, name: str) -> None:
    """A key of an entry's config that the class does not know is an error: some packages ignore it in silence."""
    owner = find_config_class(source) or model_class
    known = defaults(model_class) if owner is model_class else vars(owner())
    if name not in known:
        raise ExportError(f"{owner.__name__} has no {name!r}{nearest(name, known)}")


def find_config_class(source: Source) -> type | None:
    """The package's own config class, where its classes are made from one."""
    if source.config is None:
        return None
    module, _, name = source.config.rpartition(".")
    return getattr(import_module(module), name)


def defaults(model_class: type[nn.Module]) -> Json:
    """The keyword arguments of a class, with their defaults."""
    parameters = list(inspect.signature(model_class.__init__).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in parameters}
