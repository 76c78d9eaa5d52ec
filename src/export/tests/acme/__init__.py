"""An architecture that no release of transformers has: what `just add --package` is tried on.

Its language model leaves the auto classes alone; its tagger, whose name tells no task, is registered with them.
"""

from transformers import AutoConfig, AutoModelForTokenClassification

from .configuration_acme import AcmeTaggerConfig
from .modeling_acme import AcmeTagger

AutoConfig.register("acme-tagger", AcmeTaggerConfig)
AutoModelForTokenClassification.register(AcmeTaggerConfig, AcmeTagger)
