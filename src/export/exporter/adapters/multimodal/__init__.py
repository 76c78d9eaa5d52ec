"""Patches for language models that see or hear.

In: nothing. Out: the adapters of every model type of the family, gathered from its groups.
"""

from ..patches import Adapter
from . import documents, heirs, one_shape, pictures, qwen, rows_of_patches, sounds

ADAPTERS: dict[str, list[Adapter]] = {
    **documents.ADAPTERS,
    **heirs.ADAPTERS,
    **one_shape.ADAPTERS,
    **pictures.ADAPTERS,
    **qwen.ADAPTERS,
    **rows_of_patches.ADAPTERS,
    **sounds.ADAPTERS,
}
