"""How models that see are called, and what is read of their outputs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..adapters.patches import Upstream, hooked
from .kinds import Call, View


def _image_before_text(
    model: Upstream,
    textual_tokens: Tensor,
    attention_mask: Tensor,
    visual_tokens: Tensor,
) -> dict[str, Tensor]:
    """BEiT-3 marks padding where others mark words, and returns image and text as one sequence.

    As in unilm's `BEiT3ForRetrieval` and its kin, which hand the padding on and read the two parts apart.
    """
    encoded = model(
        textual_tokens=textual_tokens,
        visual_tokens=visual_tokens,
        text_padding_position=attention_mask == 0,
    )
    patches = encoded["multiway_split_position"]
    return {
        "last_hidden_state": encoded["encoder_out"][:, patches:],
        "image_hidden_state": encoded["encoder_out"][:, :patches],
    }


def _canvas_beside_picture(
    model: Upstream,
    pixel_values: Tensor,
    image_position_ids: Tensor,
    input_ids: Tensor,
    attention_mask: Tensor,
    decoder_input_ids: Tensor,
    self_conditioning_logits: Tensor,
    **switches: Any,
) -> Mapping[str, Tensor]:
    """DiffusionGemma's `forward` hands pictures on to its encoder without naming them.

    One step of `generate`: the decoder reads what the mask shows of the prompt, all of a canvas, and the logits of
    the step before.
    """
    canvas = torch.ones_like(decoder_input_ids)
    return model(
        pixel_values=pixel_values,
        image_position_ids=image_position_ids,
        input_ids=input_ids,
        attention_mask=attention_mask,
        decoder_input_ids=decoder_input_ids,
        decoder_attention_mask=torch.cat([attention_mask, canvas], dim=1),
        self_conditioning_logits=self_conditioning_logits,
        **switches,
    )


def _image_tokens(model: Upstream, hidden_states: Tensor, **switches: Any) -> Mapping[str, Tensor]:
    """GLM-Image's VQ model has no `forward`; `GlmImageModel.get_image_tokens` has it encode what the vision model saw.

    Its tokens are those of all images in one row; here each has its own.
    """
    encoded = model.encode(hidden_states)
    tokens = encoded.image_tokens.unflatten(0, (hidden_states.shape[0], -1))
    return {
        "quantized_last_hidden_state": encoded.quantized_last_hidden_state,
        "image_tokens": tokens,
    }


def _without_image_outputs(
    model: Upstream,
    input_ids: Tensor,
    attention_mask: Tensor,
    position_ids: Tensor,
    pixel_values: Tensor,
    **switches: Any,
) -> Mapping[str, Tensor]:
    """Llama 4's `forward` always fails in transformers 5.24: its language model's outputs have no `image_outputs`.

    A hook gives them an empty one, which is read after all is computed; no user gets a result without the like.
    """

    def add(_model: Upstream, _inputs: Any, outputs: Any) -> None:
        outputs.image_outputs = None

    with hooked(model.language_model.register_forward_hook, add):
        return model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            pixel_values=pixel_values,
            **switches,
        )


def _words_alone(model: Upstream, logits: Tensor, _length: int) -> Tensor:
    """Chameleon gives the words for images no finite score: those words are never written."""
    return logits[..., : min(model.model.vocabulary_mapping.image_tokens)]


def _behind_the_patches(_model: Upstream, logits: Tensor, length: int) -> Tensor:
    """GIT returns logits for the patches of the image too, before those of the words."""
    return logits[:, -length:]


def _before_the_patches(_model: Upstream, logits: Tensor, length: int) -> Tensor:
    """LayoutLMv3 returns outputs for the patches of the image too, behind those of the words."""
    return logits[:, :length]


CALLS: dict[str, Call] = {
    "BEiT3": _image_before_text,
    "DiffusionGemmaForBlockDiffusion": _canvas_beside_picture,
    "GlmImageVQVAE": _image_tokens,
    "Llama4ForConditionalGeneration": _without_image_outputs,
}
VIEWS: dict[str, View] = {
    "chameleon": _words_alone,
    "git": _behind_the_patches,
    "layoutlmv3": _before_the_patches,
}
