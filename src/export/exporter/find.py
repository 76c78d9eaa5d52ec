"""What transformers itself knows about an architecture.

In: a name in any spelling, perhaps a task. Out: its model type, a class with its task, a checkpoint, each with
where it was found.
"""

import importlib
import importlib.util
import inspect
import re
from dataclasses import dataclass
from typing import Any

import transformers
from torch import nn
from transformers.generation.utils import GenerationMixin
from transformers.models.auto import modeling_auto

from .documented import GRIDS
from .errors import ExportError, nearest

# Task -> the auto-model mappings that hold its classes. The first task in which an architecture has a class is
# the one it is known for: a model of images and text is also a language model, BERT also has a causal head.
MAPPINGS: dict[str, tuple[str, ...]] = {
    "zero-shot-object-detection": ("ZERO_SHOT_OBJECT_DETECTION",),
    "zero-shot-image-classification": ("ZERO_SHOT_IMAGE_CLASSIFICATION",),
    "automatic-speech-recognition": ("SPEECH_SEQ_2_SEQ", "CTC"),
    "image-text-to-text": ("IMAGE_TEXT_TO_TEXT",),
    "text-to-audio": ("TEXT_TO_WAVEFORM", "TEXT_TO_SPECTROGRAM"),
    "text2text-generation": ("SEQ_TO_SEQ_CAUSAL_LM",),
    "fill-mask": ("MASKED_LM",),
    "text-generation": ("CAUSAL_LM",),
    "object-detection": ("OBJECT_DETECTION",),
    "image-segmentation": (
        "UNIVERSAL_SEGMENTATION",
        "SEMANTIC_SEGMENTATION",
        "INSTANCE_SEGMENTATION",
        "IMAGE_SEGMENTATION",
    ),
    "depth-estimation": ("DEPTH_ESTIMATION",),
    "keypoint-detection": ("KEYPOINT_DETECTION",),
    "keypoint-matching": ("KEYPOINT_MATCHING",),
    "image-to-image": ("IMAGE_TO_IMAGE",),
    "mask-generation": ("MASK_GENERATION",),
    "image-classification": ("IMAGE_CLASSIFICATION",),
    "video-classification": ("VIDEO_CLASSIFICATION",),
    "audio-classification": ("AUDIO_CLASSIFICATION",),
    "document-question-answering": ("DOCUMENT_QUESTION_ANSWERING",),
    "visual-question-answering": ("VISUAL_QUESTION_ANSWERING",),
    "table-question-answering": ("TABLE_QUESTION_ANSWERING",),
    "time-series-forecasting": ("TIME_SERIES_PREDICTION",),
    "visual-document-retrieval": ("RETRIEVAL",),
    "question-answering": ("QUESTION_ANSWERING",),
    "text-classification": ("SEQUENCE_CLASSIFICATION",),
    "token-classification": ("TOKEN_CLASSIFICATION",),
    "image-feature-extraction": (),
    "feature-extraction": (),
}
HUB = re.compile(r"huggingface\.co/(?!papers/|docs/|datasets/|spaces/)([\w.-]+/[\w.-]+)")
LOADED = re.compile(r"from_pretrained\(\s*['\"]([\w.-]+/[\w.-]+)['\"]")


@dataclass(frozen=True)
class Found:
    """An architecture, the class to run and how they were found."""

    model_type: str
    task: str
    class_name: str
    checkpoint: str | None
    reasons: tuple[str, ...]


def plain(name: str) -> str:
    """A name without what spellings differ in: `qwen3-vl`, `qwen3_vl` and `Qwen3VL` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def model_type(name: str) -> str | None:
    """The model type of that name, in any spelling."""
    spelt = {plain(known): known for known in transformers.CONFIG_MAPPING}
    return spelt.get(plain(name))


def find(name: str, task: str | None, hint: dict[str, str | None]) -> Found:
    """The class to run; `hint` is the roster's row, which knows named variants that have no code of their own."""
    who = "the roster" if hint else "the name"
    hint = hint or _by_words(name)
    found, reason = _architecture(name, hint, who)
    reasons = [reason]
    hinted = hint.get("class") if hint.get("model_type") == found else None
    hinted = hinted if hinted and _exists(hinted, found) else None
    said = hint.get("task") if hinted else None
    told = task is None and said is not None
    if task is None:
        task, reason = _known_for(found, hinted, said, who)
        reasons.append(reason)
    part = _part_that_runs(getattr(transformers, hinted)) if hinted and told else None
    if part is not None:
        reasons.append(
            f"class {part.__name__}: the first part that {hinted}, which has no forward, is made of"
        )
        hinted, task = part.__name__, _of_part(part)
    names = classes(found, task)
    if hinted and (told or task in (said, "image-feature-extraction")) and hinted not in names:
        names.insert(0, hinted)
    if not names:
        others = [other for other in MAPPINGS if classes(found, other)]
        raise ExportError(
            f"{found} has no class for task {task}; it has one for {', '.join(others) or 'none'}"
        )
    chosen = hinted if hinted in names else names[0]
    where = f"the auto model of {task}" if chosen in classes(found, task) else f"{who} says so"
    reasons.append(f"class {chosen}: {where}")
    checkpoint, reason = _checkpoint(chosen, found, hint)
    return Found(found, task, chosen, checkpoint, (*reasons, reason))


