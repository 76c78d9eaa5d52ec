"""Recurrences whose length is not baked into a trace.

In: what the functions of transformers take that they stand in for while a model is traced (`adapters`). Out:
what those return. Upstream loops over `range(length)` in Python, which the tracer unrolls; a scripted loop stays
a loop, and does the same arithmetic in the same order.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@torch.jit.script
def linear(decay: Tensor, update: Tensor) -> Tensor:
    """All states of `state = decay · state + update`, from zero, along the second dimension."""
    state = torch.zeros_like(update[:, 0])
    states: list[Tensor] = []
    for step in range(update.size(1)):
        state = decay[:, step] * state + update[:, step]
        states.append(state)
    return torch.stack(states, dim=1)


@torch.jit.script
def weighted_average(
    decay: Tensor, first: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """RWKV's attention: an average of the values so far with weights e^key, which fade by e^decay a step.

    Numerator and denominator are kept as multiples of e^highest, so that neither overflows.
    """
    numerator = torch.zeros_like(key[:, 0])
    denominator = torch.zeros_like(key[:, 0])
    highest = torch.zeros_like(key[:, 0]) - 1e38
    averages: list[Tensor] = []
    for step in range(key.size(1)):
        new, content = key[:, step], value[:, step]
        top = torch.maximum(highest, new + first)
        old_share, new_share = torch.exp(highest - top), torch.exp(new + first - top)
        averages.append(
            (old_share * numerator + new_share * content)
            / (old_share * denominator + new_share)
        )
        top = torch.maximum(highest + decay, new)
        old_share, new_share = torch.exp(highest + decay - top), torch.exp(new - top)
        numerator = old_share * numerator + new_share * content
        denominator = old_share * denominator + new_share
        highest = top
    return torch.stack(averages, dim=1)


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
    update = (step * B.transpose(1, 2)[:, :, None].float()) * hidden_states.transpose(
        1, 2
    )[..., None].float()
    states = linear(torch.exp(A * step), update)
    output = (
        torch.matmul(states.to(hidden_states.dtype), C.transpose(1, 2)[..., None])
        .squeeze(-1)
        .transpose(1, 2)
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
    states = linear(
        (recurrent_gate * ~reset).type(acc_dtype), hidden_states.type(acc_dtype)
    )
    return states.type(hidden_states.dtype), None


def rwkv_attention(
    time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor, **_: Any
) -> tuple[Tensor, None]:
    """`rwkv_linear_attention_cpu`, without a state."""
    averages = weighted_average(-torch.exp(time_decay), time_first, key.float(), value)
    return averages.to(key.dtype), None
