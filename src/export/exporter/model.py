"""The eager model of a job.

In: a class name, config overrides and a seed (or a checkpoint, which brings its own config). Out: the model
in eval mode, fp32, with weights that let every output vary, and the sizes that its config gives to the
symbols of the task.
"""

import copy
import importlib.util
import inspect
import math
import re
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd
from transformers.pytorch_utils import Conv1D

from . import foreign
from .errors import ExportError, nearest, stage
from .foreign import config_of, import_module
from .job import Job, Json, Source

Config = transformers.PretrainedConfig
# The plain formula of attention: every class has it, and references are computed by it.
EAGER = "eager"
# What classes choose, for those of their parts that have it: torch's `scaled_dot_product_attention`.
SDPA = "sdpa"
# Config attributes that choose the plain formula: their value, and why.
PLAIN: dict[str, tuple[Any, str]] = {
    "use_cache": (False, "a program returns what its task promises, and no cache"),
    "_experts_implementation": (
        "batched_mm",
        "experts are multiplied in a way that neither branches on data nor refuses float64",
    ),
}
# Attributes of OmDet-Turbo that keep embeddings of texts between calls, whatever the model is converted to.
KEEPERS = frozenset({"language_cache_class", "language_cache_prompt"})
# Classes that leave their weights as the memory held them, until `from_pretrained` fills them.
UNINITIALISED = frozenset({"JukeboxModel"})
# Standard deviation of embeddings, and of a linear layer's output for inputs near 1. With equal shares of
# both, a model with tied embeddings repeats its last token for ever; layers must outweigh embeddings.
EMBEDDING = 0.5
GAIN = 1.5
# Torch's own norms: their weight is a factor near 1, wherever `init_weights` starts it (EfficientNet near 0).
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
# Attributes that models read from their config although config classes do not, or no longer, declare them.
UNDECLARED = frozenset(
    name for name in vars(transformers.GenerationConfig()) if name.endswith("_token_id")
) | {
    "global_head_dim",
    "head_dim",
    "num_key_value_heads",
    "rope_theta",
}


def find_class(source: Source, name: str) -> type[nn.Module]:
    """The class of that name in a source.

    Raises:
        ExportError: the source has no such class, or is not there in the version that the spec pins.
    """
    _check_version(source)
    with stage(f"importing {source.package} {source.version}"):
        module = import_module(source.module or source.package)
    found = getattr(module, name, None)
    if found is None:
        hint = nearest(name, dir(module))
        raise ExportError(f"{module.__name__} {source.version} has no class {name!r}{hint}")
    return found


def _check_version(source: Source) -> None:
    try:
        found = metadata.version(source.package)
    except metadata.PackageNotFoundError:
        found = "no version"
    if found != source.version:
        raise ExportError(
            f"this Python has {found} of {source.package}, spec/versions.yaml pins {source.version}; "
            "run: just setup, or name an interpreter that has it in HF_CONFORMANCE_PYTHON"
        )


def build(job: Job) -> nn.Module:
    """The job's model, with the attention that references have."""
    return with_attention(job, None if job.attention == SDPA else EAGER)


def with_attention(job: Job, attention: str | None) -> nn.Module:
    """The job's model with that attention, or with the one that its class chooses by itself; without caches."""
    model_class = find_class(job.source, job.class_name)
    with stage(f"building {job.class_name}"):
        if foreign.is_foreign(model_class):
            model = foreign.build(model_class, job)
        elif job.weights == "checkpoint":
            model = _from_checkpoint(model_class, job, attention)
        else:
            model = _random(model_class, job, attention)
        if job.weights == "random":
            randomise(model, job.seed)
    for config in configs(config_of(model)):
        for name, (value, _) in PLAIN.items():
            if hasattr(config, name):
                setattr(config, name, value)
    for name in KEEPERS & vars(model).keys():
        getattr(model, name).put = lambda key, value: None
    return model.eval().requires_grad_(False)


def resolve_dims(job: Job, config: Config) -> dict[str, int]:
    """The size of every symbol that the config decides; a needed symbol that it does not know is an error."""
    needed = {symbol for entry in (*job.inputs, *job.outputs) for symbol in entry.shape}
    dims = {}
    for symbol, paths in job.dims.items():
        if isinstance(paths, int):
            dims[symbol] = paths
            continue
        values = (_attribute(config, path) for path in paths)
        size = next((value for value in values if type(value) is int), None)
        if size is not None:
            dims[symbol] = size
        elif symbol in needed:
            raise ExportError(
                f"no size for {symbol!r}: none of {', '.join(paths)} is an attribute of "
                f"{type(config).__name__}; add it under `dims`"
            )
    return dims


