"""Patches for language models that read from left to right."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from .. import recurrence
from .common import Adapter, replaced


def _bloom_gelu(model: nn.Module) -> AbstractContextManager[None]:
    """BLOOM's GELU is an autograd function in Python, which TorchScript cannot save.

    Its forward is a plain formula, a function of its own.
    """
    module = sys.modules[type(model).__module__]
    return replaced(
        module, "GeLUFunction", SimpleNamespace(apply=module.bloom_gelu_forward)
    )


def _selective_scan(model: nn.Module) -> AbstractContextManager[None]:
    """Mamba's scan is a Python loop over the length."""
    module = sys.modules[type(model).__module__]
    return replaced(module, "mamba_selective_scan", recurrence.selective_scan)


def _rwkv_attention(model: nn.Module) -> AbstractContextManager[None]:
    """RWKV's attention is a Python loop over the length."""
    module = sys.modules[type(model).__module__]
    return replaced(module, "rwkv_linear_attention", recurrence.rwkv_attention)


@contextmanager
def _rglru(model: nn.Module) -> Iterator[None]:
    """RecurrentGemma's recurrence is a Python loop over the length.

    Its square root is an autograd function in Python, which TorchScript cannot save; only the gradient is special.
    """
    module = sys.modules[type(model).__module__]
    with (
        replaced(module.RecurrentGemmaRglru, "_rnn_scan", recurrence.rglru_scan),
        replaced(module, "SqrtBoundDerivative", SimpleNamespace(apply=torch.sqrt)),
    ):
        yield


@contextmanager
def _experts_by_row(model: nn.Module) -> Iterator[None]:
    """JetMoE splits the rows, sorted by expert, by a Python list of counts, which a trace bakes.

    The counts stay a tensor, and every row is multiplied by the weight of its own expert.
    """
    module = sys.modules[type(model).__module__]

    def forward(experts: nn.Module, rows: Tensor, counts: Tensor) -> Tensor:
        ids = torch.arange(experts.num_experts, device=rows.device)
        weights = experts.weight[torch.repeat_interleave(ids, counts)]
        return torch.bmm(weights, rows.unsqueeze(-1)).squeeze(-1)

    with (
        replaced(torch.Tensor, "tolist", lambda counts: counts),
        replaced(module.JetMoeParallelExperts, "forward", forward),
    ):
        yield


def _prompt_mask(model: nn.Module) -> AbstractContextManager[None]:
    """CPM-Ant counts positions by a Python list, which a trace bakes.

    What is real (the prompt, and as many positions at the end as there are tokens) sees all that is real: the
    model calls every position context, of one span.
    """
    core = model.cpmant

    def mask(ids: Tensor, _span: Tensor, _context: Tensor, length: Tensor) -> Tensor:
        left = torch.arange(ids.shape[1], device=ids.device).flip(0)[None]
        prompt = left >= ids.shape[1] - core.prompt_length
        real = prompt | (left < length[:, None])
        return real[:, :, None] & real[:, None, :]

    return replaced(core, "_prepare_attention_mask", mask)


ADAPTERS: dict[str, list[Adapter]] = {
    "bloom": [_bloom_gelu],
    "cpmant": [_prompt_mask],
    "falcon_mamba": [_selective_scan],
    "jamba": [_selective_scan],
    "jetmoe": [_experts_by_row],
    "mamba": [_selective_scan],
    "recurrent_gemma": [_rglru],
    "rwkv": [_rwkv_attention],
    "zamba": [_selective_scan],
}