def _by_words(name: str) -> dict[str, str | None]:
    """What a roster would say of a name that begins with a model type and goes on with words of a class of it.

    `bart-classification` is BartForSequenceClassification, `speecht5-tts` SpeechT5ForTextToSpeech.
    """
    words = re.split(r"[-_ ]", name.lower())
    for end in range(len(words) - 1, 0, -1):
        found = model_type("-".join(words[:end]))
        rest = plain("".join(words[end:]))
        if found is not None and model_type(name) is None:
            meant = (known for known in _exported(found) if rest in plain(known) or rest == _initials(known))
            chosen = next(meant, None)
            task = next((task for task in MAPPINGS if chosen in classes(found, task)), None)
            return {"model_type": found, "class": chosen, "task": task} if task else {}
    return {}


def _initials(class_name: str) -> str:
    """Those of what a class is for: `tts` of SpeechT5ForTextToSpeech."""
    return "".join(re.findall(r"[A-Z]", class_name.rpartition("For")[2])).lower()


def _architecture(name: str, hint: dict[str, str | None], who: str) -> tuple[str, str]:
    """The model type that the name, or else who hints at one, means; and where it was found."""
    found = model_type(name)
    # Some types are a config alone, whose checkpoints run the classes of another.
    known = model_type(hint.get("model_type") or "")
    if found is not None and (known in (None, found) or _has_classes(found)):
        owner = transformers.CONFIG_MAPPING[found].__module__.partition(".")[0]
        version = f" {transformers.__version__}" if owner == transformers.__name__ else ""
        return found, f"model type {found}: {owner}{version} has it"
    if known is not None:
        return known, f"model type {known}: {who} says whose code {name} runs"
    hints = nearest(name, transformers.CONFIG_MAPPING)
    raise ExportError(f"transformers {transformers.__version__} has no model type {name!r}{hints}")


def _has_classes(found: str) -> bool:
    return any(classes(found, task) for task in MAPPINGS)


def _part_that_runs(model_class: Any) -> Any:
    """The class of the first part of a whole that only holds its parts, and has no forward of its own."""
    if model_class.forward is not nn.Module.forward:
        return None
    configs = list(model_class.config_class.sub_configs.values())
    module = vars(importlib.import_module(model_class.__module__))
    parts = [
        value
        for value in module.values()
        if isinstance(value, type)
        and hasattr(transformers, value.__name__)
        and getattr(value, "config_class", None) in configs
        and getattr(value, "forward", nn.Module.forward) is not nn.Module.forward
    ]
    return min(parts, key=lambda part: configs.index(part.config_class), default=None)


def _of_part(part: type) -> str:
    """The task of a class that no auto model builds."""
    takes = inspect.signature(part.forward).parameters
    writes = issubclass(part, GenerationMixin) and "input_ids" in takes
    return "text-generation" if writes else "feature-extraction"


def _known_for(found: str, hinted: str | None, said: str | None, who: str) -> tuple[str, str]:
    """The task that is said for the hinted class, or else the first that has a class; and why."""
    if hinted and said:
        return _as_called(getattr(transformers, hinted), said, who)
    for task in MAPPINGS:
        if classes(found, task):
            return task, f"task {task}: the first for which {found} has a class"
    raise ExportError(f"{found} has no class that transformers exports")


