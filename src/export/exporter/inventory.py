"""What the installed transformers holds: `python -m exporter.inventory`.

Out: a JSON list of the model types that have a model class, on stdout.
"""

import json

import transformers
from transformers.models.auto import modeling_auto


def model_types() -> list[str]:
    """Model types that some auto class can build, sorted."""
    mappings = (value for name, value in vars(modeling_auto).items() if name.endswith("_MAPPING_NAMES"))
    with_class = {model_type for mapping in mappings for model_type in mapping}
    return sorted(with_class & set(transformers.CONFIG_MAPPING))


if __name__ == "__main__":
    print(json.dumps(model_types()))
