"""Patches for encoder-decoders."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .patches import Adapter, Upstream, module_of, of_tensor, replaced, rows_of, shadowed


@contextmanager
def _every_expert(model: Upstream) -> Iterator[None]:
    """Switch Transformers and NLLB-MoE loop over the experts that some token has chosen.

    A trace bakes which experts those were, in `*Experts.forward`. Running all of them on all tokens, each
    token weighted by its share in the expert (mostly 0), gives the same sum.
    """

    def every_expert(experts: Any, states: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        if chosen.ndim == weights.ndim:
            chosen = nn.functional.one_hot(chosen, num_classes=experts.num_experts)
        shares = (chosen * weights[..., None]).sum(1)[..., None]
        kept = 1 - getattr(experts, "moe_token_dropout", 0)
        total = torch.zeros_like(states)
        for index in range(experts.num_experts):
            total = total + experts[f"expert_{index}"](states) * shares[:, index].to(states.dtype) * kept
        return total

    classes = {type(m) for m in model.modules() if type(m).__name__.endswith("Experts")}
    with ExitStack() as stack:
        for experts in classes:
            stack.enter_context(replaced(experts, "forward", every_expert))
        yield


@contextmanager
def _capacity_without_limit(model: Upstream) -> Iterator[None]:
    """NLLB-MoE gives an expert room for a share of all tokens, a Python number that a trace bakes.

    A share of 1 or more refuses no token, as no token chooses an expert twice; nor does an endless one.
    """
    with ExitStack() as stack:
        for router in model.modules():
            if getattr(router, "moe_eval_capacity_token_fraction", 0) >= 1:
                stack.enter_context(replaced(router, "moe_eval_capacity_token_fraction", 1e9))
        yield


# The methods of encoders that pad a row and return how much.
PADDING = ("_pad_to_block_size", "_pad_to_window_size")


class _Cut:
    """Padding that is always cut off again, by the real length: `states[:, :-padding]` fails for none."""

    def __init__(self, length: Any) -> None:
        self.length = length

    def __gt__(self, _other: int) -> bool:
        return True

    def __neg__(self) -> Any:
        return self.length


def _padding_cut_by_length(model: Upstream) -> AbstractContextManager[None]:
    """Block-wise encoders pad the row to whole blocks, unless it already is, and cut the padding off.

    A trace at a length that needs padding holds the branch that pads, which is right for every length but for
    `[:, :-0]` where it is cut.
    """
    encoder, name = next((m, name) for m in model.modules() for name in PADDING if hasattr(m, name))
    pad = getattr(encoder, name)

    def padded(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        length = tensors[0].shape[1]
        _, *rest = pad(*args, **kwargs)
        return (_Cut(length), *rest)

    return replaced(encoder, name, padded)


@contextmanager
def _first_block_for_random(model: Upstream) -> Iterator[None]:
    """BigBird lists its random blocks in numpy, for the length of the row; a trace bakes the list.

    Outside training the list is all zeros (`_bigbird_block_rand_mask`): every random block is the first block.
    """

    def gather(blocks: Tensor, indices: Tensor) -> Tensor:
        return blocks[:, :, :1].expand(-1, -1, (blocks.shape[2] - 2) * indices.shape[3], -1, -1)

    def mask(rows: Tensor, columns: Tensor, _blocks: Tensor, heads: int, count: int, *_: Any) -> Tensor:
        first = columns[:, 0].repeat(1, count)
        seen = rows[:, None, 1:-1, :, None] * first[:, None, None, None, :]
        return seen.expand(-1, heads, -1, -1, -1)

    with ExitStack() as stack:
        for layer in model.modules():
            if hasattr(layer, "torch_gather_b2"):
                stack.enter_context(replaced(layer, "torch_gather_b2", gather))
                stack.enter_context(replaced(layer, "_create_rand_mask_from_inputs", mask))
        yield


@contextmanager
def _chunks_by_unfolding(model: Upstream) -> Iterator[None]:
    """Longformer's encoder (LED) makes overlapping chunks with `as_strided`; a trace bakes the strides.

    `unfold` makes the same chunks: in `_chunk` of two overlaps, in `_sliding_chunks_matmul_attn_probs_value`
    of three, over values padded with -1.
    """

    def chunk(states: Tensor, overlap: int, _onnx: bool = False) -> Tensor:
        return states.unfold(1, 2 * overlap, overlap).transpose(2, 3)

    def weighted(layer: Any) -> Callable[..., Tensor]:
        def multiply(weights: Tensor, values: Tensor, overlap: int) -> Tensor:
            batch, length, heads, size = values.shape
            weights = weights.transpose(1, 2).reshape(batch * heads, -1, overlap, 2 * overlap + 1)
            values = values.transpose(1, 2).reshape(batch * heads, length, size)
            values = nn.functional.pad(values, (0, 0, overlap, overlap), value=-1)
            chunks = values.unfold(1, 3 * overlap, overlap).transpose(2, 3)
            context = layer._pad_and_diagonalize(weights) @ chunks
            return context.reshape(batch, heads, length, size).transpose(1, 2)

        return multiply

    with ExitStack() as stack:
        for layer in model.modules():
            if hasattr(layer, "_sliding_chunks_matmul_attn_probs_value"):
                stack.enter_context(replaced(layer, "_chunk", chunk))
                stack.enter_context(
                    replaced(
                        layer,
                        "_sliding_chunks_matmul_attn_probs_value",
                        weighted(layer),
                    )
                )
        yield


def _rows_by_shape(model: Upstream) -> AbstractContextManager[None]:
    """LED counts its global tokens by `len`, a Python number; the shape is the same number to the tracer."""
    module = module_of(model)
    return shadowed(module, "len", rows_of, of_tensor)


ADAPTERS: dict[str, list[Adapter]] = {
    "bigbird_pegasus": [
        _first_block_for_random,
        _padding_cut_by_length,
    ],
    "led": [
        _chunks_by_unfolding,
        _rows_by_shape,
        _padding_cut_by_length,
    ],
    "nllb-moe": [_every_expert, _capacity_without_limit],
    "switch_transformers": [_every_expert],
}
