"""Planted faults: programs that are wrong in exactly one way, to prove that a check would notice.

In: a healthy model and the name of a fault. Out: programs that replace healthy ones of the artifact;
everything else in it stays healthy. A fault that cannot change a model's behaviour is `not applicable: …`.
"""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import cache_faults
from .adapters.common import masking_utils, replaced
from .decoding import Decoder
from .errors import ExportError, nearest
from .job import Job
from .model import EAGER
from .program import HEALTHY, Hooks, Program, Tensors, evaluate, first_tensor, trace
from .reference import cast, converted

# Names of parameters and buffers that hold one row per position.
POSITION_TABLE = re.compile(r"pos(ition)?(al)?_?(ids_)?emb|embed_pos|\bwpe\b|relative_attention_bias|rel_pos")


SPARE = "spare-parameter"
# Of what a program draws, the same in both.
SEED = 0


@dataclass(frozen=True)
class Site:
    """Where a fault is planted: a copy of the model, and what it is run on."""

    job: Job
    model: nn.Module
    layers: list[str]
    cases: dict[str, Tensors]
    argument: str

    @property
    def traced(self) -> Tensors:
        """The inputs of the traced case."""
        return self.cases[self.job.traced.name]


Fault = Callable[[Site], Hooks]


def prepare(job: Job, model: nn.Module) -> None:
    """Plants the one fault that is in the model, before anything is taken from it: a parameter that it never uses."""
    if job.fault == SPARE:
        model.register_parameter("spare", nn.Parameter(torch.ones(2), requires_grad=False))


def plant(
    job: Job,
    eager: nn.Module,
    served: nn.Module,
    layers: list[str],
    cases: dict[str, Tensors],
    decoder: Decoder | None,
) -> dict[str, torch.jit.ScriptModule]:
    """The faulty programs by file name."""
    name, _, argument = (job.fault or "").partition(":")
    if name == SPARE:
        return {}
    if name in cache_faults.FAULTS:
        return _faulty_decoding(name, decoder)
    if name not in FAULTS:
        raise ExportError(f"no fault {name!r}{nearest(name, (*FAULTS, *cache_faults.FAULTS))}")
    if name.startswith("eager-"):
        if eager is served:
            raise not_applicable(f"{job.class_name} has no other attention")
        return {
            f"program.{EAGER}.pt": _faulty(name, Site(job, copy.deepcopy(eager), layers, cases, argument))
        }
    if not name.startswith("half-"):
        return {"program.pt": _faulty(name, Site(job, copy.deepcopy(served), layers, cases, argument))}
    if not job.half:
        raise not_applicable("the job has no half-precision program")
    planted = {}
    for half in job.half:
        dtype = getattr(torch, half)
        halved = {case: cast(inputs, dtype) for case, inputs in cases.items()}
        site = Site(job, converted(served, dtype), layers, halved, argument)
        planted[f"program.{half}.pt"] = _faulty(name, site)
    return planted


def not_applicable(why: str) -> ExportError:
    """The fault has nothing to take hold of in this model."""
    return ExportError(f"not applicable: {why}")


def _faulty(name: str, site: Site) -> torch.jit.ScriptModule:
    """The faulty program, once it is certain that some case shows the fault.

    It is held to the healthy program, not to eager: an adapter rounds otherwise, and that is no fault.
    """
    healthy = trace(Program(site.model, site.job), site.traced)
    script = trace(Program(site.model, site.job, FAULTS[name](site)), site.traced)
    if not any(_shows(script, healthy, inputs) for inputs in site.cases.values()):
        raise not_applicable(f"{site.job.fault} changes no output of {site.job.class_name}")
    return script


def _faulty_decoding(name: str, decoder: Decoder | None) -> dict[str, torch.jit.ScriptModule]:
    """The faulty program that decodes, once it is certain that one call shows the fault."""
    file, fault = cache_faults.FAULTS[name]
    hooks = decoder and fault(decoder)
    if decoder is None or hooks is None:
        raise not_applicable("nothing of that kind is decoded with")
    program, example = next(
        (program, example) for made, program, example in decoder.programs() if made == file
    )
    healthy = trace(program, example)
    program.hooks = hooks
    script = trace(program, example)
    if not _shows(script, healthy, example):
        raise not_applicable(f"{name} changes no output of {decoder.job.class_name}")
    return {file: script}


