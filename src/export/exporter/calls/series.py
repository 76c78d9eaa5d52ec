"""How forecasters are called, and a language model whose outputs have a name of their own."""

from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ..adapters.patches import Upstream, replaced
from .kinds import Call


def _scores_as_logits(
    model: Upstream,
    input_ids: Tensor,
    mems: tuple[Tensor, ...] | None = None,
    **switches: Any,
) -> dict[str, Any]:
    """Transformer-XL calls the logarithms of its probabilities prediction scores.

    `TransfoXLLMHeadModelOutput.logits` is another name for them, and the one that `generate` reads.
    """
    result = model(input_ids=input_ids, mems=mems, **switches)
    return {"logits": result.logits, "mems": result.mems}


def _distribution(
    model: Upstream,
    past_values: Tensor,
    past_time_features: Tensor,
    past_observed_mask: Tensor,
    static_categorical_features: Tensor,
    future_values: Tensor,
    future_time_features: Tensor,
    **switches: Any,
) -> dict[str, Tensor]:
    """Forecasters return the parameters of a Student's t distribution as a tuple, which gets names here."""
    result = model(
        past_values=past_values,
        past_time_features=past_time_features,
        past_observed_mask=past_observed_mask,
        static_categorical_features=static_categorical_features,
        future_values=future_values,
        future_time_features=future_time_features,
        **switches,
    )
    freedom, location, scale = result.params
    return {
        "freedom": freedom,
        "location": location,
        "scale": scale,
        "loss": result.loss,
    }


def _same_draws() -> AbstractContextManager[None]:
    """Lets `torch.randint` draw, from a seed of its own, what a trace keeps as a constant."""
    draw, generator = torch.randint, torch.Generator().manual_seed(0)

    def randint(low: int, high: int, size: tuple[int, ...]) -> Tensor:
        drawn = draw(int(low), int(high), tuple(map(int, size)), generator=generator)
        return torch.tensor(drawn.tolist())

    return replaced(torch, "randint", randint)


@wraps(_distribution, assigned=())
def _informer(*args: Any, **inputs: Any) -> dict[str, Tensor]:
    """Informer's sparse attention samples keys with `torch.randint`; here the same ones at every call."""
    with _same_draws():
        return _distribution(*args, **inputs)


CALLS: dict[str, Call] = {
    "AutoformerForPrediction": _distribution,
    "InformerForPrediction": _informer,
    "TimeSeriesTransformerForPrediction": _distribution,
    "TransfoXLLMHeadModel": _scores_as_logits,
}