def _as_called(model_class: type, said: str, who: str) -> tuple[str, str]:
    """The task that is said, or the one beside it that what goes into the class and comes out of it tells; and why."""
    takes = inspect.signature(model_class.forward).parameters.keys()
    decodes = "decoder_input_ids" in takes
    task, why = said, f"{who} says so"
    match said:
        case "feature-extraction" if {"input_ids", "pixel_values"} <= takes and (
            "return_loss" in takes or hasattr(model_class, "get_text_features")
        ):
            task, why = "zero-shot-image-classification", "it scores texts against images"
        case "feature-extraction" if hasattr(model_class, "encode") and hasattr(model_class, "decode"):
            task, why = "audio-to-audio", "it encodes sound and decodes it again"
        case "feature-extraction" if _sees(model_class):
            task, why = "image-feature-extraction", "images go in"
        case "image-text-to-text" if decodes and _has_encoder(model_class):
            task, why = "image-to-text", "a decoder of its own writes the text"
        case "image-to-text" if "input_ids" in takes and not decodes:
            task, why = "image-text-to-text", "images stand in a text"
        case "automatic-speech-recognition" if "input_ids" in takes and not decodes:
            task, why = "audio-text-to-text", "sound stands in a text"
        case _ if MAPPINGS.get(said) and (own := tasks(model_class.__name__)) and said not in own:
            task = next(task for task in MAPPINGS if task in own)
            why = f"{model_class.__name__} is no class of the auto model of {said}"
    return task, f"task {task}: {why}"


def _has_encoder(model_class: Any) -> bool:
    """Whether the class's usual config is one of an encoder and a decoder."""
    try:
        return bool(getattr(model_class.config_class(), "is_encoder_decoder", False))
    except (TypeError, ValueError):
        return False


def _exists(class_name: str, model_type: str) -> bool:
    """Whether transformers has that class, with a config of that model type."""
    config_class = getattr(getattr(transformers, class_name, None), "config_class", None)
    return getattr(config_class, "model_type", None) == model_type


def classes(model_type: str, task: str) -> list[str]:
    """The architecture's classes for a task, the usual one first; base models serve feature extraction."""
    if task in ("feature-extraction", "image-feature-extraction"):
        names = _names(_mapping("").get(model_type)) or _base_classes(model_type)
        image = bool(names) and _sees(getattr(transformers, names[0]))
        return names if image == (task == "image-feature-extraction") else []
    mappings = [_mapping(f"FOR_{name}_") for name in MAPPINGS.get(task, ())]
    return [name for mapping in mappings for name in _names(mapping.get(model_type))]


def _sees(model_class: type) -> bool:
    """Whether images go in; some towers do not say so, but their forward cannot do without, or takes their grid."""
    takes = inspect.signature(model_class.forward).parameters
    images = takes.get("pixel_values")
    needed = images is not None and images.default is inspect.Parameter.empty
    gridded = "input_ids" not in takes and not takes.keys().isdisjoint(GRIDS)
    return needed or gridded or model_class.main_input_name == "pixel_values"


def classes_of(mapping: str) -> set[str]:
    """All classes of an auto-model mapping: `CTC`, `MASKED_LM`."""
    return {name for names in _mapping(f"FOR_{mapping}_").values() for name in _names(names)}


def _base_classes(model_type: str) -> list[str]:
    """Exported classes of a part that no auto model builds: towers, encoders, backbones; `…Model` first."""
    return sorted(_exported(model_type), key=lambda name: not name.endswith("Model"))


def _exported(model_type: str) -> list[str]:
    """The exported classes that a config of that type builds."""
    config_class = transformers.CONFIG_MAPPING[model_type]
    module = config_class.__module__.replace(".configuration_", ".modeling_")
    if importlib.util.find_spec(module) is None:
        return []
    return [
        name
        for name, value in vars(importlib.import_module(module)).items()
        if isinstance(value, type)
        and hasattr(transformers, name)
        and not name.endswith("PreTrainedModel")
        and getattr(value, "config_class", None) is config_class
    ]


def tasks(class_name: str) -> set[str]:
    """The tasks in whose mappings the class is."""
    return {task for task, names in MAPPINGS.items() for name in names if class_name in classes_of(name)}


def _mapping(name: str) -> dict[str, str | tuple[str, ...]]:
    """An auto-model mapping; empty where this transformers has none of that name."""
    return getattr(modeling_auto, f"MODEL_{name}MAPPING_NAMES", {})


def _names(names: str | tuple[str, ...] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _checkpoint(class_name: str, model_type: str, hint: dict[str, str | None]) -> tuple[str | None, str]:
    """A hub id: the one that the class or its config documents, unless the roster, which corrects them, differs."""
    model_class = getattr(transformers, class_name)
    texts = {
        f"docstring of {model_class.config_class.__name__}": (
            HUB,
            model_class.config_class.__doc__,
        ),
        f"example of {class_name}.forward": (LOADED, model_class.forward.__doc__),
    }
    documented = (
        (match[1], where) for where, (pattern, text) in texts.items() if (match := pattern.search(text or ""))
    )
    said, where = next(documented, (None, None))
    known = hint.get("checkpoint")
    if known and known != said:
        return known, f"checkpoint {known}: the roster's ({where or 'no docstring'} has {said})"
    if said:
        return said, f"checkpoint {said}: {where}"
    return None, f"no checkpoint: no docstring of {model_type} names one"
