"""Planted faults of the programs that decode: what can be wrong with a cache.

In: a decoder and the name of a fault. Out: a program that is wrong in that one way.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .cache import Held
from .decoding import Decoder
from .once import DELTAS, GIVEN
from .program import DECODE, PREFILL, Hooks, Tensors

Fault = Callable[[Decoder], Hooks | None]
# The kinds of inputs that are pictures or sounds.
FEATURES = ("normal", "uniform")


def _stale_key(decoder: Decoder) -> Hooks:
    """The first layer keeps the key of the token before instead of the newest."""
    return _stale(decoder.slots[0])


def _rows_swapped(decoder: Decoder) -> Hooks:
    """The first tensor of the cache has its rows in another order."""
    return _swapped(decoder.slots[0])


def _cross_key_stale(decoder: Decoder) -> Hooks | None:
    """The first layer keeps, for the last place that the encoder saw, the key of the place before."""
    return _stale(decoder.cross[0]) if decoder.cross else None


def _cross_rows_swapped(decoder: Decoder) -> Hooks | None:
    """The first layer looks at what the encoder saw in another row."""
    return _swapped(decoder.cross[0]) if decoder.cross else None


def _seen_stale(decoder: Decoder) -> Hooks | None:
    """Every row sees, or hears, what the row before it should."""
    features = [entry.name for entry in decoder.once.inputs if entry.kind in FEATURES]
    if not features:
        return None
    return Hooks(inputs=lambda inputs: inputs | {name: inputs[name].roll(1, 0) for name in features})


def _delta_off(decoder: Decoder) -> Hooks | None:
    """Positions after a picture are one too far."""
    deltas = next((held for held in decoder.held if held.name == f"{GIVEN}/{DELTAS}"), None)
    return deltas and _kept(deltas, lambda value: value + 1)


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


def _stale(key: Held) -> Hooks:
    return _kept(key, lambda value: torch.cat([value[:, :, :-1], value[:, :, -2:-1]], 2))


def _swapped(held: Held) -> Hooks:
    return _kept(held, lambda value: value.flip(held.shape.index("batch")))


def _kept(held: Held, change: Callable[[Tensor], Tensor]) -> Hooks:
    """What is held is returned with one of its tensors changed."""
    return Hooks(outputs=lambda outputs: outputs | {held.name: change(outputs[held.name])})


# The program that is wrong, and how. None: the fault has nothing to take hold of in the decoder.
FAULTS: dict[str, tuple[str, Fault]] = {
    "cache-key-stale": (DECODE, _stale_key),
    "cache-rows-swapped": (DECODE, _rows_swapped),
    "cache-window-off": (DECODE, _window_off),
    "cache-position-shifted": (DECODE, _position_shifted),
    "cache-mask-short": (DECODE, _mask_short),
    "cross-key-stale": (PREFILL, _cross_key_stale),
    "cross-rows-swapped": (PREFILL, _cross_rows_swapped),
    "seen-stale": (PREFILL, _seen_stale),
    "seen-delta-off": (PREFILL, _delta_off),
}
