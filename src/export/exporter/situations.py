"""What checks do to the inputs of the traced case.

In: a job and the traced inputs. Out: the same inputs in every situation that a check makes, and what the manifest says
about each. The rule holds a program to the rounding error that eager has in that very situation.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import ExportError
from .inputs import ordinary_tokens
from .job import Input, Job, Json, Output
from .model import Config
from .program import Tensors

# Padding that is added to every row.
EXTRA = 3


@dataclass(frozen=True)
class Situation:
    """Changed inputs, by a name that is unique in the artifact; `facts` is what was changed."""

    name: str
    inputs: Tensors
    facts: Json
    # The row of the traced case that is all there is, if it is one.
    row: int | None = None


def situations(job: Job, config: Config, dims: dict[str, int], traced: Tensors) -> list[Situation]:
    """All situations that the job's checks make."""
    ordinary = ordinary_tokens(config, dims) if job.causal else []
    return [*_rows(job, traced), *_padding(job, traced), *_changed_token(job, ordinary, traced)]


def _rows(job: Job, traced: Tensors) -> Iterator[Situation]:
    """Every row alone; `job.rows` says how many slices of each axis belong to a row."""
    count = job.traced.sizes["batch"] if job.rows else 0
    for row in range(count):
        alone = {entry.name: row_of(traced[entry.name], entry, job, row) for entry in job.inputs}
        yield Situation(f"row-{row}", alone, {"change": "row", "row": row}, row)


def row_of(value: Tensor, port: Input | Output, job: Job, row: int) -> Tensor:
    """What an input or output of the traced case holds of a row."""
    for dim, symbol in enumerate(port.shape):
        width = job.rows.get(symbol) if isinstance(symbol, str) else None
        if width:
            value = value.narrow(dim, row * width, width)
    return value


def _padding(job: Job, traced: Tensors) -> Iterator[Situation]:
    """More padding on the side where it is, for each mask in turn."""
    for mask in job.of_kind("mask") if job.pads else []:
        axis = mask.shape[-1]
        if isinstance(axis, int):
            continue
        before, after = (EXTRA, 0) if job.padding == "left" else (0, EXTRA)
        padded = {entry.name: _padded(traced[entry.name], entry, axis, before, after) for entry in job.inputs}
        facts = {"change": "padding", "mask": mask.name, "axis": axis, "before": before, "after": after}
        yield Situation(f"padding-{mask.name}", padded, facts)


def _padded(value: Tensor, entry: Input, axis: str, before: int, after: int) -> Tensor:
    for dim, symbol in enumerate(entry.shape):
        if symbol == axis:
            sizes = list(value.shape)
            sides = [value.new_zeros([*sizes[:dim], width, *sizes[dim + 1 :]]) for width in (before, after)]
            value = torch.cat([sides[0], value, sides[1]], dim)
    return value


def _changed_token(job: Job, ordinary: list[int], traced: Tensors) -> Iterator[Situation]:
    """The last real token of every row becomes the next ordinary one."""
    entry = next((entry for entry in job.inputs if entry.name == job.causal), None)
    if entry is None:
        return
    tokens = traced[entry.name].clone()
    if tokens.ndim != 2:
        raise ExportError(f"{entry.name} is no row of tokens: omit `causal`, with the reason")
    mask = next((traced[mask.name] for mask in job.of_kind("mask") if mask.shape == entry.shape), None)
    real = torch.ones_like(tokens) if mask is None else mask
    if len(ordinary) < 2:
        raise ExportError("no second ordinary token in the vocabulary: nothing to change for `causal`")
    for row, shown in zip(tokens, real, strict=True):
        end = int(shown.nonzero().max())
        later = [token for token in ordinary if token > row[end]]
        row[end] = later[0] if later else ordinary[0]
    facts = {"change": "token", "input": entry.name}
    yield Situation(f"token-{entry.name}", {**traced, entry.name: tokens}, facts)
