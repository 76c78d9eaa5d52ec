"""A draft's eager model put to everything that the entry will promise.

In: a draft that has its config. Out: the draft with sizes that the model takes, and without the checks that it
cannot pass. Only a limitation that `limits` knows is left out; any other failure ends the draft.
"""

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import product

import torch
import transformers
from torch import nn

from . import contract, generation, inputs, limits, model, reference
from .calls import parameters_of
from .documented import PATCHES, documented
from .draft import Draft
from .errors import ExportError
from .foreign import config_of
from .invariance import take_sides
from .job import Case, Job, Json
from .lent import lent
from .overrides import merged, shapes
from .ports import forms, placeholders, take_dims
from .program import check_inputs, evaluate
from .returns import returned

# Sizes to try for an axis, after the family's own; the first that the eager model takes is traced.
SIZES = {
    "image": [(32, 48), (64, 96)],
    "samples": [(1600, 2240), (3200, 4480), (3840, 5760)],
    "frames": [(40, 56), (64, 96), (128, 192)],
    "target": [(8, 13)],
    "sequence": [(12, 19)],
}
OTHER_SIZES = [(6, 9), (12, 19)]
# Axes of tokens fit every class as the family has them, unless many of the tokens are placeholders.
TOKENS = ("sequence", "target")
FEATURES = re.compile(r"features: (\d+)|features[^0-9]*(\d+)")
ROOM = re.compile(r"(\d+) placeholders do not fit")
# Tokens beside placeholders, in a row of the first size and of the second.
BESIDE = (4, 11)
MULTIPLE = re.compile(r"multiple of (?:.*\()?(\d+)")
POSITIONS = "position_ids"
READ = {POSITIONS, "attention_mask"}
# Inputs that belong to a text, as they go in.
OF_TEXT: Json = {
    "input_ids": {"shape": ["batch", "sequence"], "fill": "tokens"},
    "attention_mask": {"shape": ["batch", "sequence"], "fill": "mask"},
    "bbox": {"shape": ["batch", "sequence", 4], "fill": "uniform"},
}
LEARNED = "one learned position embedding for each patch of image_size"


def measure(draft: Draft, eager: nn.Module, data: Json) -> None:
    """The first form of the main input and the first sizes that the eager model takes."""
    first = draft.inputs
    failures = _failures(draft, eager, data, ((form, {}) for form in forms(draft, eager)))
    if failures is None:
        return
    draft.inputs = first
    asked = _asked_for(draft, eager, failures)
    added = _told(eager, asked)
    if added:
        draft.inputs = draft.inputs | added
        draft.reasons.append(f"inputs {', '.join(added)}: {draft.found.class_name} asks for them")
        measure(draft, eager, data)
        return
    others = lent(draft, eager, data["entries"], asked)
    if _failures(draft, eager, data, ((first | form, axes) for form, axes in others)) is not None:
        # What the class complains of says more than an output that it lacks, and most where it had all its inputs.
        raise max(failures, key=lambda failure: _depth(failure.__cause__))
    draft.reasons.append(f"inputs {', '.join(draft.inputs)}: as other entries have them")


def _told(eager: nn.Module, asked: set[str]) -> Json:
    """Those of the inputs that are of texts, or of a documented shape."""
    ports = {name: OF_TEXT.get(name) or documented(eager, name) for name in sorted(asked)}
    return {name: port for name, port in ports.items() if port}


def _depth(cause: BaseException | None) -> int:
    """How far a class came before it failed."""
    return 0 if cause is None else 1 if isinstance(cause, TypeError | AttributeError) else 2


def _failures(
    draft: Draft, eager: nn.Module, data: Json, offered: Iterable[tuple[Json, Json]]
) -> list[ExportError] | None:
    """What the class says to inputs in these forms, each with its axes; None as soon as one fits."""
    failures: list[ExportError] = []
    draft.returns = {}
    promised = [port["name"] for port in draft.outputs]
    offered = list(offered)
    for own_outputs in (False, True):
        # Where the class's own code complains of every form, other outputs do not help.
        if own_outputs and all(failure.__cause__ for failure in failures):
            break
        for form, axes in offered:
            draft.inputs, draft.lent = form, axes
            draft.returns = dict.fromkeys(promised) if own_outputs else {}
            failure = _fits(draft, eager, data)
            if failure is None:
                return None
            failures.append(failure)
    return failures