def token_id(config: Config, name: str) -> int:
    """The token id that the config (or its text config) keeps under that name."""
    for path in (name, f"text_config.{name}"):
        value = _attribute(config, path)
        if type(value) is int:
            return value
    raise ExportError(f"{type(config).__name__} has no token id {name!r}, which `placeholders` names")


def _from_checkpoint(model_class: Any, job: Job, attention: str | None) -> nn.Module:
    model, info = model_class.from_pretrained(
        job.checkpoint,
        attn_implementation=attention,
        dtype=torch.float32,
        output_loading_info=True,
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ExportError(
            f"checkpoint {job.checkpoint} lacks {len(missing)} weights of {job.class_name}, "
            f"first {missing[0]}"
        )
    return model


def _random(model_class: Any, job: Job, attention: str | None) -> nn.Module:
    # A copy: classes may take what they are given apart (timm's MobileNetV5 does), and there is more than one model.
    config = _configure(model_class.config_class, copy.deepcopy(job.config))
    if attention:
        config._attn_implementation = attention
    torch.manual_seed(job.seed)
    with _forgiving(model_class):
        model = model_class(config)
        if job.class_name in UNINITIALISED:
            model.init_weights()
    return model


@contextmanager
def _forgiving(model_class: Any) -> Iterator[None]:
    """Lets a module be whose initialisation writes to a parameter that is None (ViT-Hybrid's mask token).

    Such a class can only be built by `from_pretrained`; what a module's own initialisation leaves, is randomised.
    """
    owner = next(base for base in model_class.__mro__ if "_init_weights" in vars(base))
    original = owner._init_weights

    def forgiving(self: nn.Module, module: nn.Module) -> None:
        try:
            original(self, module)
        except AttributeError as error:
            if (error.name, error.obj) != ("data", None):
                raise

    owner._init_weights = forgiving
    try:
        yield
    finally:
        owner._init_weights = original


def _configure(config_class: type[Config], overrides: Json) -> Config:
    """The config; a class that is made of two configs, and has no default of its own, must be given both."""
    if not _needs_parts(config_class):
        return config_class(**_checked(default_config(config_class), overrides, vars(config_class)))
    default = Config()
    for name in getattr(config_class, "__dataclass_fields__", {}):
        if not hasattr(default, name):
            setattr(default, name, None)
    return config_class(**_checked(default, overrides))


@cache
def _needs_parts(config_class: type[Config]) -> bool:
    """Whether the class cannot be made of its defaults: releases have different words for that, or none."""
    try:
        default_config(config_class)
    except Exception:  # noqa: BLE001  each release refuses by another error, and says nothing else by it
        return True
    return False


def default_config(config_class: type[Config]) -> Config:
    """The class's own config, with nothing overridden."""
    return config_class()


def _checked(default: Config, overrides: Json, declared: Container[str] = ()) -> Json:
    """The overrides, known attributes only, with sub-configs told their model type."""
    # Some configs differ by layer and refuse to be asked for one value; a default is only looked at.
    default.allow_global_per_layer_attribute_access = True
    kwargs = {}
    for name, value in overrides.items():
        # Not read as attributes: one that differs from layer to layer (gemma4's head_dim) refuses that.
        inner = _inner(vars(default).get(name), value)
        composed = inner is not None and type(default) is Config
        if not (composed or name in declared or knows(default, name)):
            hint = nearest(name, [*vars(default), *default.attribute_map])
            raise ExportError(f"{type(default).__name__} has no {name!r}{hint}")
        kwargs[name] = value if inner is None else {"model_type": inner.model_type} | _checked(inner, value)
    return kwargs


def knows(default: Config, name: str) -> bool:
    """Whether a config class has an attribute, or its modeling code reads it."""
    return (
        name in vars(default)
        or name in default.attribute_map
        or hasattr(type(default), name)
        or name in inspect.signature(type(default).__init__).parameters
        or name in UNDECLARED
        # What it is written with and made from need not be what it holds (timm's `num_classes`).
        or name in default.to_dict()
        or _is_read(default, name)
    )


def _is_read(default: Config, name: str) -> bool:
    """Whether the modeling code reads an attribute that its config class does not declare.

    Hub configs carry such attributes (deberta-v2's `conv_kernel_size`); config classes keep what they are given.
    Models made of another model (RetriBERT) read what that one reads.
    """
    read = re.compile(rf"""config(\.{name}\b|, ["']{name}["'])""")
    path = type(default).__module__.replace(".configuration_", ".modeling_")
    text = _source(path)
    others = re.findall(r"^from (\.+[\w.]*modeling_\w+) import", text, re.MULTILINE)
    package = path.rpartition(".")[0]
    paths = [importlib.util.resolve_name(other, package) for other in others]
    return any(read.search(found) for found in (text, *map(_source, paths)))


def _source(path: str) -> str:
    """The text of a module, empty where there is none."""
    module = importlib.util.find_spec(path)
    origin = module and module.origin
    return Path(origin).read_text() if origin else ""


def _inner(default: Any, value: Any) -> Config | None:
    """The default of the sub-config that an override describes; None when it describes a plain value."""
    if not isinstance(value, dict):
        return None
    model_type = value.get("model_type")
    if isinstance(default, Config) and model_type in (None, default.model_type):
        return default
    return transformers.AutoConfig.for_model(model_type) if model_type else None


def configs(config: Config) -> list[Config]:
    """A config and all configs inside it."""
    inner = [value for value in vars(config).values() if isinstance(value, Config)]
    return [config, *(found for value in inner for found in configs(value))]


def _attribute(config: Config, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def randomise(model: nn.Module, seed: int) -> None:
    """Gives parameters and batch-norm statistics values that keep hidden states near 1 and outputs varied.

    Plain `init_weights` leaves biases and whole heads at zero and norms at one: that hides most faults.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            owner = model.get_submodule(name.rpartition(".")[0])
            scale = _scale(owner, parameter)
            if scale is not None:
                parameter.copy_(scale * normal(parameter))
            elif isinstance(owner, NORMS) and parameter is owner.weight:
                parameter.copy_(1 + 0.1 * normal(parameter))
            elif parameter.ndim < 2 or parameter.std(correction=0) == 0:
                parameter.add_(0.1 * normal(parameter))
            else:
                # SAM starts its matrix of frequencies a hundred times wider than checkpoints have it.
                spread = parameter.std().item()
                parameter.mul_(min(max(spread, 0.1), 1.0) / spread)
        for name, buffer in sorted(model.named_buffers()):
            # Codebooks of audio codecs are buffers of zeros until they are trained.
            if name.endswith(("embed", "embed_sum", "codebook")) and buffer.ndim == 2:
                buffer.copy_(EMBEDDING * normal(buffer))
            elif name.endswith("running_mean"):
                buffer.copy_(0.1 * normal(buffer))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))


def settle(model: nn.Module, run: Callable[[], object]) -> None:
    """Gives the statistics of batch norms the size of what they are given in a run, as training does.

    With others the signal of deep networks fades into their biases: whatever the picture, they say the same. The size
    is that of all channels, so that none is blown up, and rounded to bfloat16, so that it is the same on every machine.
    """

    def observe(norm: nn.Module, given: tuple[Any, ...]) -> None:
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
            return
        square = given[0].double().square().mean().bfloat16().item()
        if square > 0:
            norm.running_mean.mul_(math.sqrt(square))
            norm.running_var.mul_(square)

    hooks = [
        module.register_forward_pre_hook(observe)
        for module in model.modules()
        if isinstance(module, _BatchNorm)
    ]
    if not hooks:
        return
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()


def _scale(owner: nn.Module, parameter: Tensor) -> float | None:
    """The standard deviation of a weight that is drawn afresh; None for one that is only disturbed."""
    if parameter.ndim < 2:
        return None
    if isinstance(owner, nn.Embedding):
        return EMBEDDING
    if isinstance(owner, Conv1D):
        return GAIN / math.sqrt(parameter.shape[0])
    if isinstance(owner, nn.Linear):
        return GAIN / math.sqrt(parameter.shape[1])
    if isinstance(owner, _ConvNd):
        return 1 / math.sqrt(parameter[0].numel())
    return None


def model_types(eager: nn.Module) -> list[str]:
    """The architectures that run in a model: its own and those of the models inside it."""
    inside = (module for module in eager.modules() if isinstance(module, transformers.PreTrainedModel))
    return sorted({module.config.model_type for module in inside})