def _shows(script: torch.jit.ScriptModule, healthy: torch.jit.ScriptModule, inputs: Tensors) -> bool:
    """Whether the program fails where the healthy one does not, or returns anything else."""
    with torch.no_grad():
        torch.manual_seed(SEED)
        expected = healthy(*inputs.values())
        torch.manual_seed(SEED)
        try:
            outputs = script(*inputs.values())
        except RuntimeError:
            return True
    pairs = zip(expected, outputs, strict=False)
    return any(before.dtype != after.dtype or not torch.equal(before, after) for before, after in pairs)


# Faults of the inputs.


def _mask_ignored(site: Site) -> Hooks:
    masks = {entry.name for entry in site.job.of_kind("mask")}
    return Hooks(inputs=lambda inputs: _changed(inputs, masks, torch.ones_like))


def _input_disconnected(site: Site) -> Hooks:
    if site.argument not in site.traced:
        raise not_applicable(f"{site.job.class_name} has no input {site.argument!r} in this job")
    # A copy: the tracer knows the traced inputs themselves, and would connect them again.
    constant = site.traced[site.argument].clone()

    def frozen(live: Tensor) -> Tensor:
        fitted = constant
        for dim, size in enumerate(constant.shape):
            # Beyond the traced size the last entry repeats.
            fitted = fitted.index_select(dim, torch.arange(live.shape[dim]).clamp(max=size - 1))
        return fitted

    return Hooks(inputs=lambda inputs: _changed(inputs, {site.argument}, frozen))


def _length_baked(site: Site) -> Hooks:
    return _baked(site, lambda symbol: symbol not in _row_symbols(site.job))


def _batch_baked(site: Site) -> Hooks:
    return _baked(site, lambda symbol: symbol in _row_symbols(site.job))


def _row_symbols(job: Job) -> set[str | int]:
    """What counts rows: batch, and whatever else leads the shape of an input."""
    return {entry.shape[0] for entry in job.inputs}


def _baked(site: Site, wanted: Callable[[str], bool]) -> Hooks:
    sizes = [case.sizes for case in site.job.cases]
    dynamic = {symbol for symbol in sizes[0] if wanted(symbol) and len({case[symbol] for case in sizes}) > 1}
    if not dynamic:
        raise not_applicable("no case changes such an axis")
    baked = {
        entry.name: {dim: sizes[0][symbol] for dim, symbol in enumerate(entry.shape) if symbol in dynamic}
        for entry in site.job.inputs
    }

    def fitted(inputs: Tensors) -> Tensors:
        cut = dict(inputs)
        for name in inputs:
            for dim, size in baked[name].items():
                whole = cut[name]
                spare = whole.new_zeros([*whole.shape[:dim], size, *whole.shape[dim + 1 :]])
                cut[name] = torch.cat([whole, spare], dim).narrow(dim, 0, size)
        return cut

    return Hooks(inputs=fitted)


# Faults of the model.


def _positions_shifted(site: Site) -> Hooks:
    """Each position takes its left neighbour's place: its id, its row of a table, or its rotation.

    Adding 1 to every id would change nothing in models that look at distances only.
    """
    positions = {entry.name for entry in site.job.of_kind("positions")}
    if positions:
        return Hooks(inputs=lambda inputs: _changed(inputs, positions, lambda ids: ids.roll(1, -1)))
    named = [*site.model.named_parameters(), *site.model.named_buffers()]
    tables = [tensor for name, tensor in named if POSITION_TABLE.search(name) and tensor.ndim >= 2]
    for table in tables:
        table.copy_(table.roll(1, -2))
    rotations = [module for module in site.model.modules() if "Rotary" in type(module).__name__]
    for module in rotations:
        module.register_forward_hook(
            lambda _module, _inputs, turned: tuple(part.roll(1, -2) for part in turned)
        )
    if not tables and not rotations:
        raise not_applicable(f"no position input, table or rotation was found in {site.job.class_name}")
    return HEALTHY


def _causal_mask_removed(site: Site) -> Hooks:
    if masking_utils is None:
        raise not_applicable(f"{site.job.class_name} makes its masks itself")

    def everything(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= 0) & (key >= 0)

    return Hooks(around=lambda: replaced(masking_utils, "causal_mask_function", everything))


