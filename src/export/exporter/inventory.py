"""What the installed transformers holds: `python -m exporter.inventory`.

Out: a JSON list of the model types that have a model class, on stdout.
"""

import json

from transformers.models.auto import configuration_auto, modeling_auto


def model_types() -> list[str]:
    """Model types that some auto class can build, sorted."""
    mappings = (value for name, value in vars(modeling_auto).items() if name.endswith("_MAPPING_NAMES"))
    with_class = {model_type for mapping in mappings for model_type in mapping}
    return sorted(with_class & set(configuration_auto.CONFIG_MAPPING_NAMES))


if __name__ == "__main__":
    print(json.dumps(model_types()))
