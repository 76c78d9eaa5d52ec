"""What a model returns in fp64 is the same whether or not there is a copy of its weights in fp64."""

from collections.abc import Callable
from typing import Any

import pytest
import samples
import torch
import transformers
from torch import Tensor, nn

from exporter.errors import ExportError
from exporter.reference import widened
from exporter.streamed import streamed

SIZES: dict[str, Any] = samples.BERT | {"pad_token_id": 0}
ENCODES: dict[str, Any] = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 32}
TOKENS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
PICTURES = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
SOUNDS = torch.linspace(-1, 1, 2 * 4 * 16).reshape(2, 4, 16)
SMALL: dict[str, Any] = {"intermediate_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 32}
SMALL |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}
# As the exporter asks for it: in a way that takes float64.
EXPERTS: dict[str, Any] = {"num_local_experts": 2, "experts_implementation": "batched_mm"}


class Own(nn.Module):
    """What classes do with weights beside giving them to layers."""

    config = samples.CONFIG
    turned: Tensor
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.rand(3))
        self.inner = nn.Linear(3, 3)
        self.reads = nn.LSTM(3, 3, batch_first=True)
        self.register_buffer("turned", torch.rand(3, dtype=torch.complex64))
        self.register_buffer("mean", torch.rand(3))

    def forward(self, values: Tensor) -> dict[str, Tensor]:
        values = torch.cat([self.start.expand(1, 3), values - self.mean])
        values = nn.functional.linear(values, (1.0 + self.inner.weight).t()) / self.inner.weight.norm(dim=0)
        values = values.type_as(self.start) + values.to(self.inner.weight.dtype)
        values, _ = self.reads(values[None])
        turned = (values[0] * self.turned).abs()
        pairs = nn.functional.scaled_dot_product_attention(self.inner.weight[None], values, values)
        return {"logits": turned[1:] + pairs.sum() + self.inner.weight.exp()[0].float()}


MODELS: dict[str, tuple[Callable[[], nn.Module], dict[str, Tensor], str]] = {
    "bert": (
        lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)),
        samples.inputs(),
        "logits",
    ),
    "llama": (
        lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, tie_word_embeddings=True)),
        {"input_ids": TOKENS},
        "logits",
    ),
    "gemma": (
        lambda: transformers.GemmaForCausalLM(transformers.GemmaConfig(**SMALL)),
        {"input_ids": TOKENS},
        "logits",
    ),
    "mixtral": (
        lambda: transformers.MixtralForCausalLM(transformers.MixtralConfig(**SMALL, **EXPERTS)),
        {"input_ids": TOKENS},
        "logits",
    ),
    "vit": (
        lambda: transformers.ViTForImageClassification(
            transformers.ViTConfig(**SIZES, image_size=8, patch_size=4)
        ),
        {"pixel_values": PICTURES},
        "logits",
    ),
    "resnet": (
        lambda: transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1])
        ),
        {"pixel_values": PICTURES},
        "last_hidden_state",
    ),
    "whisper": (
        lambda: transformers.WhisperForConditionalGeneration(
            transformers.WhisperConfig(
                **ENCODES,
                num_mel_bins=4,
                max_source_positions=8,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=8,
                decoder_ffn_dim=8,
                pad_token_id=0,
                eos_token_id=1,
                bos_token_id=1,
                decoder_start_token_id=1,
            )
        ),
        {"input_features": SOUNDS, "decoder_input_ids": TOKENS},
        "logits",
    ),
    "t5": (
        lambda: transformers.T5ForConditionalGeneration(
            transformers.T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
        ),
        {"input_ids": TOKENS, "decoder_input_ids": TOKENS},
        "logits",
    ),
    "own": (Own, {"values": torch.rand(2, 3)}, "logits"),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_widened_one_at_a_time_give_the_bits_that_a_copy_gives(name: str) -> None:
    make, given, output = MODELS[name]
    torch.manual_seed(0)
    model = make().eval().requires_grad_(False)
    weights = {path: weight.clone() for path, weight in model.state_dict().items()}
    job = samples.job(outputs=[{**samples.LOGITS, "name": output}])
    with torch.no_grad():
        copied, found = widened(model)(job, given), streamed(model)(job, given)
    assert copied[output].dtype == found[output].dtype == torch.float64
    assert torch.equal(copied[output], found[output])
    for path, weight in model.state_dict().items():
        assert weight.dtype == weights[path].dtype and torch.equal(weight, weights[path]), path


class Writes(samples.Doubled):
    """Halves its own weights, as RWKV does."""

    def forward(self, values: Tensor) -> Tensor:
        self.inner.weight.div_(2)
        return super().forward(values)


def test_a_class_that_writes_into_its_weights_is_told_and_they_stay() -> None:
    model = Writes().eval().requires_grad_(False)
    before = model.inner.weight.clone()
    with pytest.raises(ExportError, match=r"BertForMaskedLM writes into its own weights \(div_\)"):
        streamed(model)(samples.job(), {"values": torch.ones(2, 3)})
    assert torch.equal(model.inner.weight, before)
