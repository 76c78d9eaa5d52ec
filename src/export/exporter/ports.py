"""What goes into a draft's class and at what sizes.

In: a draft and its eager model. Out: the draft with the inputs that the class takes, placeholders and dims; and
the forms in which its main input may come.
"""

from collections.abc import Iterator
from inspect import Parameter

from torch import nn
from torch.nn.modules.conv import _ConvNd
from transformers import PretrainedConfig

from . import model
from .calls import parameters_of
from .documented import PATCHES, cut, documented, packed, patches
from .draft import Draft
from .find import classes_of
from .foreign import config_of
from .job import Json

FLOATS: dict[str, list[list[str | int]]] = {
    "input_values": [["batch", "samples"], ["batch", "frames", "mels"], ["batch", 1, "samples"]],
    "input_features": [["batch", "mels", "frames"], ["batch", "frames", "mels"]],
    "pixel_values": [
        ["batch", "channels", "image", "image"],
        # Two pictures a row.
        ["batch", 2, "channels", "image", "image"],
    ],
    "pixel_values_videos": [["batch", "pictures", "channels", "image", "image"]],
}
# Where else a config may keep a size that a task asks for.
PATHS = {
    "projection": [
        "embedding_dim",
        "text_config.projection_size",
        "text_embed_dim",
        "hidden_size",
        "text_config.hidden_size",
    ],
    "vocabulary": [],
    "hidden": ["out_hidden_size", "embed_dim", "hidden_sizes", "dim"],
    "channels": ["in_channels", "vision_config.in_channels", "backbone_config.num_channels"],
    "mels": ["feature_size", "encoder_config.num_mel_bins", "input_feat_per_channel"],
    "context": ["context_length"],
    "horizon": ["prediction_length"],
    "series": ["num_input_channels"],
    "state": ["state_dim"],
    "action": ["act_dim"],
}
PLACEHOLDERS = {
    "image-text-to-text": ("image_token_id", "image_token_index"),
    "visual-document-retrieval": ("image_token_id", "image_token_index"),
    "audio-text-to-text": ("audio_token_id", "audio_token_index"),
}
# Masks that some classes cannot do without: of which float input, which axes of it they have, and their type.
MASKS = {
    "input_features_mask": ("input_features", ("batch", "frames"), "int64"),
    "feature_attention_mask": ("input_features", ("batch", "frames"), "int64"),
    "padding_mask": ("input_values", ("batch", "samples"), "int64"),
    "pixel_attention_mask": ("pixel_values", ("batch", 2), "bool"),
}
# Placeholders of a tiny picture or sound: its patches, or fewer where a class joins some.
COUNTS = (16, 4, 1, 2, 8)


def take_inputs(draft: Draft, eager: nn.Module) -> None:
    """Drops inputs that the class does not take; takes its main input where the task has another."""
    name = draft.found.class_name
    takes = parameters_of(eager)
    own = [port["name"] for port in draft.ports]
    draft.without = [port for port in own if port.split("__")[0] not in takes]
    main = _main_float(draft, eager)
    if main and main not in own:
        draft.inputs[main] = _port(FLOATS[main][0])
        draft.reasons.append(f"input {main}: the main input of {name}")
    for needed in (port for port, value in takes.items() if value.default is Parameter.empty):
        port = documented(eager, needed) if needed not in (*own, *FLOATS) else None
        if port:
            draft.inputs[needed] = port
            draft.reasons.append(f"input {needed}: {name}.forward needs it, and says its shape")
    if draft.without:
        draft.reasons.append(f"without {', '.join(draft.without)}: forward does not take them")
    ctc = name in classes_of("CTC")
    causal, generates = draft.contract["causal"], draft.contract["generation"]
    for check, grown in (("causal", causal), ("generates", generates and generates["grows"])):
        if grown in draft.without:
            draft.omit[check] = "CTC: there is no decoder" if ctc else f"forward takes no {grown}"


def _main_float(draft: Draft, eager: nn.Module) -> str | None:
    """The images or sounds that forward takes first; some towers do not say so themselves."""
    takes = parameters_of(eager)
    needed = [name for name in takes if name in FLOATS and takes[name].default is Parameter.empty]
    said = getattr(eager, "main_input_name", None)
    # Sound or pictures that the task has in another form than the class.
    others = FLOATS if any(name in FLOATS for name in draft.without) else ()
    return next((name for name in (said, *needed, *others) if name in FLOATS and name in takes), None)


def _port(shape: list[str | int]) -> Json:
    return {"shape": shape, "fill": "normal"}


