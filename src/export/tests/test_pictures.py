from typing import Any

import torch
from transformers import Idefics3Config, Idefics3Model

from exporter.adapters.multimodal.pictures import _all_pictures_seen


def test_what_is_seen_of_images_of_padding_is_left_out() -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = Idefics3Config(
        vision_config=small | {"image_size": 16, "patch_size": 4},
        text_config=small | {"vocab_size": 32, "num_key_value_heads": 2, "pad_token_id": 0},
        scale_factor=2,
    )
    model = Idefics3Model(config).eval().requires_grad_(False)
    images = torch.randn(2, 2, 3, 16, 16)
    images[1, 0] = 0

    def seen() -> torch.Tensor:
        # Typed as a tuple or as what has one tensor.
        features: Any = model.get_image_features(images)
        return torch.cat(features.pooler_output)

    expected = seen()
    assert expected.shape == (3 * 4, 16)
    with _all_pictures_seen(model):
        torch.testing.assert_close(seen(), expected)
