"""Programs for the engine pt2, made when they are asked for: `python -m exporter.pt2`.

In: the request of `__main__`, for artifacts that are there. Out: its events, and beside each artifact's TorchScript
`program.pt2`, one for each half precision, those that decode with a cache, and `pt2.json` with their
digests. `torch.export` takes seconds where tracing takes tenths, so no other export waits for it. References and cases
stay the artifact's: they are eager's.

A half precision has a program of its own: a graph holds element types as constants, and asserts them.
"""

import json
import math
import operator
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import cast_symbool_to_symint_guardless

from . import artifact, graphed, program
from .__main__ import own_stdout
from .adapters import adapted
from .adapters.common import masking_utils
from .adapters.patches import SYMBOLS, of_tensor, replaced, rows_of, shadowed, whole, whole_sizes
from .errors import ExportError, stage
from .graphed import Graphed
from .job import Job, Json
from .prepared import Prepared, prepared
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


# Where upstream makes tensors of sizes when it is traced. Everywhere else it asks in order to keep sizes free.
TENSORS_WHEN_TRACED = ("set_shift_and_window_size", "unfolding")
# What upstream asks whether a mask can be left out; it never can, it says, while a graph is made.
SKIPPED = "_ignore_bidirectional_mask_sdpa"

# Writes a program to a path, given the program and its graph.
Write = Callable[[program.Program, torch.export.ExportedProgram, Path], None]


def exported(data: Json) -> None:
    """Makes the graphs of a job."""
    beside(Job.from_json(data), "pt2", graphed.of_all, _saved)


def beside(job: Job, suffix: str, made: Callable[[Job, Prepared], Iterable[Graphed]], write: Write) -> None:
    """Makes programs from a job's graphs and, when all of them are there, the file that lists them.

    Where a program that decodes is no graph, that file says why.
    """
    start = time.monotonic()
    folder = Path(job.directory)
    refused: dict[str, str] = {}
    # An archive's root has the name of its file: it is the file's own from the beginning.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for one in made(job, prepared(job)):
            path = Path(scratch, f"{one.name}.{suffix}")
            try:
                write(one.program, _exported(one), path)
            except ExportError as error:
                if not one.decodes:
                    raise
                refused[path.name] = str(error)
        digests = artifact.digests(Path(scratch).iterdir())
        for name in digests:
            Path(scratch, name).rename(folder / name)
    seconds = round(time.monotonic() - start, 3)
    facts = {"key": job.key, "seconds": seconds, "files": digests, "refused": refused}
    artifact.save_sealed(facts, folder / f"{suffix}.json")


def _exported(one: Graphed) -> torch.export.ExportedProgram:
    """A program as a graph of operators.

    A size that a class happens to ask for (is it that of the learned positions? is it one?) is a constant of a graph
    that is made at it: then the graph is made at another case's sizes. Where no graph holds for all cases, it is that
    of the first case, and the checks say what it does not hold for.
    """
    first, *others = one.examples()
    # In its first run a class may bring parts of itself to another type (Switch's router), which is no part of a graph.
    with stage(f"{one.program.job.class_name}.forward"), torch.no_grad():
        one.program.forward(*first.values())
    graph = _graph(one, first)
    later = (_graph(one, inputs) for inputs in others)
    exported = next((made for made in chain([graph], later) if _holds(made, one)), graph)
    _with_words_for_all(exported.graph)
    return exported


def _graph(one: Graphed, inputs: Tensors) -> torch.export.ExportedProgram:
    """The graph that `torch.export` makes of a program at the sizes of these inputs."""
    model = one.program.model
    free = (dict.fromkeys(one.free[name], torch.export.Dim.AUTO) for name in inputs)
    with stage("torch.export.export"), torch.no_grad(), adapted(model), _as_graphs_need(model):
        return torch.export.export(
            Exportable(one.program).eval(), tuple(inputs.values()), dynamic_shapes=((*free,),), strict=False
        )


def _holds(graph: torch.export.ExportedProgram, one: Graphed) -> bool:
    """Whether a graph computes what its program does at the sizes of every case."""
    module = cast("Any", graph.module(check_guards=False))
    # It would refuse the sizes 0 and 1 unseen.
    module.validate_inputs = False
    with torch.no_grad():
        for inputs in one.cases.values():
            try:
                torch.testing.assert_close(
                    module(*inputs.values()), one.program.forward(*inputs.values()), equal_nan=True
                )
            except (AssertionError, IndexError, RuntimeError):
                return False
    return True


@contextmanager
def _as_graphs_need(model: nn.Module) -> Iterator[None]:
    """What models are exported under: modules stay of the type that they are, and sizes stay free."""
    with ExitStack() as stack:
        stack.enter_context(replaced(nn.Module, "to", lambda module, *_, **__: module, _is_so))
        stack.enter_context(replaced(torch.jit, "is_tracing", _sizes_are_to_be_free))
        stack.enter_context(replaced(torch, "max_pool1d", _pooled_in_a_plane))
        stack.enter_context(replaced(Tensor, "repeat_interleave", _repeated, _names_its_size))
        if hasattr(masking_utils, SKIPPED):
            stack.enter_context(replaced(masking_utils, SKIPPED, lambda *_, **__: True, _hides_nothing))
        for module in {sys.modules[type(part).__module__] for part in model.modules()}:
            if "torch_int" in vars(module):
                stack.enter_context(replaced(module, "torch_int", whole))
            if "len" not in vars(module):
                stack.enter_context(shadowed(module, "len", rows_of, of_tensor))
            if "int" not in vars(module):
                stack.enter_context(whole_sizes(module, SYMBOLS))
        yield


def _hides_nothing(
    padding_mask: Tensor | None = None, _length: Any = None, local_attention_size: Any = None, **_: Any
) -> bool:
    """Whether every position sees every other; while a graph is made, upstream makes a mask that says so."""
    return padding_mask is None and local_attention_size is None


def _sizes_are_to_be_free() -> bool:
    """What upstream is told that asks whether it is traced."""
    return sys._getframe(1).f_code.co_name not in TENSORS_WHEN_TRACED


def _repeated(given: Tensor, repeats: int, dim: int | None = None, **_: Any) -> Tensor:
    """What `repeat_interleave` computes, which makes a constant of the size that it is told."""
    return torch.repeat_interleave(given, repeats, dim)


def _names_its_size(_given: Tensor, repeats: Any, *_: Any, output_size: Any = None, **__: Any) -> bool:
    """Whether the size follows from how often everything is repeated."""
    return isinstance(repeats, int) and output_size is not None


def _pooled_in_a_plane(
    given: Tensor, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Tensor:
    """What `max_pool1d` computes, whose operator makes a constant of the length, by that for planes."""

    def plane(along: Any, across: int) -> tuple[int, int]:
        return across, along if isinstance(along, int) else along[0]

    sizes = plane(kernel, 1), plane(stride or kernel, 1), plane(padding, 0), plane(dilation, 1)
    return torch.max_pool2d(given.unsqueeze(-2), *sizes, ceil_mode).squeeze(-2)


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
