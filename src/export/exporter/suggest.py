"""Suggests spec entries: `python -m exporter.suggest`.

In: `{"timeout_seconds", "dims", "tasks", "families", "requests"}` on stdin. Out: a JSON object a line for every
request, `{"name", "draft"}` or `{"name", "stage", "reason"}`. Each request is worked on in a fork, so that a crash
or a time-out costs one name.
"""

import json
import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import nn

from . import contract, generation, inputs, model, reference
from .calls import parameters_of
from .errors import ExportError, reason
from .find import Found, find
from .job import Case, Job, Json
from .program import check_inputs, evaluate
from .runner import FORK
from .shrink import drops, shrink

# The family whose file an entry goes to.
FAMILIES = {
    "text-generation": "decoder-only",
    "text2text-generation": "encoder-decoder",
    "translation": "encoder-decoder",
    "summarization": "encoder-decoder",
    "automatic-speech-recognition": "speech",
    "audio-classification": "speech",
    "text-to-audio": "speech",
    "image-text-to-text": "multimodal",
    "document-question-answering": "multimodal",
    "visual-question-answering": "multimodal",
    "visual-document-retrieval": "multimodal",
    "zero-shot-image-classification": "vision-text",
    "zero-shot-object-detection": "vision-text",
    "time-series-forecasting": "time-series",
    "image-classification": "vision",
    "image-feature-extraction": "vision",
    "image-segmentation": "vision",
    "image-to-image": "vision",
    "depth-estimation": "vision",
    "keypoint-detection": "vision",
    "keypoint-matching": "vision",
    "mask-generation": "vision",
    "object-detection": "vision",
    "video-classification": "vision",
}
# Inputs that a class may take in place of its task's own.
PORTS: dict[str, Json] = {
    "input_values": {"shape": ["batch", "samples"], "fill": "normal"},
    "input_features": {"shape": ["batch", "mels", "frames"], "fill": "normal"},
}
# Sizes to try for an axis that the family gives none; the first that the eager model takes is traced.
SIZES = {
    "image": [(32, 48), (64, 96)],
    "samples": [(1600, 2240), (3200, 4480)],
    "frames": [(40, 56), (64, 96), (128, 192)],
    "target": [(8, 13)],
    "sequence": [(12, 19)],
}
OTHER_SIZES = [(6, 9), (12, 19)]
# Where else a config may keep a size that a task asks for.
PATHS = {
    "projection": ["text_config.projection_size", "text_embed_dim", "hidden_size", "text_config.hidden_size"],
    "hidden": ["embed_dim", "hidden_sizes", "dim"],
    "channels": ["in_channels", "vision_config.in_channels", "backbone_config.num_channels"],
    "mels": ["feature_size", "encoder_config.num_mel_bins", "input_feat_per_channel"],
}
# A size that only widens layers: where no parameter's shape depends on it, the class does not use it.
WIDTH = re.compile(r"(_dims?|_size|_channels|_width|_layers|codevectors?_.*)$")
FEATURES = re.compile(r"features[^0-9]*(\d+)")
REASON_MAX = 120


class Refused(Exception):
    """A request that cannot be met: the stage it ended at, and why."""


@dataclass
class Draft:
    """An entry in the making."""

    found: Found
    family: str
    base: Json
    contract: Json
    config: Json = field(default_factory=dict)
    axes: Json = field(default_factory=dict)
    inputs: Json = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    placeholders: Json = field(default_factory=dict)
    dims: Json = field(default_factory=dict)
    omit: Json = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    templated: bool = False

    def to_json(self) -> Json:
        """What the spec would say, and why."""
        found = self.found
        return {
            "family": self.family,
            "model_type": found.model_type,
            "task": found.task,
            "class": found.class_name,
            "checkpoint": found.checkpoint,
            "reasons": [*found.reasons, *self.reasons],
        } | {
            name: getattr(self, name)
            for name in ("config", "axes", "dims", "inputs", "without", "placeholders", "omit", "templated")
        }


def main() -> None:
    """Answers every request, in order."""
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    data = json.load(sys.stdin)
    for request in data["requests"]:
        answer = {"name": request["name"]} | _isolated(request, data)
        print(json.dumps(answer), file=events, flush=True)


