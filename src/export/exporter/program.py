"""The program: a model as TorchScript.

In: a model, a job and the inputs of the traced case. Out: a traced module that takes the job's inputs by
position and returns the task's outputs as a tuple.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from .adapters import adapted
from .calls import completed, forward_of, parameters_of, viewed
from .errors import ExportError, stage
from .job import Job
from .portable import make_portable

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Hooks:
    """Where a planted fault takes hold of a program; by default nowhere."""

    inputs: Callable[[Tensors], Tensors] = lambda inputs: inputs
    outputs: Callable[[Tensors], Tensors] = lambda outputs: outputs
    around: Callable[[], AbstractContextManager[None]] = nullcontext


HEALTHY = Hooks()
# The file of the program that decodes with a cache.
DECODE = "program.decode.pt"
# Between a keyword of forward and the place inside it: `states__full__0` is `states={"full": (tensor, …)}`.
NESTED = "__"


# Stands in a program for the dot in the name of a parameter or buffer, which TorchScript takes for a module's end.
DOT = "/"


class Program(nn.Module):
    """A model behind the calling convention of programs.

    It holds the model's parameters and buffers itself, under names like `model/encoder/weight`, and none of its
    modules: TorchScript makes a class of every module, and reads a program of one class several times as fast.
    """

    def __init__(self, model: nn.Module, job: Job, hooks: Hooks = HEALTHY) -> None:
        super().__init__()
        # In a tuple: torch would take it for a part of this module.
        self._held = (model,)
        self.job, self.hooks = job, hooks
        # Name and purpose of every adapter that the last trace needed.
        self.adapters: list[dict[str, str]] = []
        for name, parameter in model.named_parameters(prefix="model"):
            self.register_parameter(name.replace(".", DOT), parameter)
        for name, buffer in model.named_buffers(prefix="model"):
            self.register_buffer(name.replace(".", DOT), buffer)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters, then buffers, a tied one under its first name; names have dots, as the model's."""
        for name, tensor in (*self.named_parameters(), *self.named_buffers()):
            yield name.replace(DOT, "."), tensor

    @property
    def model(self) -> nn.Module:
        """The model that it calls."""
        return self._held[0]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The task's outputs."""
        names = [entry.name for entry in self.job.inputs]
        inputs = self.hooks.inputs(dict(zip(names, tensors, strict=True)))
        with self.hooks.around():
            outputs, _ = run(self.model, self.job, inputs, [])
        return tuple(self.hooks.outputs(outputs).values())


def run(model: nn.Module, job: Job, inputs: Tensors, layers: list[str]) -> tuple[Tensors, Tensors]:
    """Calls the model; the task's outputs and, in order of execution, those of the named layers."""
    with _recorded(model, layers) as seen:
        result = called(model, inputs)
    return viewed(model, inputs, promised(job, result)), seen


def called(model: nn.Module, inputs: Tensors, **others: Any) -> Any:
    """What the class returns; `others` is what it is given beside tensors."""
    return forward_of(model)(**nested(completed(model, inputs)), **_switches(model) | others)


def nested(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of forward: inputs named `keyword__place` become mappings, or tuples where places are numbers."""
    inner: dict[str, dict[str, Any]] = {}
    for name, value in inputs.items():
        if NESTED in name:
            keyword, _, place = name.partition(NESTED)
            inner.setdefault(keyword, {})[place] = value
    plain = {name: value for name, value in inputs.items() if NESTED not in name}
    return plain | {keyword: _container(held) for keyword, held in inner.items()}


def _container(places: dict[str, Any]) -> Any:
    held = nested(places)
    return tuple(held.values()) if all(map(str.isdigit, held)) else held


def evaluate(model: nn.Module, job: Job, inputs: Tensors, layers: list[str]) -> tuple[Tensors, Tensors]:
    """One eager run; seeded, so that a model that draws random numbers draws the same ones every time."""
    torch.manual_seed(job.seed)
    with stage(f"{job.class_name}.forward"), torch.no_grad():
        return run(model, job, inputs, layers)


def trace(program: Program, inputs: Tensors, without: str | None = None) -> torch.jit.ScriptModule:
    """The program as TorchScript, unchecked: comparing it with the eager model is the harness's work.

    It is traced under all the model's adapters but `without`; `program.adapters` then tells which were used.
    """
    with stage("torch.jit.trace"), torch.no_grad(), adapted(program.model, without) as holds:
        traced = torch.jit.trace(program, tuple(inputs.values()), check_trace=False, strict=False)
    script = cast("torch.jit.ScriptModule", traced)
    make_portable(script.graph)
    program.adapters = [hold.described() for hold in holds if hold.active]
    return script


def check_inputs(model: nn.Module, job: Job) -> None:
    """Every input must be a keyword of forward: a catch-all `**kwargs` would swallow it in silence."""
    takes = parameters_of(model)
    for entry in job.inputs:
        if entry.name.split(NESTED)[0] not in takes:
            raise ExportError(
                f"{job.class_name}.forward takes no {entry.name!r}; "
                f"add `without: [{entry.name}]` to the entry"
            )


def find_layers(model: nn.Module, job: Job, inputs: Tensors) -> list[str]:
    """Executed children of module lists, or where there are none, of sequences, in order of completion."""
    for container in (nn.ModuleList, nn.Sequential):
        paths = [
            f"{path}.{child}".lstrip(".")
            for path, module in model.named_modules()
            if isinstance(module, container)
            for child, inner in module._modules.items()
            if inner is not None
        ]
        _, seen = evaluate(model, job, inputs, paths)
        if seen:
            return [name for name in seen if "#" not in name]
    return []


def first_tensor(value: Any) -> Tensor | None:
    """The first float tensor of what a module returned."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return next((found for item in value if (found := first_tensor(item)) is not None), None)
    return None


@contextmanager
def _recorded(model: nn.Module, layers: list[str]) -> Iterator[Tensors]:
    """Collects what the layers return while the block runs; a layer's second call is named `#2`."""
    seen: Tensors = {}
    calls = dict.fromkeys(layers, 0)

    def record(path: str, returned: Any) -> None:
        tensor = first_tensor(returned)
        if tensor is not None:
            calls[path] += 1
            seen[path if calls[path] == 1 else f"{path}#{calls[path]}"] = tensor

    hooks = [
        model.get_submodule(path).register_forward_hook(lambda _m, _i, out, path=path: record(path, out))
        for path in layers
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _switches(model: nn.Module) -> dict[str, bool]:
    takes = inspect.signature(model.forward).parameters
    return {name: value for name, value in {"use_cache": False, "return_dict": True}.items() if name in takes}


def promised(job: Job, result: Any) -> Tensors:
    """The task's outputs; what an output holds has its name and its key, `logits_0`, `text_output_pooler_output`."""
    if isinstance(result, Tensor) and len(job.outputs) == 1:
        # A bare tensor has no name of its own: it is what the entry calls its only output.
        return {job.outputs[0].name: result}
    given = named(result)
    for entry in job.outputs:
        if entry.name not in given:
            raise ExportError(
                f"task {job.task} promises {entry.name!r}, {job.class_name} returns {', '.join(given)}"
            )
    return {entry.name: given[entry.name] for entry in job.outputs}


def named(result: Any) -> dict[str, Any]:
    """All that a class returned, also what an output holds."""
    given: dict[str, Any] = dict(result) if isinstance(result, Mapping) else {type(result).__name__: 0}
    for name, value in list(given.items()):
        items = enumerate(value) if isinstance(value, tuple | list) else ()
        items = value.items() if isinstance(value, Mapping) else items
        given |= {f"{name}_{key}": item for key, item in items}
    return given
