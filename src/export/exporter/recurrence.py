"""Recurrences whose length is not baked into a program.

In: what the functions of transformers take that they stand in for while a model is traced or exported (`adapters`).
Out: what those return. Upstream loops over `range(length)` in Python, which is unrolled; here a loop stays a loop, and
does the same arithmetic in the same order: in a trace as TorchScript, in a graph of `torch.export` as a scan. Both are
made of one function, a step.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan
from torch.nn import functional


def _scanned(
    step: Callable[..., tuple[Tensor, ...]], start: tuple[Tensor, ...], along: tuple[Tensor, ...], dim: int
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The states that a loop along a dimension ends in, and what its steps return, along the same dimension.

    A step takes what it goes along and the states before it, and returns what it computes and the states after it.
    """

    def combine(states: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
        made, *after = step(*given, *states)
        # What a step returns may be a state, and no two tensors that leave a step may be one.
        return tuple(after), made.clone()

    after, made = scan(combine, start, tuple(given.movedim(dim, 0) for given in along))
    return after, made.movedim(0, dim)


def _fading_sum(decay: Tensor, update: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """`state = decay · state + update`."""
    state = decay * state + update
    return state, state


@torch.jit.script
def _linear(decay: Tensor, update: Tensor, state: Tensor) -> Tensor:
    states: list[Tensor] = []
    for step in range(update.size(1)):
        made, state = _fading_sum(decay[:, step], update[:, step], state)
        states.append(made)
    return torch.stack(states, dim=1)


def linear(decay: Tensor, update: Tensor, start: Tensor | None = None) -> Tensor:
    """All states of `state = decay · state + update`, from a start or from zero, along the second dimension."""
    start = torch.zeros_like(update[:, 0]) if start is None else start
    if torch.compiler.is_exporting():
        return _scanned(_fading_sum, (start,), (decay, update), 1)[1]
    return _linear(decay, update, start)


def _average(
    new: Tensor,
    content: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    highest: Tensor,
    decay: Tensor,
    first: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step of RWKV's attention."""
    top = torch.maximum(highest, new + first)
    old_share, new_share = torch.exp(highest - top), torch.exp(new + first - top)
    average = (old_share * numerator + new_share * content) / (old_share * denominator + new_share)
    top = torch.maximum(highest + decay, new)
    old_share, new_share = torch.exp(highest + decay - top), torch.exp(new - top)
    numerator = old_share * numerator + new_share * content
    denominator = old_share * denominator + new_share
    return average, numerator, denominator, top


@torch.jit.script
def _weighted_average(decay: Tensor, first: Tensor, key: Tensor, value: Tensor, zero: Tensor) -> Tensor:
    numerator, denominator, highest = zero, zero, zero - 1e38
    averages: list[Tensor] = []
    for step in range(key.size(1)):
        average, numerator, denominator, highest = _average(
            key[:, step], value[:, step], numerator, denominator, highest, decay, first
        )
        averages.append(average)
    return torch.stack(averages, dim=1)


def weighted_average(decay: Tensor, first: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """RWKV's attention: an average of the values so far with weights e^key, which fade by e^decay a step.

    Numerator and denominator are kept as multiples of e^highest, so that neither overflows.
    """
    zero = torch.zeros_like(key[:, 0])
    if torch.compiler.is_exporting():
        step = partial(_average, decay=decay, first=first)
        return _scanned(step, (zero, zero.clone(), zero - 1e38), (key, value), 1)[1]
    return _weighted_average(decay, first, key, value, zero)


def _correct(
    query: Tensor, key: Tensor, value: Tensor, decay: Tensor, rate: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """One step of the delta rule."""
    address = key[..., None]
    memory = memory * decay[..., None]
    known = (memory * address).sum(dim=-2)
    change = (value - known) * rate
    memory = memory + address * change[:, :, None]
    return (memory * query[..., None]).sum(dim=-2), memory


@torch.jit.script
def _corrected_memory(
    query: Tensor, key: Tensor, value: Tensor, decay: Tensor, rate: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    read: list[Tensor] = []
    for step in range(key.size(1)):
        made, memory = _correct(
            query[:, step], key[:, step], value[:, step], decay[:, step], rate[:, step], memory
        )
        read.append(made)
    return torch.stack(read, dim=1), memory


def corrected_memory(
    memory: Tensor, query: Tensor, key: Tensor, value: Tensor, decay: Tensor, rate: Tensor
) -> tuple[Tensor, Tensor]:
    """The delta rule: a memory of values by key, which fades, and of which every step corrects its own key.

    All but the memory are [batch, length, heads, channels]; decay has one channel or those of the key, rate one.
    What is read at every step, and the memory after the last.
    """
    along = (query, key, value, decay, rate)
    if torch.compiler.is_exporting():
        (memory,), read = _scanned(_correct, (memory,), along, 1)
        return read, memory
    return _corrected_memory(*along, memory)


def _remember(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    forget: Tensor,
    write: Tensor,
    memory: Tensor,
    norm: Tensor,
    highest: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step of the mLSTM."""
    kept, new = forget[..., None] + highest, write[..., None]
    highest = torch.maximum(kept, new)
    old_share, new_share = torch.exp(kept - highest), torch.exp(new - highest)
    memory = old_share[..., None] * memory + new_share[..., None] * key[..., None] * value[:, :, None]
    norm = old_share * norm + new_share * key
    weight = (query * norm).sum(dim=-1, keepdim=True).abs()
    total = torch.maximum(weight, torch.exp(-highest)) + eps
    return (query[..., None] * memory).sum(dim=-2) / total, memory, norm, highest


@torch.jit.script
def _matrix_memory(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    forget: Tensor,
    write: Tensor,
    memory: Tensor,
    norm: Tensor,
    highest: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    read: list[Tensor] = []
    for step in range(key.size(2)):
        made, memory, norm, highest = _remember(
            query[:, :, step],
            key[:, :, step],
            value[:, :, step],
            forget[:, :, step],
            write[:, :, step],
            memory,
            norm,
            highest,
            eps,
        )
        read.append(made)
    return torch.stack(read, dim=2), memory, norm, highest


# A memory, the sum of its keys, and the exponent by which both are multiples.
Memory = tuple[Tensor, Tensor, Tensor]


def matrix_memory(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    forget: Tensor,
    write: Tensor,
    eps: float,
    start: Memory | None = None,
) -> tuple[Tensor, Memory]:
    """The mLSTM of xLSTM: a matrix memory with exponential gates, and the sum of its keys to normalise by.

    Gates are logarithms, [batch, heads, length]; memory and norm are kept as multiples of e^highest. What is read at
    every step, and the memory after the last.
    """
    along = (query, key, value, forget, write)
    if start is None:
        start = (
            torch.zeros_like(key[:, :, 0, :, None] * value[:, :, 0, None]),
            torch.zeros_like(key[:, :, 0]),
            torch.zeros_like(forget[:, :, :1]),
        )
    if torch.compiler.is_exporting():
        (memory, norm, highest), read = _scanned(partial(_remember, eps=eps), start, along, 2)
    else:
        read, memory, norm, highest = _matrix_memory(*along, *start, eps)
    return read, (memory, norm, highest)


def delta_rule(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    g: Tensor,
    beta: Tensor,
    initial_state: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """`torch_chunk_gated_delta_rule` (one decay a head) and `chunk_kimi_delta_attention`, and the state they end in.

    Chunks are for speed; upstream's recurrent forms decode by the rule itself. A head of the key can serve several
    heads of the value; older releases repeat it before the call.
    """
    dtype = query.dtype
    shared = int(value.shape[2]) // int(key.shape[2])
    if shared > 1:
        query, key = (given.repeat_interleave(shared, dim=2) for given in (query, key))
    query, key, value, g, beta = (given.float() for given in (query, key, value, g, beta))
    if use_qk_l2norm_in_kernel:
        query, key = (
            given * torch.rsqrt((given * given).sum(-1, keepdim=True) + 1e-6) for given in (query, key)
        )
    query = query * query.shape[-1] ** -0.5
    decay = g.exp() if g.dim() == key.dim() else g.exp()[..., None]
    empty = torch.zeros_like(key[:, 0, :, :, None] * value[:, 0, :, None])
    memory = empty if initial_state is None else initial_state.float()
    read, memory = corrected_memory(memory, query, key, value, decay, beta[..., None])
    return read.to(dtype), memory


def mlstm(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    igate: Tensor,
    fgate: Tensor,
    c_initial: Tensor | None = None,
    n_initial: Tensor | None = None,
    m_initial: Tensor | None = None,
    eps: float = 1e-6,
    return_last_states: bool = True,
    **_: Any,
) -> Any:
    """`wrap_chunkwise_arbitrary_sequence_length` of xLSTM: its recurrent form for any length."""
    asked = (query * query.shape[-1] ** -0.5).float()
    forget, write = functional.logsigmoid(fgate).float(), igate.float()
    start = None
    if c_initial is not None and n_initial is not None and m_initial is not None:
        start = (c_initial.float(), n_initial.float(), m_initial.float())
    read, memory = matrix_memory(asked, key.float(), value.float(), forget, write, eps, start)
    read = read.to(query.dtype)
    return (read, memory) if return_last_states else read


def selective_scan(
    hidden_states: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    **_: Any,
) -> Tensor:
    """`mamba_selective_scan` of Mamba and its kin, without a cache."""
    if delta_bias is not None:
        dt = dt + delta_bias.to(dt.dtype)[..., None]
    if delta_softplus:
        dt = functional.softplus(dt)
    # [batch, length, channels, states]
    step = dt.transpose(1, 2)[..., None]
    update = (step * B.transpose(1, 2)[:, :, None].float()) * hidden_states.transpose(1, 2)[..., None].float()
    states = linear(torch.exp(A * step), update)
    output = (
        torch.matmul(states.to(hidden_states.dtype), C.transpose(1, 2)[..., None]).squeeze(-1).transpose(1, 2)
    )
    if D is not None:
        output = output + hidden_states * D[None, :, None]
    return output if z is None else output * functional.silu(z)


def rglru_scan(
    _module: Any,
    hidden_states: Tensor,
    recurrent_gate: Tensor,
    reset: Tensor,
    recurrent_states: None = None,
    acc_dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, None]:
    """`RecurrentGemmaRglru._rnn_scan`, without a cache."""
    states = linear((recurrent_gate * ~reset).type(acc_dtype), hidden_states.type(acc_dtype))
    return states.type(hidden_states.dtype), None


def rwkv_attention(
    time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor, **_: Any
) -> tuple[Tensor, None]:
    """`rwkv_linear_attention_cpu`, without a state."""
    averages = weighted_average(-torch.exp(time_decay), time_first, key.float(), value)
    return averages.to(key.dtype), None