def _isolated(request: Json, data: Json) -> Json:
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_answer, args=(request, data, sender), daemon=True)
    process.start()
    sender.close()
    limit = data["timeout_seconds"]
    try:
        answer = receiver.recv() if receiver.poll(limit) else None
    except EOFError:
        process.join()
        answer = _failed("build", f"the process ended with {process.exitcode}")
    if answer is None:
        process.kill()
        answer = _failed("build", f"timed out after {limit:g} s")
    process.join()
    return answer


def _answer(request: Json, data: Json, sender: Any) -> None:
    torch.set_num_threads(1)
    try:
        sender.send({"draft": suggest(request, data).to_json()})
    except Refused as refused:
        sender.send(_failed(*refused.args))


def _failed(stage: str, why: str) -> Json:
    return {"stage": stage, "reason": why}


class _Stage:
    """Turns whatever is raised inside into a refusal at that stage."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, Refused):
            raise Refused(self.name, reason(error)) from error


def suggest(request: Json, data: Json) -> Draft:
    """Finds the class, shrinks its config and tries it."""
    with _Stage("find"):
        found = find(request["name"], request["task"], request["hint"])
        family = request["family"] or _family(found, data)
        base = request["base"] or data["families"][family]
        draft = Draft(found, family, base, data["tasks"][found.task])
    with _Stage("config"):
        _configure(draft)
        draft = _templated(draft, request["template"])
    with _Stage("build"):
        eager = model.build(_job(draft, data, []))
    with _Stage("run"):
        _ports(draft, eager)
        _placeholders(draft, eager)
        _dims(draft, eager, data)
        _measure(draft, eager, data)
        _trials(draft, eager, data)
    return draft


def _family(found: Found, data: Json) -> str:
    family = FAMILIES.get(found.task)
    if found.task == "fill-mask" or found.task.startswith(("text-", "token-", "question-")):
        family = family or "encoder-only"
    if found.task == "feature-extraction":
        main = getattr(transformers, found.class_name).main_input_name
        family = {"input_values": "speech", "input_features": "speech"}.get(main, "encoder-only")
    if family not in data["families"]:
        raise ExportError(
            f"no family file suits task {found.task}; name one with --family: {', '.join(data['families'])}"
        )
    return family


def _configure(draft: Draft) -> None:
    """The smallest set of overrides that makes the tiny config."""
    config_class = getattr(transformers, draft.found.class_name).config_class
    if config_class.has_no_defaults_at_init:
        raise ExportError(
            f"{config_class.__name__} has no default: copy an entry that names its parts"
        )
    default, said = config_class(), draft.base["config"]
    nulls = drops(default, said)
    kept = merged(said, nulls)
    over = shrink(default, kept)
    whole = merged(kept, over)
    target = model._configure(config_class, whole).to_dict()
    model_class = getattr(transformers, draft.found.class_name)
    shapes = _shapes(model_class, whole)

    def same(config: Json) -> bool:
        try:
            return model._configure(config_class, config).to_dict() == target
        except Exception:
            return False

    for path in list(paths(over)):
        fewer = less(over, path)
        if same(merged(kept, fewer)) or (
            shapes and WIDTH.search(path[-1]) and shapes == _shapes(model_class, merged(kept, fewer))
        ):
            over = fewer
    draft.config = merged_nulls(over, nulls)
    draft.reasons += [
        f"config {'.'.join(path)}: {_at(default, path)} in {config_class.__name__}, shrunk to {_at(over, path)}"
        for path in paths(over)
    ]
    draft.reasons += [
        f"config {'.'.join(path)}: {config_class.__name__} has none" for path in paths(nulls)
    ]


def _shapes(model_class: Any, config: Json) -> dict[str, torch.Size] | None:
    """The shapes of a model's parameters; None where it cannot be built without memory."""
    try:
        with torch.device("meta"):
            built = model_class(model._configure(model_class.config_class, config))
        return {name: value.shape for name, value in built.named_parameters()}
    except Exception:
        return None


