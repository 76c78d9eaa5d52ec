"""What the installed transformers holds: `python -m exporter.inventory`.

Out: a JSON object on stdout: the package's `folder`, `model_types` that have a model class, and those `classes`; each
list is sorted.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import transformers
from transformers.models.auto import modeling_auto


def inventory() -> dict[str, str | list[str]]:
    """Model types that some auto class can build, and what it builds of them."""
    names = {name for name in vars(modeling_auto) if name.endswith("_MAPPING_NAMES")} - {
        "CONFIG_MAPPING_NAMES"
    }
    mappings = [getattr(modeling_auto, name) for name in sorted(names)]
    with_class = {model_type for mapping in mappings for model_type in mapping}
    return {
        "folder": str(Path(transformers.__file__).parent),
        "model_types": sorted(with_class & set(transformers.CONFIG_MAPPING)),
        "classes": sorted({name for mapping in mappings for name in _names(mapping.values())}),
    }


def _names(values: Iterable[str | tuple[str, ...]]) -> Iterator[str]:
    """Names of classes; some model types have several."""
    for value in values:
        yield from (value,) if isinstance(value, str) else value


if __name__ == "__main__":
    print(json.dumps(inventory()))
