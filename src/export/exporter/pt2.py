"""Programs for the engine pt2, made when they are asked for: `python -m exporter.pt2`.

In: the request of `__main__`, for artifacts that are there. Out: its events, and beside each artifact's TorchScript
`program.pt2`, one for each half precision, and `pt2.json` with their digests. `torch.export` takes seconds where
tracing takes tenths, so no other export waits for it. References and cases stay the artifact's: they are eager's.

A half precision has a program of its own: a graph holds element types as constants, and asserts them. A planted fault
is in the one program that it is about, as in TorchScript's.
"""

import copy
import json
import math
import operator
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import cast_symbool_to_symint_guardless

from . import artifact, faults, program, reference
from .__main__ import own_stdout
from .adapters import adapted
from .adapters.patches import module_of, replaced
from .errors import stage
from .foreign import config_of
from .job import Job, Json
from .prepared import prepared
from .program import Tensors


class Exportable(nn.Module):
    """A program whose model is a part of it: `torch.export` takes weights for what its module holds by name."""

    def __init__(self, whole: program.Program) -> None:
        super().__init__()
        self._whole = (whole,)
        self.model = whole.model

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """What the program returns."""
        return self._whole[0].forward(*tensors)


# Model types whose code keeps sizes free where it asks whether it is traced. Elsewhere what it then does is for a trace
# alone (MobileViT rounds sizes as tensors).
FREE_WHEN_TRACED = ("beit", "dinov2")


# Writes a program to a path, given the program and its graph.
Write = Callable[[program.Program, torch.export.ExportedProgram, Path], None]


def exported(data: Json) -> None:
    """Makes the graphs of a job."""
    beside(Job.from_json(data), "pt2", _saved)


def beside(job: Job, suffix: str, write: Write) -> None:
    """Makes programs from a job's graphs and, when all of them are there, the file that lists them."""
    start = time.monotonic()
    ready = prepared(job)
    made = {"program": (_program(job, ready.served, ready.cases), ready.traced)}
    for name in job.half:
        dtype = getattr(torch, name)
        cases = {case: reference.cast(inputs, dtype) for case, inputs in ready.cases.items()}
        halved = _program(job, reference.converted(ready.served, dtype), cases, "half-")
        made[f"program.{name}"] = (halved, reference.cast(ready.traced, dtype))
    folder = Path(job.directory)
    # An archive's root has the name of its file: it is the file's own from the beginning.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name, (whole, traced) in made.items():
            path = Path(scratch, f"{name}.{suffix}")
            write(whole, _exported(job, whole, traced), path)
        digests = artifact.digests(Path(scratch, f"{name}.{suffix}") for name in made)
        for name in digests:
            Path(scratch, name).rename(folder / name)
    facts = {"key": job.key, "seconds": round(time.monotonic() - start, 3), "files": digests}
    artifact.save_sealed(facts, folder / f"{suffix}.json")


def _program(job: Job, model: nn.Module, cases: dict[str, Tensors], about: str = "") -> program.Program:
    """The program of a model, with the job's fault in it if that is about such a program."""
    name, _, argument = (job.fault or "").partition(":")
    fault = faults.FAULTS.get(name)
    if name.startswith("eager-"):
        raise faults.not_applicable("a graph has one attention")
    if fault is None or name.startswith("half-") != bool(about):
        return program.Program(model, job)
    layers = program.find_layers(model, job, cases[job.traced.name])
    site = faults.Site(job, copy.deepcopy(model), layers, cases, argument)
    return program.Program(site.model, job, fault(site))


def _exported(job: Job, whole: program.Program, traced: Tensors) -> torch.export.ExportedProgram:
    """The program as a graph of operators, whose sizes are free along the axes that have a second size."""
    # In its first run a class may bring parts of itself to another type (Switch's router), which is no part of a graph.
    program.evaluate(whole.model, job, traced, [])
    with stage("torch.export.export"), torch.no_grad(), adapted(whole.model), _as_graphs_need(whole.model):
        exported = torch.export.export(
            Exportable(whole).eval(),
            tuple(traced.values()),
            dynamic_shapes=((*(_free(job, name) for name in traced),),),
            strict=False,
        )
    _with_words_for_all(exported.graph)
    return exported


@contextmanager
def _as_graphs_need(model: nn.Module) -> Iterator[None]:
    """What models are exported under: modules stay of the type that they are, and sizes of images stay free."""
    with ExitStack() as stack:
        stack.enter_context(replaced(nn.Module, "to", lambda module, *_, **__: module, _is_so))
        if config_of(model).model_type in FREE_WHEN_TRACED:
            stack.enter_context(replaced(torch.jit, "is_tracing", lambda: True))
            stack.enter_context(replaced(module_of(model), "torch_int", torch.sym_int))
        yield


def _is_so(module: nn.Module, to: Any = None, *_: Any, **__: Any) -> bool:
    """Whether all weights of a module have the type that it is to be brought to."""
    return all(tensor.dtype is to for tensor in module.parameters())


def _with_words_for_all(graph: torch.fx.Graph) -> None:
    """Says in other words what `torch.export.export` writes and `torch.export.save` does not know.

    A check of a value (`torch._check(tensor.item())`) makes a number of a truth value; and sizes may be rounded up.
    """
    for node in list(graph.nodes):
        if node.target is cast_symbool_to_symint_guardless:
            node.target, node.args = torch.sym_ite, (*node.args, 1, 0)
        elif node.target is math.ceil:
            with graph.inserting_before(node):
                down = _called(graph, operator.floordiv, _called(graph, operator.neg, *node.args), 1)
                up = _called(graph, operator.neg, _called(graph, torch.sym_int, down))
            node.replace_all_uses_with(up)
            graph.erase_node(node)


def _called(graph: torch.fx.Graph, function: Callable[..., Any], *given: Any) -> torch.fx.Node:
    """A node for a function of numbers, with its value at the traced sizes."""
    node = graph.call_function(function, given)
    node.meta["val"] = function(
        *(one.meta["val"] if isinstance(one, torch.fx.Node) else one for one in given)
    )
    return node


def _free(job: Job, name: str) -> dict[int, Any]:
    """The dimensions of an input that are free: those of an axis that some case gives another size."""
    entry = next(entry for entry in job.inputs if entry.name == name)
    sizes = {axis: {case.sizes[axis] for case in job.cases} for axis in job.traced.sizes}
    moves = (len(sizes.get(axis, ())) > 1 for axis in map(str, entry.shape))
    return {dim: torch.export.Dim.AUTO for dim, free in enumerate(moves) if free}


def _saved(_: program.Program, one: torch.export.ExportedProgram, path: Path) -> None:
    with stage("torch.export.save"):
        torch.export.save(one, path)


def main() -> None:
    """Keeps stdout for events, then makes programs."""
    events = own_stdout()
    from .runner import run  # only now: libraries print while they are imported

    run(json.load(sys.stdin), events, exported)


if __name__ == "__main__":
    main()
