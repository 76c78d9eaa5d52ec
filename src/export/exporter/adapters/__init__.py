"""Patches without which a class cannot be traced, or its trace would not hold at other sizes.

In: a model. Out: a context in which its class can be traced, and which of its patches were used. Each patch says what
it is for and why it is needed, and computes what the code it replaces computes; references are taken without it.
Patches for single architectures stand by family, as in the spec; `patches` has what they are made of.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ..errors import ExportError, nearest
from ..foreign import config_of
from . import (
    decoder_only,
    encoder_decoder,
    encoder_only,
    multimodal,
    speech,
    vision,
    vision_text,
)
from .common import COMMON
from .patches import Adapter, Hold, Upstream, held

FAMILIES = (
    decoder_only,
    encoder_decoder,
    encoder_only,
    multimodal,
    speech,
    vision,
    vision_text,
)
ADAPTERS: dict[str, list[Adapter]] = {
    model_type: adapters for family in FAMILIES for model_type, adapters in family.ADAPTERS.items()
}


def adapters_of(model: Upstream) -> tuple[Adapter, ...]:
    """The patches that all models need under this transformers, and those for the model's type."""
    return (*COMMON, *ADAPTERS.get(config_of(model).model_type, ()))


@contextmanager
def adapted(model: Upstream, without: str | None = None) -> Iterator[list[Hold]]:
    """Opens the model's adapters, all but the one of that name; when the block has ended, each knows whether it took.

    Raises:
        ExportError: no adapter of the model has that name, or one that is for its type finds nothing of it to replace.
    """
    holds = [Hold(adapter) for adapter in adapters_of(model)]
    names = [hold.name for hold in holds]
    if without is not None and without not in names:
        raise ExportError(f"no adapter {without!r} for {type(model).__name__}{nearest(without, names)}")
    opened = [hold for hold in holds if hold.name != without]
    with ExitStack() as stack:
        for hold in opened:
            stack.enter_context(held(hold, model))
            if not hold.found and hold.adapter not in COMMON:
                raise ExportError(
                    f"adapter {hold.name}: {type(model).__name__} has nothing for it to replace"
                )
        yield opened