def forms(draft: Draft, eager: nn.Module) -> Iterator[Json]:
    """The inputs that the draft changes, then the same with the main input in other forms, then with its mask."""
    plain = list(_main_forms(draft, eager))
    yield from plain
    takes = parameters_of(eager)
    held = {port["name"] for port in draft.ports}
    for mask, (main, axes, dtype) in MASKS.items():
        if mask in takes and mask not in held and main in takes:
            port = {"shape": list(axes), "dtype": dtype, "fill": "ones"}
            yield from (form | {mask: port} for form in plain)


def _main_forms(draft: Draft, eager: nn.Module) -> Iterator[Json]:
    yield draft.inputs
    rows = packed(eager)
    if rows:
        others = {name: port for name, port in draft.inputs.items() if name not in FLOATS}
        yield others | rows
        if patched := cut(eager, rows):
            yield others | patched
        # Each picture's rows by themselves.
        each = ["batch", PATCHES["patches"]["count"]]
        yield others | {
            name: port | {"shape": [*each, *port["shape"][1:]]} if port["shape"][0] == "patches" else port
            for name, port in rows.items()
        }
    leading = next((port["shape"][0] for port in draft.ports if port["name"] == "pixel_values"), "batch")
    flat = patches(eager, leading)
    if flat:
        yield draft.inputs | {"pixel_values": None} | flat
    main = _main_float(draft, eager)
    images: list[str] = [port["name"] for port in draft.ports if port["name"] == "pixel_values"]
    for name in dict.fromkeys([main, *images] if main else images):
        now = next((port["shape"] for port in draft.ports if port["name"] == name), None)
        for shape in FLOATS[name]:
            if now is not None and shape != list(now):
                yield draft.inputs | {name: _port(shape)}


def placeholders(draft: Draft, eager: nn.Module) -> list[dict[str, int | None]]:
    """Image tokens in the text, in several numbers: the model's own complaint tells one, or the first fits.

    None takes away one that is inherited, and that the config does not know.
    """
    config = config_of(eager)
    inherited = draft.base["placeholders"]
    gone: dict[str, int | None] = dict.fromkeys(name for name in inherited if not _has_token(config, name))
    if draft.found.task not in PLACEHOLDERS or (inherited and not gone):
        return [{}]
    own = PLACEHOLDERS[draft.found.task]
    parts = [name for name, value in vars(config).items() if isinstance(value, PretrainedConfig)]
    paths = (*own, *(f"{part}.{name}" for part in parts for name in own))
    names = [path for path in paths if type(model._attribute(config, path)) is int]
    return [gone | {names[0]: count} for count in COUNTS] if names else [gone]


def _has_token(config: PretrainedConfig, name: str) -> bool:
    """Whether `model.token_id` finds it."""
    return any(type(model._attribute(config, path)) is int for path in (name, f"text_config.{name}"))


def take_dims(draft: Draft, eager: nn.Module, data: Json) -> tuple[Json, list[str]]:
    """Sizes that the config keeps under a name of its own, and channels that it does not keep at all; and why."""
    dims: Json = {}
    reasons: list[str] = []
    job = draft.job(data)
    shapes = [port.shape for port in (*job.inputs, *job.outputs)]
    if job.of_kind("tokens"):
        # What is drawn of it, where no output is as wide.
        shapes.append(("vocabulary",))
    config = config_of(eager)

    def known(paths: list[str] | int) -> bool:
        return isinstance(paths, int) or any(type(model._attribute(config, path)) is int for path in paths)

    parts = [name for name, value in vars(config).items() if isinstance(value, PretrainedConfig)]
    for symbol in sorted(symbol for symbol in PATHS if any(symbol in shape for shape in shapes)):
        usual = job.dims.get(symbol, [])
        common = [] if isinstance(usual, int) else [*usual, *PATHS[symbol]]
        inner = [f"{part}.{path}" for path in common for part in parts]
        own = [path for path in (*PATHS[symbol], *inner) if known([path])]
        first = _first_convolution(eager) if symbol == "channels" else None
        if known(job.dims.get(symbol, [])):
            continue
        if own:
            dims[symbol] = own[:1]
            reasons.append(f"dim {symbol}: {own[0]} of {type(config).__name__}")
        elif first is not None:
            dims[symbol] = first.in_channels
            reasons.append(
                f"dim {symbol}: {type(config).__name__} has none; the first convolution takes {first.in_channels}"
            )
    return dims, reasons


def _first_convolution(eager: nn.Module) -> _ConvNd | None:
    return next((module for module in eager.modules() if isinstance(module, _ConvNd)), None)
