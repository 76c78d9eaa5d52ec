"""Buckets of distances, by which T5 and its kin choose the bias of a token for another.

In: a model. Out: a context in which its buckets are looked up in a table that eager Python made on this machine.

The bounds of the larger buckets are powers, and a logarithm cut to a whole number finds them. At a bound (16, 32 and 64
tokens in every published T5) its last bit decides which bucket it is, and processors do not agree on that bit: another
bucket is another weight. Only whole numbers go in and come out, so a program need not leave that to a processor.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from .patches import replaced

# The methods that find buckets: of relative positions, of how many buckets, up to which distance.
METHODS = ("_relative_position_bucket", "relative_position_bucket")


@contextmanager
def buckets_by_table(model: nn.Module) -> Iterator[None]:
    """Distances that lie on the bounds of T5's buckets are in the same bucket on every processor."""
    with ExitStack() as stack:
        for owner, name in sorted(_owners(model), key=str):
            stack.enter_context(replaced(owner, name, _looked_up(vars(owner)[name])))
        yield


def _owners(model: nn.Module) -> set[tuple[type, str]]:
    """The classes whose own method finds buckets."""
    return {
        (owner, name)
        for module in model.modules()
        for owner in type(module).__mro__
        for name in METHODS
        if name in vars(owner)
    }


def _looked_up(method: Any) -> Any:
    """The same method, static or not, by a table."""
    if isinstance(method, staticmethod):
        return staticmethod(lambda *args, **named: _by_table(method.__func__, None, args, named))
    return lambda module, *args, **named: _by_table(partial(method, module), module, args, named)


def _by_table(original: Callable[..., Tensor], module: Any, args: Any, named: Any) -> Tensor:
    """The buckets of relative positions, the first argument; beyond the farthest all are in its bucket."""
    given = inspect.signature(original).bind(*args, **named)
    given.apply_defaults()
    positions, *others = given.arguments.values()
    # UMT5's modules know how far that is by themselves.
    farthest = given.arguments.get("max_distance") or module.relative_attention_max_distance
    with _aside():
        buckets = original(torch.arange(-farthest, farthest + 1), *others).tolist()
    return torch.tensor(buckets, device=positions.device)[positions.clamp(-farthest, farthest) + farthest]


@contextmanager
def _aside() -> Iterator[None]:
    """What runs inside is part of no trace, and no mode sees it."""
    tracer: Any = torch._C
    state = tracer._get_tracing_state()
    tracer._set_tracing_state(None)
    try:
        with _disable_current_modes():
            yield
    finally:
        tracer._set_tracing_state(state)