def _at(config: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        config = config[name] if isinstance(config, dict) else getattr(config, name, None)
    text = str(config)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _templated(draft: Draft, template: Json | None) -> Draft:
    """The draft, or one like the template where that needs fewer words."""
    if template is None or template["task"] != draft.found.task or draft.base.get("class"):
        return draft
    like = Draft(draft.found, draft.family, template, draft.contract, templated=True)
    _configure(like)
    fewer = len(list(paths(like.config))) < len(list(paths(draft.config)))
    return like if fewer else draft


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


def merged_nulls(over: Json, nulls: Json) -> Json:
    """Overrides and nulls together; no key is in both."""
    result = dict(over)
    for name, value in nulls.items():
        result[name] = (
            merged_nulls(result[name], value) if isinstance(result.get(name), dict) else value
        )
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
    if rest:
        inner = less(config[name], tuple(rest))
        return (config | {name: inner}) if inner else {k: v for k, v in config.items() if k != name}
    return {key: value for key, value in config.items() if key != name}


def _ports(draft: Draft, eager: nn.Module) -> None:
    """Drops inputs that the class does not take; takes the class's main input where the task has another."""
    takes = parameters_of(eager)
    own = [port["name"] for port in _inputs(draft)]
    draft.without = [name for name in own if name not in takes]
    main = eager.main_input_name
    if main not in own and main in PORTS:
        draft.inputs[main] = PORTS[main]
        draft.reasons.append(f"input {main}: the main input of {draft.found.class_name}")
    if draft.without:
        draft.reasons.append(f"without {', '.join(draft.without)}: forward does not take them")
    causal, generates = draft.contract["causal"], draft.contract["generation"]
    for check, name in (("causal", causal), ("generates", generates and generates["grows"])):
        if name in draft.without:
            draft.omit[check] = f"{draft.found.class_name} has no {name}: it does not decode token by token"


def _placeholders(draft: Draft, eager: nn.Module) -> None:
    """Image tokens in the text, as many as there are patches; the model itself corrects the number."""
    if draft.found.task != "image-text-to-text" or draft.base["placeholders"]:
        return
    for name in ("image_token_id", "image_token_index"):
        if type(getattr(eager.config, name, None)) is int:
            draft.placeholders = {name: (32 // 8) ** 2}
            return


def _dims(draft: Draft, eager: nn.Module, data: Json) -> None:
    """Paths for sizes that the config keeps under a name of its own."""
    ports = [*_inputs(draft), *_job(draft, data, []).outputs]
    used = {symbol for port in ports for symbol in (port["shape"] if isinstance(port, dict) else port.shape)}
    for symbol in sorted(used & PATHS.keys()):
        known = any(type(model._attribute(eager.config, path)) is int for path in data["dims"].get(symbol, ()))
        own = [path for path in PATHS[symbol] if type(model._attribute(eager.config, path)) is int]
        if own and not known:
            draft.dims[symbol] = own[:1]
            draft.reasons.append(f"dim {symbol}: {own[0]} of {type(eager.config).__name__}")


def _inputs(draft: Draft) -> list[Json]:
    """The inputs as the draft changes them."""
    ports = draft.base["inputs"] if draft.base["task"] == draft.found.task else None
    ports = [port for port in ports or draft.contract["inputs"] if port["name"] not in draft.without]
    added = [
        {"name": name, "dtype": "float32", "shape": port["shape"], "fill": {"kind": port["fill"]}}
        for name, port in draft.inputs.items()
    ]
    return [*added, *ports]


def _job(draft: Draft, data: Json, half: list[str]) -> Job:
    """The draft as a job."""
    base = draft.base if draft.base["task"] == draft.found.task else {}
    omitted = "generates" in draft.omit
    return Job.from_json(
        {
            "model": "draft",
            "family": draft.family,
            "task": draft.found.task,
            "class": draft.found.class_name,
            "source": {
                "package": "transformers",
                "version": transformers.__version__,
                "overlay": {},
            },
            "checkpoint": None,
            "weights": "random",
            "config": merged(draft.base["config"], draft.config),
            "seed": 0,
            "padding": draft.base["padding"],
            "dims": data["dims"] | draft.dims,
            "cases": _cases(draft),
            "inputs": _inputs(draft),
            "placeholders": draft.placeholders or draft.base["placeholders"],
            "outputs": base.get("outputs") or draft.contract["outputs"],
            "generation": None if omitted else _generation(draft),
            "new_tokens": data["new_tokens"],
            "half": half,
            "fault": None,
            "key": "",
            "directory": "",
        }
    )


def _generation(draft: Draft) -> Json | None:
    facts = draft.contract["generation"]
    names = {port["name"] for port in _inputs(draft)}
    return facts and {
        key: value if key in ("grows", "logits") or value in names else None
        for key, value in facts.items()
    }


def _axes(draft: Draft) -> Json:
    used = {symbol for port in _inputs(draft) for symbol in port["shape"]}
    axes = draft.base["axes"] | draft.axes
    used |= {axis["per"] for name, axis in axes.items() if name in used and "per" in axis}
    return {name: axis for name, axis in axes.items() if name in used}


def _cases(draft: Draft) -> list[Json]:
    """The traced sizes, then one case for every dynamic axis at its second size."""
    axes = _axes(draft)

    def sizes(grown: str | None) -> Json:
        own = {
            name: axis["size"] if "size" in axis else axis["dynamic"][name == grown]
            for name, axis in axes.items()
            if "per" not in axis
        }
        per = {name: own[axis["per"]] * axis["count"] for name, axis in axes.items() if "per" in axis}
        return own | per

    grown = [name for name, axis in axes.items() if "dynamic" in axis]
    return [{"name": name or "traced", "sizes": sizes(name)} for name in (None, *grown)]


def _measure(draft: Draft, eager: nn.Module, data: Json) -> None:
    """Sizes for the axes that the family leaves open: the first that the eager model takes."""
    dims = model.resolve_dims(_job(draft, data, []), eager.config)
    symbols = {
        symbol
        for port in _inputs(draft)
        for symbol in port["shape"]
        if isinstance(symbol, str) and symbol not in dims and symbol not in draft.base["axes"]
    }
    choices = [(name, SIZES.get(name, OTHER_SIZES)) for name in sorted(symbols)]
    failure: Exception | None = None
    for attempt in range(max([len(sizes) for _, sizes in choices], default=1)):
        draft.axes = {
            name: {"dynamic": list(sizes[min(attempt, len(sizes) - 1)])} for name, sizes in choices
        }
        failure = _fails(draft, eager, data, "traced")
        if failure is None:
            return
    raise failure


def _fails(draft: Draft, eager: nn.Module, data: Json, case: str) -> Exception | None:
    """What the eager model says to the inputs of a case; a wrong number of image tokens is corrected once."""
    for _ in range(2):
        job = _job(draft, data, [])
        try:
            dims = model.resolve_dims(job, eager.config)
            wanted = next(one for one in job.cases if one.name == case)
            filled = inputs.fill(job, eager.config, dims, wanted, job.padding)
            outputs, _ = evaluate(eager, job, filled, [])
            contract.check(job, wanted, dims, outputs)
            return None
        except Exception as error:
            if not _corrected(draft, str(error), wanted if "wanted" in locals() else None):
                return error
            failure = error
    return failure


def _corrected(draft: Draft, message: str, case: Case | None) -> bool:
    """Takes the number of image features out of the model's complaint about image tokens."""
    match = FEATURES.search(message)
    if not (draft.placeholders and match and case and "token" in message):
        return False
    (name,) = draft.placeholders
    count = math.ceil(int(match[1]) / case.sizes["batch"])
    changed = draft.placeholders[name] != count
    draft.placeholders = {name: count}
    return changed


def _trials(draft: Draft, eager: nn.Module, data: Json) -> None:
    """Runs the eager model at every size, in half precision, and lets it generate; notes what it refuses."""
    check_inputs(eager, _job(draft, data, []))
    for name, axis in _axes(draft).items():
        failure = _fails(draft, eager, data, name) if "dynamic" in axis else None
        if failure is not None and name == "batch":
            raise failure
        if failure is not None:
            size, why = axis["dynamic"][0], shortened(failure)
            draft.axes[name] = {"size": size, "fixed": f"at {axis['dynamic'][1]}: {why}"}
            draft.reasons.append(f"axis {name} is fixed: {why}")
    job = _job(draft, data, ["bfloat16"])
    dims = model.resolve_dims(job, eager.config)
    filled = inputs.fill(job, eager.config, dims, job.traced, job.padding)
    try:
        half = reference.converted(eager, torch.bfloat16)
        evaluate(half, job, reference.cast(filled, torch.bfloat16), [])
    except Exception as failure:
        _leave_out(draft, "half", failure)
    try:
        if job.generation:
            generation.generate(eager, job, dims)
    except Exception as failure:
        _leave_out(draft, "generates", failure)


def _leave_out(draft: Draft, check: str, failure: Exception) -> None:
    draft.omit[check] = f"eager: {shortened(failure)}"
    draft.reasons.append(f"check {check} is left out: {shortened(failure)}")


def shortened(failure: Exception) -> str:
    """The failure's one line, not too long for a spec."""
    text = reason(failure)
    return text if len(text) <= REASON_MAX else text[:REASON_MAX].rsplit(" ", 1)[0] + " …"


if __name__ == "__main__":
    main()
