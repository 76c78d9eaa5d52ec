"""What every model is traced under, and what adapters are made of."""

import builtins
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import product
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ExportError

try:
    from transformers import masking_utils
except ImportError:
    # Older than 4.53: every model makes its masks itself.
    masking_utils = None

from .. import recurrence

Adapter = Callable[[nn.Module], AbstractContextManager[None]]

# Attributes in which modules keep what the last run computed.
CACHES = ("_embed", "cached_rotary_positional_embedding")
# The gated delta rule by chunks, with one decay for each head or for each channel of the keys.
DELTA_RULES = ("torch_chunk_gated_delta_rule", "chunk_kimi_delta_attention")


@contextmanager
def replaced(owner: object, name: str, value: Any) -> Iterator[None]:
    """An attribute of a module, class or instance with another value, or one it lacks, while the block runs."""
    # Read from the dictionary: `getattr` would turn a static method into a plain function.
    own, original = name in vars(owner), vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


@contextmanager
def shadowed(module: object, name: str, value: Any) -> Iterator[None]:
    """A built-in name with another meaning in one module while the block runs."""
    setattr(module, name, value)
    try:
        yield
    finally:
        delattr(module, name)


def rewritten(function: Callable[..., Any], changes: dict[str, str], **names: Any) -> Callable[..., Any]:
    """A function of upstream with pieces of its text replaced, for one too long to be written anew.

    `changes` has a pattern for each piece, which must be found once; `names` is what the new pieces refer to.
    """
    plain = inspect.unwrap(function)
    text = textwrap.dedent(inspect.getsource(plain))
    text = text[text.index("def ") :]
    for pattern, piece in changes.items():
        text, found = re.subn(pattern, piece, text, flags=re.DOTALL)
        if found != 1:
            raise ExportError(f"{plain.__qualname__} has {found} places for {pattern!r}, not one")
    scope = vars(sys.modules[plain.__module__]) | names
    exec(text, scope)  # noqa: S102  upstream's own text
    return scope[plain.__name__]


def forget(model: nn.Module) -> None:
    """Empties what modules keep from one run to the next."""
    for module in model.modules():
        for name in CACHES:
            if vars(module).get(name) is not None:
                setattr(module, name, None)


@contextmanager
def _nothing_kept(model: nn.Module) -> Iterator[None]:
    """What earlier runs kept is computed again in the trace, and what the trace computed is not kept."""
    forget(model)
    try:
        yield
    finally:
        forget(model)


