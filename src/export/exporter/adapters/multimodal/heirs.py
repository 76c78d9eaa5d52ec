"""Patches for models that see as an older one does.

In: nothing. Out: the older ones' adapters for their heirs, and what these need besides.
"""

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from ... import grids
from .. import decoder_only
from ..patches import Adapter, Upstream, replaced
from . import documents, pictures
from . import rows_of_patches as rows
from .qwen import features_unsplit, grids_as_tensors, patches_as_tensors


def _rows_with_ends(model: Upstream) -> AbstractContextManager[None]:
    """HY4 counts positions row by row in Python; an image's rows have a token more than they have merged patches."""

    def get_rope_index(self: Upstream, *args: Any, image_grid_thw: Tensor, **given: Any) -> Any:
        merge = self.config.vision_config.spatial_merge_size
        wider = image_grid_thw + image_grid_thw.new_tensor([0, 0, merge])
        return grids.token_positions(self, *args, image_grid_thw=wider, **given)

    return replaced(type(model.model), "get_rope_index", get_rope_index)


ADAPTERS: dict[str, list[Adapter]] = {
    "dots3_note": [grids_as_tensors, *decoder_only.ADAPTERS["dots3_note_text"]],
    "granite_docling": [features_unsplit],
    "hy_v4_vl": [
        *documents.ADAPTERS["hunyuan_vl_vision"],
        *decoder_only.ADAPTERS["hy_v4"],
        features_unsplit,
        _rows_with_ends,
    ],
    "hy_v4_vl_vision": documents.ADAPTERS["hunyuan_vl_vision"],
    "hyperclovax_vision_v2": [grids_as_tensors],
    "inkling2": [grids_as_tensors],
    "inkling2_loop": [grids_as_tensors],
    "inkling2_vision": [patches_as_tensors],
    "minicpm_ocr": rows.ADAPTERS["minicpmv4_6"],
    "minicpm_ocr_vision": [rows.packed_places],
    "minicpmv4_7": rows.ADAPTERS["minicpmv4_6"],
    "minicpmv4_7_vision": [rows.packed_places],
    "mistral_large4": [*pictures.ADAPTERS["mistral3"], *decoder_only.ADAPTERS["hy_v4"]],
    "molmo2": [features_unsplit],
    "muse_spark": rows.ADAPTERS["muse_glimmer"],
    "muse_spark_vision": rows.ADAPTERS["muse_glimmer_vision"],
    "qwen2_5_vl_vision": [patches_as_tensors],
    "ultravbert": pictures.ADAPTERS["modernvbert"],
}
