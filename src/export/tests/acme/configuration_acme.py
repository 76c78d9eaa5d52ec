"""Sizes of Acme's models."""

from typing import Any

from transformers import PretrainedConfig


class AcmeConfig(PretrainedConfig):
    """A decoder whose tokens look back with a weight that falls with the distance."""

    model_type = "acme"

    def __init__(
        self,
        vocab_size: int = 32000,
        hidden_size: int = 1024,
        intermediate_size: int = 4096,
        num_hidden_layers: int = 24,
        num_attention_heads: int = 16,
        norm_eps: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.norm_eps = norm_eps
        super().__init__(**kwargs)


class AcmeTaggerConfig(AcmeConfig):
    """The same, with a label for every token."""

    model_type = "acme-tagger"
