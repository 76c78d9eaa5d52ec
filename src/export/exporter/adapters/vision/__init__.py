"""Patches for models of images and videos.

In: nothing. Out: the adapters of every model type of the family, gathered from its groups.
"""

from ..patches import Adapter
from . import backbones, depth, detection, matching

ADAPTERS: dict[str, list[Adapter]] = {
    **backbones.ADAPTERS,
    **depth.ADAPTERS,
    **detection.ADAPTERS,
    **matching.ADAPTERS,
}
