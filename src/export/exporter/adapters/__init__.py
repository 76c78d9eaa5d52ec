"""Patches without which a class cannot be traced, or its trace would not hold at other sizes.

In: a model. Out: a context in which its class can be traced. Each patch says what it is for and why it is
needed, and computes what the code it replaces computes; references are taken without it. Patches for single
architectures stand in a file per family, as in the spec.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

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
from .common import COMMON, Adapter

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


@contextmanager
def adapted(model: nn.Module) -> Iterator[None]:
    """Opens the patches that all models need under this transformers, and those for the model's type."""
    with ExitStack() as stack:
        for adapter in (*COMMON, *ADAPTERS.get(config_of(model).model_type, ())):
            stack.enter_context(adapter(model))
        yield