def _last_layer_dropped(site: Site) -> Hooks:
    """Replaces a layer by one that does nothing.

    Of the layers that hold no other layer and return the shape they take, it is the last to finish.
    """
    leaves = [path for path in site.layers if not any(other.startswith(f"{path}.") for other in site.layers)]
    kept: list[tuple[str, int | None]] = []

    def watch(path: str, given: Any, returned: Any) -> None:
        before, after = first_tensor(given), first_tensor(returned)
        if before is not None and after is not None and before.shape == after.shape:
            kept.append((path, len(returned) if isinstance(returned, tuple) else None))

    hooks = [
        site.model.get_submodule(path).register_forward_hook(
            lambda _layer, args, kwargs, out, path=path: watch(path, [*args, kwargs], out),
            with_kwargs=True,
        )
        for path in leaves
    ]
    evaluate(site.model, site.job, site.traced, [])
    for hook in hooks:
        hook.remove()
    if not kept:
        raise not_applicable(f"{site.job.class_name} has no layer that returns the shape it takes")
    path, width = kept[-1]
    site.model.set_submodule(path, _Nothing(site.model.get_submodule(path), width))
    return HEALTHY


class _Nothing(nn.Module):
    """Returns its input in the form of the layer it stands for: a tensor, or a tuple that starts with it."""

    def __init__(self, layer: nn.Module, width: int | None) -> None:
        super().__init__()
        self.width = width
        for name, value in vars(layer).items():
            # Models read such things from their layers: `layer.attention_type`.
            if not name.startswith("_"):
                setattr(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The first tensor it is given."""
        hidden = first_tensor([*args, kwargs])
        return hidden if self.width is None else (hidden, *[None] * (self.width - 1))


# Faults of the outputs.


def _on_outputs(change: Callable[[Site, Tensors], Tensors]) -> Fault:
    return lambda site: Hooks(outputs=lambda outputs: change(site, outputs))


def _on_first(change: Callable[[Tensor], Tensor]) -> Fault:
    def first(_site: Site, outputs: Tensors) -> Tensors:
        return _changed(outputs, {next(iter(outputs))}, change)

    return _on_outputs(first)


def _on_floats(change: Callable[[Tensor], Tensor]) -> Fault:
    return _on_outputs(lambda _site, outputs: _changed(outputs, _floats(outputs), change))


def _along_batch(change: Callable[[Tensor, int], Tensor]) -> Fault:
    """Changes the float outputs that have a batch dimension, given its place."""

    def apply(site: Site, outputs: Tensors) -> Tensors:
        for entry in site.job.outputs:
            if "batch" in entry.shape and entry.name in _floats(outputs):
                dim = entry.shape.index("batch")
                outputs = {**outputs, entry.name: change(outputs[entry.name], dim)}
        return outputs

    return _on_outputs(apply)


def _reordered(_site: Site, outputs: Tensors) -> Tensors:
    if len(outputs) > 1:
        return dict(reversed(outputs.items()))
    return {name: value.roll(1, -1) for name, value in outputs.items()}


def _with_nan(value: Tensor) -> Tensor:
    spoilt = value.clone(memory_format=torch.contiguous_format)
    spoilt.view(-1)[0] = torch.nan
    return spoilt


def _floats(tensors: Tensors) -> set[str]:
    return {name for name, value in tensors.items() if value.is_floating_point()}


def _changed(tensors: Tensors, names: set[str], change: Callable[[Tensor], Tensor]) -> Tensors:
    """The tensors, those of that name changed."""
    return {name: change(value) if name in names else value for name, value in tensors.items()}


FAULTS: dict[str, Fault] = {
    "mask-ignored": _mask_ignored,
    "input-disconnected": _input_disconnected,
    "length-baked": _length_baked,
    "batch-baked": _batch_baked,
    "positions-shifted": _positions_shifted,
    "causal-mask-removed": _causal_mask_removed,
    "last-layer-dropped": _last_layer_dropped,
    "half-layer-dropped": _last_layer_dropped,
    "eager-layer-dropped": _last_layer_dropped,
    "rows-swapped": _along_batch(lambda value, dim: value.flip(dim)),
    "batch-leak": _along_batch(lambda value, dim: value + 1e-3 * value.mean(dim, keepdim=True)),
    "output-bfloat16": _on_floats(lambda value: value.bfloat16().to(value.dtype)),
    "noise": _on_floats(lambda value: value + 1e-6 * torch.randn_like(value)),
    "outputs-reordered": _on_outputs(_reordered),
    "output-dtype": _on_first(lambda value: value.double()),
    "zero-output": _on_first(lambda value: value * 0),
    "nan-output": _on_first(_with_nan),
}