def _asked_for(draft: Draft, eager: nn.Module, failures: list[ExportError]) -> set[str]:
    """Inputs that the class's own complaints name, and that it was not given."""
    said = " ".join(str(failure) for failure in failures if failure.__cause__)
    free = parameters_of(eager).keys() - {port["name"] for port in draft.ports}
    asked = {name for name in free if re.search(rf"\b{name}\b", said)}
    # A text never goes without its mask.
    return asked | (free & {"attention_mask"} if "input_ids" in asked else set())


def _fits(draft: Draft, eager: nn.Module, data: Json) -> ExportError | None:
    """What the eager model says to the inputs in this form, at the first sizes, if no sizes fit.

    Where the draft drops all outputs of the task, it is given those of the class.
    """
    own_outputs, none = bool(draft.returns), draft.returns
    draft.dims = {}
    draft.dims, reasons = take_dims(draft, eager, data)
    failures = []
    try:
        sizes = list(_sizes(draft, eager, data))
    except ExportError as error:
        return error
    tries = deque(product(sizes, placeholders(draft, eager)))
    while tries:
        axes, held = tries.popleft()
        draft.axes, draft.placeholders, draft.returns = axes, held, none
        failure = fails(draft, eager, data, "traced")
        if failure is None and own_outputs:
            draft.returns = _own_outputs(draft, none, returned(draft, eager, data))
            failure = fails(draft, eager, data, "traced")
            names = ", ".join(name for name, port in draft.returns.items() if port)
            reasons = [*reasons, f"outputs {names}: as {draft.found.class_name} returns them"]
        if failure is None:
            draft.reasons += reasons
            return None
        failures.append(failure)
        wanted = _multiples(axes, str(failure)) or _longer(axes, str(failure))
        if wanted and wanted not in sizes:
            sizes.append(wanted)
            tries.append((wanted, held))
    # A size that does not fit says least: others were tried.
    return next((failure for failure in failures if limits.told(failure, limits.SIZE) is None), failures[0])


def _multiples(axes: Json, message: str) -> Json | None:
    """The sizes that were tried, in multiples of the number that the model's complaint asks for."""
    match = MULTIPLE.search(message)
    if match is None:
        return None
    count = int(match[1])
    free = {name: axis for name, axis in axes.items() if "dynamic" in axis and name not in TOKENS}
    return axes | {name: {"dynamic": [count, 2 * count]} for name in free} if free else None


def _longer(axes: Json, message: str) -> Json | None:
    """The sizes that were tried, with rows of text in which the placeholders that do not fit have room."""
    match = ROOM.search(message)
    return axes | {"sequence": {"dynamic": [int(match[1]) + more for more in BESIDE]}} if match else None


def _own_outputs(draft: Draft, promised: Json, found: Json) -> Json:
    """The class's outputs; of a task with a head those that it promises, whose shapes alone may be others, if any."""
    kept = {name: found[name] for name in promised if name in found}
    return kept if kept and "feature-extraction" not in draft.found.task else promised | found


def _sizes(draft: Draft, eager: nn.Module, data: Json) -> Iterator[Json]:
    """Sizes of the axes that the family leaves open; other ones than the family's where those do not fit."""
    dims = model.resolve_dims(draft.job(data), config_of(eager))
    symbols = {symbol for port in draft.ports for symbol in port["shape"] if isinstance(symbol, str)}
    choices: dict[str, list] = {}
    known = PATCHES | draft.lent
    rows = {
        name: known[name] for name in symbols & known.keys() if known[name] != draft.base["axes"].get(name)
    }
    for name in sorted(symbols - dims.keys() - rows.keys()):
        if name not in draft.base["axes"]:
            choices[name] = SIZES.get(name, OTHER_SIZES)
        elif name in SIZES and name not in TOKENS and "dynamic" in draft.base["axes"][name]:
            choices[name] = [None, *SIZES[name]]
    for attempt in range(max(map(len, choices.values()), default=1)):
        chosen = {name: sizes[min(attempt, len(sizes) - 1)] for name, sizes in choices.items()}
        yield rows | {name: {"dynamic": list(size)} for name, size in chosen.items() if size}


