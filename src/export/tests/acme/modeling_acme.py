"""Acme's models: attention that fades with the distance, in place of positions."""

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast, TokenClassifierOutput

from .configuration_acme import AcmeConfig, AcmeTaggerConfig


class AcmeAttention(nn.Module):
    """Every head looks back, and forgets at its own rate."""

    def __init__(self, config: AcmeConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.heads = config.num_attention_heads
        self.width = config.hidden_size // self.heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)
        self.rate = nn.Parameter(torch.full((self.heads,), -1.0))

    def forward(self, hidden: Tensor, real: Tensor | None, cache: Cache | None) -> Tensor:
        batch, length, _ = hidden.shape
        query, key, value = (
            part.view(batch, length, self.heads, self.width).transpose(1, 2)
            for part in self.qkv(hidden).chunk(3, dim=-1)
        )
        if cache is not None:
            key, value = cache.update(key, value, self.index)
        places = torch.arange(key.shape[2], device=hidden.device)
        distance = places[-length:, None] - places[None, :]
        scores = query @ key.transpose(-1, -2) / self.width**0.5
        scores = scores - distance.to(hidden.dtype) * nn.functional.softplus(self.rate)[:, None, None]
        hidden_from = distance < 0
        if real is not None:
            hidden_from = hidden_from | (real == 0)[:, None, None, :]
        scores = scores.masked_fill(hidden_from, torch.finfo(hidden.dtype).min)
        mixed = scores.softmax(dim=-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(batch, length, -1))


class AcmeLayer(nn.Module):
    """Attention, then a gated multiplication."""

    def __init__(self, config: AcmeConfig, index: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.attention = AcmeAttention(config, index)
        self.gate_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.gate = nn.Linear(config.hidden_size, config.intermediate_size)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: Tensor, real: Tensor | None, cache: Cache | None) -> Tensor:
        hidden = hidden + self.attention(self.attention_norm(hidden), real, cache)
        normed = self.gate_norm(hidden)
        return hidden + self.down(nn.functional.silu(self.gate(normed)) * self.up(normed))


class AcmePreTrainedModel(PreTrainedModel):
    """What Acme's models share."""

    config_class = AcmeConfig
    base_model_prefix = "model"

    def __init__(self, config: AcmeConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(AcmeLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def read(self, input_ids: Tensor, real: Tensor | None, cache: Cache | None = None) -> Tensor:
        """What is known at every token."""
        hidden = self.embed(input_ids)
        for layer in self.layers:
            hidden = layer(hidden, real, cache)
        return self.norm(hidden)


class AcmeForCausalLM(AcmePreTrainedModel, GenerationMixin):
    """Says the next token."""

    def __init__(self, config: AcmeConfig) -> None:
        super().__init__(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        **kwargs: object,
    ) -> CausalLMOutputWithPast:
        hidden = self.read(input_ids, attention_mask, cache)
        return CausalLMOutputWithPast(logits=self.lm_head(hidden), cache=cache)


class AcmeTagger(AcmePreTrainedModel):
    """Says what every token is."""

    config_class = AcmeTaggerConfig

    def __init__(self, config: AcmeTaggerConfig) -> None:
        super().__init__(config)
        self.labels = nn.Linear(config.hidden_size, config.num_labels or 2)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: object
    ) -> TokenClassifierOutput:
        return TokenClassifierOutput(logits=self.labels(self.read(input_ids, attention_mask)))
