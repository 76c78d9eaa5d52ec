"""The outputs of a class that has others than its task promises.

In: a draft whose inputs the class takes. Out: the outputs as the spec would say them.
"""

import torch
from torch import Tensor, nn

from . import inputs, model
from .draft import Draft
from .errors import ExportError, stage
from .foreign import config_of
from .job import Case, Job, Json
from .program import called, named

# What is returned for training, for the next call or for a look inside.
ASIDE = ("loss", "cache", "past_key_values", "hidden_states", "attentions", "decoder_", "cross_", "router_")


def returned(draft: Draft, eager: nn.Module, data: Json) -> Json:
    """The float outputs with their shapes: axes of the call by name, other sizes that move with them by a symbol."""
    job = draft.job(data)
    seen = [(case, found) for case in job.cases if (found := _outputs(eager, job, case)) is not None]
    if not seen:
        return {}
    found_in_all: Json = {}
    free: dict[tuple[int, ...], str] = {}
    for name, first in seen[0][1].items():
        shapes = [found[name].shape for _, found in seen if name in found]
        if len(shapes) == len(seen) and all(len(shape) == first.ndim for shape in shapes):
            sizes = zip(*shapes, strict=True)
            found_in_all[name] = {
                "shape": [_symbol(size, [case for case, _ in seen], free) for size in sizes]
            }
    return found_in_all


def _symbol(sizes: tuple[int, ...], cases: list[Case], free: dict[tuple[int, ...], str]) -> str | int:
    if len(set(sizes)) == 1 and sizes[0] != cases[0].sizes.get("batch"):
        return sizes[0]
    axes = (axis for axis in cases[0].sizes if sizes == tuple(case.sizes[axis] for case in cases))
    return next(axes, None) or free.setdefault(sizes, f"places{len(free) or ''}")


def _outputs(eager: nn.Module, job: Job, case: Case) -> dict[str, Tensor] | None:
    """What the class returns at a case; None where it does not take the case's sizes."""
    try:
        filled = inputs.fill(
            job, config_of(eager), model.resolve_dims(job, config_of(eager)), case, job.padding
        )
        torch.manual_seed(job.seed)
        with stage(f"{job.class_name}.forward"), torch.no_grad():
            result = called(eager, filled)
    except ExportError:
        return None
    if isinstance(result, Tensor):
        result = {"last_hidden_state": result}
    return {
        name: value
        for name, value in named(result).items()
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and value.ndim
        and not name.startswith(ASIDE)
    }
