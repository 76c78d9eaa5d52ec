"""Caches as transformers 4 hands them out: plain tuples and lists of tensors, one for each layer.

In: what a model returned. Out: layers, as the library's later caches have them, and tuples again for the next call.
A layer has its keys and values, and behind them those of an encoder that it looks at; or one tensor, a memory: what it
was given of the last tokens, zeros before the first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from torch import Tensor

# A layer's keys and values.
PAIR = 2


@dataclass
class TupleLayer:
    """A layer's tensors: `[batch, heads, tokens, width]`, a memory `[tokens, batch, width]`; none before any token."""

    keys: Tensor | None = None
    values: Tensor | None = None
    memory: Tensor | None = None

    @property
    def pair(self) -> tuple[Tensor | None, ...]:
        """Its keys and values."""
        return self.keys, self.values


class Handed:
    """The layers of one call, which the next is given."""

    def __init__(self, returned: Iterable[Any]) -> None:
        # Of the library's later caches: by layer, whether an encoder was read.
        self.is_updated: dict[int, bool] = {}
        self.take(returned)

    def take(self, returned: Iterable[Any]) -> None:
        """Holds what a model returned."""
        self.layers: list[TupleLayer] = []
        self.crossed: list[TupleLayer] = []
        for tensors in returned:
            if isinstance(tensors, Tensor):
                self.layers.append(TupleLayer(memory=tensors))
                continue
            self.layers.append(TupleLayer(*tensors[:PAIR]))
            if len(tensors) > PAIR:
                self.crossed.append(TupleLayer(*tensors[PAIR:]))

    @property
    def given(self) -> Any:
        """What a model is given: nothing, where nothing was read yet."""
        first = self.layers[0]
        if first.memory is not None:
            return [layer.memory for layer in self.layers]
        if first.keys is None:
            return None
        if not self.crossed:
            return tuple(layer.pair for layer in self.layers)
        return tuple(own.pair + seen.pair for own, seen in zip(self.layers, self.crossed, strict=True))

    def emptied(self) -> "Handed":
        """A cache of as many layers before any token."""
        empty = Handed(())
        empty.layers = [TupleLayer() for _ in self.layers]
        empty.crossed = [TupleLayer() for _ in self.crossed]
        return empty

    @property
    def self_attention_cache(self) -> "Handed":
        """What it holds of its own tokens."""
        return self

    @property
    def cross_attention_cache(self) -> Any:
        """What it holds of what an encoder read, if it looks at one."""
        return SimpleNamespace(layers=self.crossed) if self.crossed else None


def layered(returned: Any) -> Any:
    """A cache that a model returned; tuples and lists as layers, any other as it is."""
    return Handed(returned) if isinstance(returned, tuple | list) else returned