def fails(draft: Draft, eager: nn.Module, data: Json, case: str) -> ExportError | None:
    """What the eager model says to the inputs of a case; a wrong number of image tokens is corrected once."""
    failure = None
    for _ in range(2):
        job = draft.job(data)
        wanted = job.case(case)
        try:
            dims = model.resolve_dims(job, config_of(eager))
            filled = inputs.fill(job, config_of(eager), dims, wanted, job.padding)
            outputs, _ = evaluate(eager, job, filled, [])
            contract.check(job, wanted, dims, outputs)
            return None
        except ExportError as error:
            failure = error
            if not _corrected(draft, job.placeholders, str(error), wanted):
                break
    return failure


def _corrected(draft: Draft, held: dict[str, int], message: str, case: Case) -> bool:
    """Takes the number of image features out of the model's complaint about image tokens."""
    # Of "features and tokens do not match, tokens: 8, features: 4" the number that is named.
    match = max(FEATURES.finditer(message), key=lambda found: found[1] is not None, default=None)
    if not (len(held) == 1 and match and "token" in message):
        return False
    ((name, before),) = held.items()
    count = math.ceil(int(match[1] or match[2]) / case.sizes["batch"])
    draft.placeholders = draft.placeholders | {name: count}
    return before != count


def put_to(draft: Draft, eager: nn.Module, data: Json) -> None:
    """Every second size, padding, half precision and generation, as far as the architecture knows them."""
    check_inputs(eager, draft.job(data))
    _drop_unread(draft, eager, data)
    for name, axis in draft.used_axes().items():
        if "dynamic" in axis and (failure := fails(draft, eager, data, name)):
            _fix(draft, name, axis["dynamic"], failure)
    take_sides(draft, eager, data)
    job = draft.job(data, half=("bfloat16",))
    dims = model.resolve_dims(job, config_of(eager))
    if "half" not in draft.omit:
        _halve(draft, eager, job, dims)
    if job.generation:
        try:
            generation.generate(eager, job, dims)
        except ExportError as failure:
            _leave_out(draft, "generates", failure, limits.GENERATES)


def _halve(draft: Draft, eager: nn.Module, job: Job, dims: dict[str, int]) -> None:
    """Runs the class in half precision; the check is left out where torch has no kernel for it."""
    filled = inputs.fill(job, config_of(eager), dims, job.traced, job.padding)
    try:
        half = reference.converted(eager, torch.bfloat16)
        evaluate(half, job, reference.cast(filled, torch.bfloat16), [])
    except ExportError as failure:
        _leave_out(draft, "half", failure, limits.HALF)


def _drop_unread(draft: Draft, eager: nn.Module, data: Json) -> None:
    """Leaves out masks and position ids that forward takes and no output depends on."""
    job = draft.job(data)
    config = config_of(eager)
    filled = inputs.fill(job, config, model.resolve_dims(job, config), job.traced, job.padding)
    before, _ = evaluate(eager, job, filled, [])
    for name in READ & filled.keys():
        other = 2 * filled[name]
        if name != POSITIONS:
            # A mask holds no other numbers.
            other = filled[name].clone()
            other[..., -1] = 1 - other[..., -1]
        after, _ = evaluate(eager, job, filled | {name: other}, [])
        if all(torch.equal(value, after[output]) for output, value in before.items()):
            draft.without = [*draft.without, name]
            draft.reasons.append(f"without {name}: no output depends on it")


def _fix(draft: Draft, name: str, sizes: list[int], failure: ExportError) -> None:
    """Fixes an axis at the one size that the class takes."""
    why = limits.told(failure, limits.SIZE)
    if name == "batch" or why is None:
        raise failure
    if name == "image" and _learns_places(draft):
        why = LEARNED
    draft.axes[name] = {"size": sizes[0], "fixed": why}
    draft.reasons.append(f"axis {name} is fixed: {why}")


def _learns_places(draft: Draft) -> bool:
    """Whether the parameters whose shape follows the config's image size are positions."""
    model_class = getattr(transformers, draft.found.class_name)
    config = draft.whole_config
    before = shapes(model_class, config) or {}
    twice = {"image_size": 64}
    for over in (twice, {"vision_config": twice}):
        after = shapes(model_class, merged(config, over)) or before
        changed = [name for name, shape in before.items() if after.get(name) != shape]
        if changed:
            return all("pos" in name for name in changed)
    return False


def _leave_out(draft: Draft, check: str, failure: ExportError, known: limits.Known) -> None:
    why = limits.told(failure, known)
    if why is None:
        raise failure
    draft.omit[check] = why
    draft.reasons.append(f"check {check} is left out: {why}")
