"""What a class itself makes of padding, of later tokens and of the rows beside a row.

In: a draft whose eager model runs. Out: the side on which the class takes padding, and the checks that eager itself
cannot pass, each with what was measured. In float64, where rounding explains nothing.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from . import inputs, model
from .draft import Draft
from .errors import ExportError
from .foreign import Config, config_of
from .job import Job, Json, Output
from .program import Tensors
from .reference import Exact, widened
from .situations import Situation, row_of, situations

# The largest difference that is none, as a share of the output's size.
SAME = 1e-6
SIDES = ("right", "left", "none")
EAGER = "eager itself, in float64"
DRAWS = "eager itself draws random numbers"
PADDING = "padding_invariant"
CHECKS = {"row": "batch_invariant", "padding": PADDING, "token": "causal"}
WORDS = {
    "row": "a row alone has another {name}",
    "padding": "padding moves {name} where there is none",
    "token": "a later token moves {name} before it",
}


def take_sides(draft: Draft, eager: nn.Module, data: Json) -> None:
    """The first side of padding that moves nothing; checks that eager itself fails are left out."""
    exact, config = widened(eager), config_of(eager)
    usual = draft.base["padding"]
    found = {
        side: _moved(draft, side, exact, config, data) for side in _sides(draft, usual, exact, config, data)
    }
    side = next((side for side in found if PADDING not in found[side]), usual)
    if side != usual:
        draft.padding = side
        draft.reasons.append(f"padding {side}: {usual}, padding moves what eager returns")
    for check, why in found[side].items():
        if check not in draft.omit:
            draft.omit[check] = why
            draft.reasons.append(f"check {check} is left out: {why}")


def _sides(draft: Draft, usual: str, exact: Exact, config: Config, data: Json) -> Iterator[str]:
    """The family's own, and others where padding on that moves something."""
    yield usual
    if PADDING in _moved(draft, usual, exact, config, data):
        yield from (side for side in SIDES if side != usual)


def _moved(draft: Draft, side: str, exact: Exact, config: Config, data: Json) -> dict[str, str]:
    """The checks that eager itself fails with padding on that side, and by how much."""
    job = replace(
        draft.job(data), padding=side, pads=True, rows=_rows(draft), causal=draft.contract["causal"]
    )
    if job.causal not in [port.name for port in job.inputs]:
        job = replace(job, causal=None)
    dims = model.resolve_dims(job, config)
    traced = inputs.fill(job, config, dims, job.traced, job.padding)
    found: dict[str, str] = {}
    try:
        for check, why in moved(job, exact, traced, situations(job, config, dims, traced)):
            found.setdefault(check, why)
    except ExportError:
        # What eager cannot run is told by the export of the entry, which does the same.
        pass
    return found


def moved(job: Job, exact: Exact, traced: Tensors, changed: list[Situation]) -> Iterator[tuple[str, str]]:
    """The checks that eager fails in float64 in these situations of the traced case, and by how much."""
    whole = exact(job, traced)
    who = DRAWS if _draws(exact, job, traced, whole) else EAGER
    for situation in changed:
        kind = situation.facts["change"]
        for port, now, before in _compared(job, situation, traced, whole, exact):
            share = _difference(now, before)
            if share > SAME:
                told = WORDS[kind].format(name=port.name)
                yield CHECKS[kind], f"{who}: {told}, by {share:.1g} of its size"


def _draws(exact: Exact, job: Job, traced: Tensors, whole: Tensors) -> bool:
    """Whether another seed alone moves an output: other shapes draw other numbers, whatever stands in them."""
    again = exact(replace(job, seed=job.seed + 1), traced)
    return any(
        _difference(again[name], value) > SAME for name, value in whole.items() if value.is_floating_point()
    )


def _rows(draft: Draft) -> dict[str, int]:
    """Axis → its slices for one row of the batch."""
    axes = draft.used_axes()
    followers = {name: axis["count"] for name, axis in axes.items() if axis.get("per") == "batch"}
    return {"batch": 1} | followers if "batch" in axes else {}


def _compared(
    job: Job, situation: Situation, traced: Tensors, whole: Tensors, exact: Exact
) -> Iterator[tuple[Output, Tensor, Tensor]]:
    """Each float output in a situation, and what must be the same of it, at the positions that the check holds."""
    outputs = exact(job, situation.inputs)
    facts = situation.facts
    for port in job.outputs:
        now, before = outputs[port.name], whole[port.name]
        if facts["change"] == "row":
            before = row_of(before, port, job, facts["row"])
        elif facts["change"] == "padding":
            for dim in (dim for dim, symbol in enumerate(port.shape) if symbol == facts["axis"]):
                now = now.narrow(dim, facts["before"], now.shape[dim] - facts["before"] - facts["after"])
        held = _held(job, situation, traced, port)
        if now.shape == before.shape and now.is_floating_point():
            yield (port, now[held], before[held]) if held is not None else (port, now, before)


def _held(job: Job, situation: Situation, traced: Tensors, port: Output) -> Tensor | None:
    """The positions of rows that are held to what they were; None for all of an output that has none of its own."""
    facts = situation.facts
    if facts["change"] == "row":
        return None
    if facts["change"] == "token":
        entry = next(entry for entry in job.inputs if entry.name == facts["input"])
        changed = situation.inputs[entry.name] != traced[entry.name]
        held = changed.cumsum(1) == 0
        # Padding may see what it likes.
        for mask in (mask for mask in job.of_kind("mask") if mask.shape == entry.shape):
            held = held & traced[mask.name].bool()
        # An output that does not follow the tokens says nothing of them.
        return held if port.shape[:2] == entry.shape else torch.zeros((), dtype=torch.bool)
    entry = next(entry for entry in job.inputs if entry.name == facts["mask"])
    return traced[entry.name].bool() if port.shape[: len(entry.shape)] == entry.shape else None


def _difference(now: Tensor, before: Tensor) -> float:
    """The largest difference as a share of the size of all; 0 where nothing is compared."""
    finite = now.isfinite() & before.isfinite()
    off = (now - before)[finite]
    size = before[finite].square().mean().sqrt().item() if off.numel() else 0.0
    return off.abs().max().item() / size if size else 0.0
