"""Planted faults of step programs: what can be wrong with a cache.

In: a decoder and the name of a fault. Out: a step program that is wrong in that one way.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .decoding import Decoder, Slot
from .program import Hooks, Tensors

Fault = Callable[[Decoder], Hooks | None]


def _stale_key(decoder: Decoder) -> Hooks:
    """The first layer keeps the key of the token before instead of the newest."""
    return _kept(decoder.slots[0], lambda key: torch.cat([key[:, :, :-1], key[:, :, -2:-1]], 2))


def _rows_swapped(decoder: Decoder) -> Hooks:
    """The first tensor of the cache has its rows in another order."""
    slot = decoder.slots[0]
    return _kept(slot, lambda value: value.flip(slot.shape.index("batch")))


def _window_off(decoder: Decoder) -> Hooks | None:
    """Layers with a window keep one token less."""
    bounded = {slot.name: slot.window for slot in decoder.slots if slot.window}
    if not bounded:
        return None

    def shorter(outputs: Tensors) -> Tensors:
        return {
            name: value[:, :, 1 - bounded[name] :] if name in bounded else value
            for name, value in outputs.items()
        }

    return Hooks(outputs=shorter)


def _position_shifted(decoder: Decoder) -> Hooks | None:
    """Positions count one too far wherever something was read before."""
    mask, positions = decoder.names.mask, decoder.names.positions
    if mask is None or positions is None:
        return None

    def shifted(inputs: Tensors) -> Tensors:
        before = inputs[mask][:, : -inputs[positions].shape[1]]
        return inputs | {positions: inputs[positions] + before.sum(1, keepdim=True).clamp(max=1)}

    return Hooks(inputs=shifted)


def _mask_short(decoder: Decoder) -> Hooks | None:
    """The mask has not grown by the newest token, which is hidden therefore."""
    mask = decoder.names.mask
    if mask is None:
        return None

    def hidden(inputs: Tensors) -> Tensors:
        return inputs | {mask: torch.cat([inputs[mask][:, :-1], torch.zeros_like(inputs[mask][:, -1:])], 1)}

    return Hooks(inputs=hidden)


def _kept(slot: Slot, change: Callable[[Tensor], Tensor]) -> Hooks:
    """The cache is returned with one of its tensors changed."""
    return Hooks(outputs=lambda outputs: outputs | {slot.name: change(outputs[slot.name])})


# None: the fault has nothing to take hold of in the decoder.
FAULTS: dict[str, Fault] = {
    "cache-key-stale": _stale_key,
    "cache-rows-swapped": _rows_swapped,
    "cache-window-off": _window_off,
    "cache-position-shifted": _position_shifted,
    "cache-mask-short": _mask_short,
}
