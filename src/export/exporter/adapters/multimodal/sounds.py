"""Patches for models that hear, most of which see too."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ... import grids
from ..patches import (
    Adapter,
    Upstream,
    module_of,
    replaced,
)
from .qwen import grids_as_tensors, seeing


@contextmanager
def _pictures_and_sounds_in_one(model: Upstream) -> Iterator[None]:
    """Phi-4-multimodal lays out the crops of every image, and cuts every sound, in loops over the batch.

    Images of one size, as many of their patches shown by the mask, and sounds of one length go together.
    """
    module = module_of(model)
    eyes = module.Phi4MultimodalImageEmbedding
    ears = module.Phi4MultimodalAudioEmbedding

    def see(
        self: Upstream,
        ids: Tensor,
        embeds: Tensor,
        image_pixel_values: Tensor,
        image_sizes: Tensor,
        image_attention_mask: Tensor,
    ) -> Tensor:
        mask = image_attention_mask
        seen = self.get_img_features(image_pixel_values.flatten(0, 1), mask.flatten(0, 1).to(torch.bool))
        side = int(self.num_img_tokens**0.5)
        seen = seen.unflatten(1, (side, side)).unflatten(0, mask.shape[:2])
        rows, columns = (image_sizes[0] // self.crop_size).unbind()
        crops = seen[:, 1:][:, : rows * columns].unflatten(1, (rows, columns))
        crops = crops.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        shown = mask[0, 1 : rows * columns + 1, ::2, ::2]
        shown = shown.unflatten(0, (rows, columns)).transpose(1, 2).flatten(2).flatten(0, 1)
        height, width = shown[:, 0].sum().long(), shown[0].sum().long()

        def ended(lines: Tensor) -> Tensor:
            ends = self.sub_img_feature_extensor.expand(*lines.shape[:2], 1, -1)
            return torch.cat([lines, ends], dim=2).flatten(1, 2)

        between = self.global_img_feature_extensor.expand(seen.shape[0], -1, -1)
        whole = ended(crops[:, :height, :width]), between, ended(seen[:, 0])
        shaped = nn.functional.gelu(self.img_projection_up(torch.cat(whole, dim=1)))
        features = self.img_projection_down(shaped).flatten(0, 1).to(embeds.dtype)
        image = ids == self.config.vision_config.image_token_id
        return embeds.masked_scatter(image[..., None], features)

    def hear(
        self: Upstream,
        ids: Tensor,
        embeds: Tensor,
        audio_input_features: Tensor,
        audio_embed_sizes: Tensor,
        audio_attention_mask: Tensor | None = None,
        audio_projection_mode: str = "speech",
    ) -> Tensor:
        mode = "speech" if audio_projection_mode == "speech" else "vision_speech"
        up = getattr(self, f"up_proj_for_{mode}")
        down = getattr(self, f"down_proj_for_{mode}")
        heard = self.encoder(audio_input_features.to(up.bias.dtype), audio_attention_mask)
        features = down(nn.functional.gelu(up(heard)))[:, : audio_embed_sizes[0]]
        audio = ids == self.config.audio_config.audio_token_id
        return embeds.masked_scatter(audio[..., None], features.flatten(0, 1).to(embeds.dtype))

    with replaced(eyes, "forward", see), replaced(ears, "forward", hear):
        yield


@contextmanager
def _omni_inputs(model: Upstream) -> Iterator[None]:
    """Qwen's Omni models cut sounds into chunks, and count positions of tokens, in lists that a trace bakes.

    Sounds of whole windows are cut by reshaping. Sounds count up as words do, so that positions are those of the
    other Qwen models that see.
    """
    module, whole = module_of(model), seeing(model)

    def chunks(sounds: Tensor, _frames: Tensor, half: int, **_: Any) -> tuple[Tensor, Tensor]:
        cut = sounds.transpose(0, 1).reshape(-1, 2 * half, sounds.shape[0])
        return cut.transpose(1, 2), torch.full_like(cut[:, 0, 0], 2 * half).long()

    def windows(lengths: Tensor, _frames: Tensor, infer: int, half: int, **_: Any) -> Tensor:
        ends = module._get_feat_extract_output_lengths(lengths, half).cumsum(0)
        together = infer // (2 * half)
        return nn.functional.pad(ends[together - 1 :: together], (1, 0)).int()

    def get_rope_index(
        self: Upstream,
        input_ids: Tensor,
        image_grid_thw: Tensor,
        _videos: None,
        attention_mask: Tensor,
        *_: Any,
    ) -> tuple[Tensor, Tensor]:
        kinds = (input_ids == self.config.image_token_id).long()
        return grids.token_positions(self, input_ids, kinds, image_grid_thw, attention_mask=attention_mask)

    with (
        replaced(module, "chunk_and_pad_features", chunks),
        replaced(module, "get_audio_cu_seqlens", windows)
        if hasattr(whole.audio_tower, "n_window_infer")
        else nullcontext(),
        replaced(type(whole), "get_rope_index", get_rope_index),
    ):
        yield


def _video_beside_audio(model: Upstream) -> AbstractContextManager[None]:
    """PE audio-video stretches each row's frames to its sound, row by row in Python, which bakes rows and lengths.

    `PeAudioVideoEncoderEmbedder._align_video_hidden_state` by one gathering: `interpolate` to the nearest takes the
    frame below `place * frames / places`, computed in float32.
    """
    embedder = next(m for m in model.modules() if hasattr(m, "concat_modality_proj"))

    def align(
        video_hidden_state: Tensor,
        audio_hidden_state: Tensor,
        padding_mask_videos: Tensor,
        padding_mask: Tensor,
    ) -> Tensor:
        frames, places = padding_mask_videos.sum(-1), padding_mask.sum(-1)
        place = torch.arange(audio_hidden_state.shape[1])
        scale = frames.float() / places
        frame = (place * scale[:, None]).long().clamp(max=frames[:, None] - 1)
        index = frame[..., None].expand(-1, -1, video_hidden_state.shape[-1])
        return video_hidden_state.gather(1, index) * (place < places[:, None])[..., None].to(
            video_hidden_state.dtype
        )

    return replaced(embedder, "_align_video_hidden_state", align)


ADAPTERS: dict[str, list[Adapter]] = {
    "pe_audio_video": [_video_beside_audio],
    "pe_audio_video_encoder": [_video_beside_audio],
    "phi4_multimodal": [_pictures_and_sounds_in_one],
    "qwen2_5_omni_thinker": [grids_as_tensors, _omni_inputs],
    "qwen3_omni_moe_thinker": [grids_as_tensors, _omni_inputs],
}