@contextmanager
def _lists_of_sizes(_model: nn.Module) -> Iterator[None]:
    """`torch.tensor([height, width])` makes a constant of traced sizes; stacking them keeps what they are."""

    def stacking(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def make(data: Any, *rest: Any, **named: Any) -> Tensor:
            if not _holds_tensor(data):
                return function(data, *rest, **named)
            return _stacked(data).to(**{k: named[k] for k in ("dtype", "device") if k in named})

        return make

    with (
        replaced(torch, "tensor", stacking(torch.tensor)),
        replaced(torch, "as_tensor", stacking(torch.as_tensor)),
    ):
        yield


def _splits_by_sizes(_model: nn.Module) -> AbstractContextManager[None]:
    """`Tensor.split` calls `int` on a traced size, which bakes it; pieces of that size keep it.

    Only the number of pieces stays what it was in the traced run.
    """
    original = Tensor.split

    def split(self: Tensor, split_size: Any, dim: int = 0) -> Any:
        if not isinstance(split_size, Tensor):
            return original(self, split_size, dim)
        whole = self.shape[dim]
        pieces = -(-builtins.int(whole) // builtins.int(split_size))
        last = whole - split_size * (pieces - 1)
        return original(self, [split_size] * (pieces - 1) + [last], dim)

    return replaced(Tensor, "split", split)


def _holds_tensor(data: Any) -> bool:
    """Whether a list, at any depth, has a tensor for an element."""
    return isinstance(data, list | tuple) and any(
        isinstance(item, Tensor) or _holds_tensor(item) for item in data
    )


def _stacked(data: Any) -> Tensor:
    if isinstance(data, list | tuple):
        return torch.stack([_stacked(item) for item in data])
    return torch.as_tensor(data)


@contextmanager
def _masks_by_broadcasting(_model: nn.Module) -> Iterator[None]:
    """transformers 4 builds attention masks with `torch.vmap`, and indexes under it by an autograd function.

    The tracer can record neither. Mask functions are made of comparisons and indexing, which broadcast.
    """

    def expanded(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda batch, head, query, key: function(
            batch[:, None, None, None], head[:, None, None], query[:, None], key
        )

    with (
        replaced(masking_utils, "_vmap_for_bhqkv", expanded),
        replaced(masking_utils, "TransformGetItemToIndex", nullcontext),
    ):
        yield


@contextmanager
def _masks_of_indices(_model: nn.Module) -> Iterator[None]:
    """transformers 5 uses `torch.vmap` for masks that models add: sliding windows with two sides, chunks.

    The tracer cannot record it. Such masks too are comparisons of indices, which broadcast.
    """

    def expanded(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def mask(*indices: Tensor) -> Tensor:
            batch, head, query, key = masking_utils._non_vmap_expansion_sdpa(*indices)
            sizes = (batch.shape[0], head.shape[1], query.shape[2], key.shape[3])
            return function(batch, head, query, key).expand(sizes)

        return mask

    with (
        replaced(masking_utils, "_vmap_expansion_sdpa", expanded),
        replaced(masking_utils, "TransformGetItemToIndex", nullcontext),
    ):
        yield


@contextmanager
def _long_rope(model: nn.Module) -> Iterator[None]:
    """Rotary embeddings with LongRoPE choose short or long frequencies by the highest position.

    Upstream (`modeling_rope_utils.dynamic_rope_update`) branches on it, which a trace bakes, and keeps the choice
    in a buffer that shares its memory with another, which the tracer refuses. Both tables are made before, and
    the trace selects one.
    """
    rotary = [m for m in model.modules() if getattr(m, "rope_type", "") == "longrope"]
    with ExitStack() as stack:
        for module in rotary:
            module.inv_freq = module.original_inv_freq.clone()
            module.forward = _choosing_frequencies(module)
            stack.callback(delattr, module, "forward")
        yield


def _choosing_frequencies(module: nn.Module) -> Callable[..., Any]:
    """The module's forward past its decorators, on the frequencies that the positions ask for."""
    inner = inspect.unwrap(type(module).forward)
    # Not at the top: transformers older than 4.43 has no such module, and no such embeddings.
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    trained = module.config.rope_parameters["original_max_position_embeddings"]
    table = ROPE_INIT_FUNCTIONS["longrope"]
    short = module.original_inv_freq.clone()
    long, _ = table(module.config, short.device, seq_len=trained + 1)

    def forward(x: Tensor, position_ids: Tensor) -> Any:
        chosen = torch.where(position_ids.max() + 1 > trained, long, short)
        return inner(SimpleNamespace(**vars(module), inv_freq=chosen), x, position_ids)

    return forward


@contextmanager
def _delta_rule(model: nn.Module) -> Iterator[None]:
    """The gated delta rule of linear attention is a Python loop over chunks of the row, which bakes their number."""
    owners = {sys.modules[type(module).__module__] for module in model.modules()}
    with ExitStack() as stack:
        for owner, name in product(owners, DELTA_RULES):
            if hasattr(owner, name):
                stack.enter_context(replaced(owner, name, recurrence.delta_rule))
        yield


COMMON: list[Adapter] = [
    _nothing_kept,
    _lists_of_sizes,
    _splits_by_sizes,
    _long_rope,
    _delta_rule,
]
if hasattr(masking_utils, "_vmap_for_bhqkv"):
    COMMON.append(_masks_by_broadcasting)
if hasattr(masking_utils, "_vmap_expansion_sdpa"):
    COMMON.append(_masks_of_indices)
