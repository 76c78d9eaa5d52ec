"""What a model is given once, before its first step, and what its steps need of it.

In: the inputs that no step takes: what an encoder reads, pictures, sounds, what is said of each token beside its id.
Out: tensors that the prefill returns, to be held, and what a step makes of them. `encoder/…` is what an encoder
returned, `given/…` what was given, or follows from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from .cache import ENCODED, Held
from .calls import parameters_of
from .foreign import config_of
from .job import Generation, Input, Job
from .model import token_id
from .program import Tensors

# What the names of an encoder's outputs begin with, and those of all else that is held.
ENCODER, GIVEN = "encoder", "given"
# Where a model keeps by how much later positions are off their number: a picture takes fewer than it has tokens.
DELTAS = "rope_deltas"
# What a class is given that looks at pictures in every step: its vision model's hidden states, in place of pixels.
SEEN = "image_encoder_embeddings"


class Once:
    """The inputs that are given once, and what is held of them."""

    def __init__(self, model: nn.Module, job: Job, names: Generation, *, encodes: bool) -> None:
        self.model, self.job, self.names, self.encodes = model, job, names, encodes
        growing = (names.grows, names.mask, names.positions)
        self.inputs = [entry for entry in job.inputs if entry.name not in growing]
        # The class of what the encoder returns, once it did.
        self._returned: Any = dict

    def follows(self, entry: Input) -> bool:
        """Whether an input that is given once says something of every token."""
        tokens = next(tokens for tokens in self.job.inputs if tokens.name == self.names.grows)
        return entry in self.inputs and entry.shape[1:2] == tokens.shape[1:2]

    @cached_property
    def followers(self) -> list[Input]:
        """What steps are told of their tokens: what was said of the last one that the prefill read.

        Not where things stand that are seen or heard: in a step there are none.
        """
        return [entry for entry in self.inputs if self.follows(entry) and entry.kind != "mm_token_type_ids"]

    @property
    def masks(self) -> list[Input]:
        """The masks of what an encoder reads: the decoder looks through them at every step."""
        return [entry for entry in self.inputs if self.encodes and entry.kind == "mask"]

    def least(self, prompts: Tensors) -> int:
        """How many tokens the prefill must read: of the last of them and of all later ones the same is said."""
        places = [token_id(config_of(self.model), name) for name in self.job.placeholders]
        tokens = prompts[self.names.grows]
        other = [torch.isin(tokens, torch.tensor(places, dtype=tokens.dtype))]
        for entry in self.followers:
            said = prompts[entry.name].flatten(2)
            other.append((said != said[:, -1:]).any(-1))
        return max(_end(places) + 1 for places in other)

    def later(self, prompts: Tensors, count: int) -> Tensors:
        """What is said of that many words after the prompts."""
        said = {}
        for entry in filter(self.follows, self.inputs):
            last = prompts[entry.name][:, -1:]
            last = torch.zeros_like(last) if entry.kind == "mm_token_type_ids" else last
            said[entry.name] = last.expand(-1, count, *last.shape[2:])
        return said

    @contextmanager
    def watched(self) -> Iterator[Tensors]:
        """The tensors that the encoder returns while the block runs; as by the library, it is told of no cache."""
        encoded: Tensors = {}
        if not self.encodes:
            yield encoded
            return

        def keep(_module: nn.Module, _inputs: Any, returned: Any) -> None:
            self._returned = type(returned)
            encoded.update({name: value for name, value in returned.items() if isinstance(value, Tensor)})

        def told(_module: nn.Module, inputs: Any, named: dict[str, Any]) -> Any:
            return inputs, named | {name: False for name in named if name == "use_cache"}

        encoder = cast("Any", self.model).get_encoder()
        hooks = encoder.register_forward_pre_hook(told, with_kwargs=True), encoder.register_forward_hook(keep)
        try:
            yield encoded
        finally:
            for hook in hooks:
                hook.remove()

    def kept(self, inputs: Tensors, result: Any, encoded: Tensors) -> Tensors:
        """What the prefill returns to be held: of its inputs, of its result, and of what its encoder returned."""
        given = {entry.name: inputs[entry.name] for entry in self.masks}
        given |= {entry.name: inputs[entry.name][:, -1:] for entry in self.followers}
        deltas = getattr(self._counter, DELTAS, None)
        if deltas is not None:
            given[DELTAS] = deltas
        if SEEN in parameters_of(self.model):
            given[SEEN] = result.image_outputs.last_hidden_state
        held = {f"{ENCODER}/{name}": value for name, value in encoded.items()}
        return held | {f"{GIVEN}/{name}": value for name, value in given.items()}

    def step(self, inputs: Tensors, own: Tensors, held: Any) -> dict[str, Any]:
        """What a step is given beside its own inputs and its cache."""
        given: dict[str, Any] = {entry.name: inputs[f"{GIVEN}/{entry.name}"] for entry in self.masks}
        count = own[self.names.grows].shape[1]
        for entry in self.followers:
            last = inputs[f"{GIVEN}/{entry.name}"]
            given[entry.name] = last.expand(-1, count, *last.shape[2:])
        if self.encodes:
            start = f"{ENCODER}/"
            encoded = {name: value for name, value in inputs.items() if name.startswith(start)}
            returned = {name.removeprefix(start): value for name, value in encoded.items()}
            given["encoder_outputs"] = self._returned(**returned)
        if f"{GIVEN}/{SEEN}" in inputs:
            given[SEEN] = inputs[f"{GIVEN}/{SEEN}"]
        if f"{GIVEN}/{DELTAS}" in inputs:
            given["position_ids"] = self._positions(own, held, inputs[f"{GIVEN}/{DELTAS}"])
        return given

    def facts(self, prefilled: Tensors, encoded: int | None) -> Iterator[Held]:
        """What is held, in the order in which the prefill returns it; `encoded` is how many places an encoder has."""
        masks = {f"{GIVEN}/{entry.name}": entry.shape for entry in self.masks}
        for name, value in prefilled.items():
            if name.startswith(f"{ENCODER}/"):
                places = [
                    ENCODED if size == encoded else f"{name}.{dim}"
                    for dim, size in enumerate(value.shape[1:-1], 1)
                ]
                last = ENCODED if value.shape[-1] == encoded and not places else value.shape[-1]
                yield Held(name, value.dtype, ("batch", *places, last))
            elif name == f"{GIVEN}/{SEEN}":
                yield Held(name, value.dtype, ("seen.0", "seen.1", value.shape[-1]))
            elif name.startswith(f"{GIVEN}/"):
                yield Held(name, value.dtype, masks.get(name, ("batch", *value.shape[1:])))

    @cached_property
    def _counter(self) -> Any:
        """The part of the model that counts the positions of pictures, where it is not told positions."""
        if self.names.positions is not None:
            return None
        return next((part for part in self.model.modules() if hasattr(part, DELTAS)), None)

    def _positions(self, own: Tensors, held: Any, deltas: Tensor) -> Tensor:
        """The positions that the library's loop gives to the tokens of a step."""
        tokens, model = own[self.names.grows], cast("Any", self.model)
        beside = {"cache": held, "attention_mask": own.get(self.names.mask or "")}
        before = getattr(self._counter, DELTAS)
        setattr(self._counter, DELTAS, deltas)
        try:
            return model._prepare_position_ids_for_generation(tokens, beside)[..., -tokens.shape[1] :]
        finally:
            setattr(self._counter, DELTAS, before)


def _end(places: Tensor) -> int:
    """How many tokens of rows there are up to the last of those places."""
    found = places.any(0).nonzero()
    return int(found.max()) + 1 if len(found) else 0
