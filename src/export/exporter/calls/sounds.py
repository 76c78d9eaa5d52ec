"""How models of sound are called, and those that write it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..adapters.patches import Upstream, replaced
from .kinds import Call, Derive

# The input that all of `DERIVED` follow from.
HEARD = "input_features"


def _whole_sounds(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """A mask of spectrograms `[batch, mels, frames]` says how many placeholders a sound takes; here it is full."""
    sounds = inputs[HEARD]
    mask = torch.ones(sounds.shape[0], sounds.shape[2], dtype=torch.int64, device=sounds.device)
    return {"input_features_mask": mask}


def _whole_sounds_of_omni(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """A mask of spectrograms says how many placeholders a sound takes, under a name of its own; here it is full."""
    return {"feature_attention_mask": _whole_sounds(inputs)["input_features_mask"]}


def _whole_frames(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """A mask of spectrograms `[batch, frames, mels]` says how many placeholders a sound takes; here it is full."""
    sounds = inputs[HEARD]
    mask = torch.ones(sounds.shape[:2], dtype=torch.int64, device=sounds.device)
    return {"input_features_mask": mask}


def _every_codebook(
    model: Upstream, input_ids: Tensor, attention_mask: Tensor, **switches: Any
) -> dict[str, Tensor]:
    """Bark's fine model predicts one codebook a call, and has a head for each.

    As in `BarkFineModel.generate`, every codebook that is not given is predicted in turn.
    """
    given, total = model.config.n_codes_given, model.config.n_codes_total
    logits = [
        model(codebook_idx=codebook, input_ids=input_ids, attention_mask=attention_mask).logits
        for codebook in range(given, total)
    ]
    return {"logits": torch.stack(logits, dim=1)}


def _prenet_dropout_given(model: Upstream, prenet_dropout: Tensor, **inputs: Any) -> Mapping[str, Tensor]:
    """SpeechT5 drops half of what its speech prenet computes, also when it is evaluated.

    Instead of being drawn by `_consistent_dropout`, the masks of the prenet's layers are an input.
    """
    masks = iter(prenet_dropout.unbind(0))

    def dropout(embeds: Tensor, p: float) -> Tensor:
        return torch.where(next(masks) == 1, embeds, 0) * 1 / (1 - p)

    with replaced(model.speecht5.decoder.prenet, "_consistent_dropout", dropout):
        return model(**inputs)


def _speecht5_text(
    model: Upstream,
    input_ids: Tensor,
    attention_mask: Tensor,
    decoder_input_values: Tensor,
    speaker_embeddings: Tensor,
    prenet_dropout: Tensor,
    **switches: Any,
) -> Mapping[str, Tensor]:
    """SpeechT5's dropout is an input, see `_prenet_dropout_given`; so for text to speech."""
    return _prenet_dropout_given(
        model,
        prenet_dropout,
        input_ids=input_ids,
        attention_mask=attention_mask,
        decoder_input_values=decoder_input_values,
        speaker_embeddings=speaker_embeddings,
        **switches,
    )


def _speecht5_speech(
    model: Upstream,
    input_values: Tensor,
    decoder_input_values: Tensor,
    speaker_embeddings: Tensor,
    prenet_dropout: Tensor,
    **switches: Any,
) -> Mapping[str, Tensor]:
    """SpeechT5's dropout is an input, see `_prenet_dropout_given`; so for speech to speech."""
    return _prenet_dropout_given(
        model,
        prenet_dropout,
        input_values=input_values,
        decoder_input_values=decoder_input_values,
        speaker_embeddings=speaker_embeddings,
        **switches,
    )


def _moshi_with_depth(
    model: Upstream,
    input_ids: Tensor,
    attention_mask: Tensor,
    user_audio_codes: Tensor,
    moshi_audio_codes: Tensor,
    depth_input_ids: Tensor,
    **switches: Any,
) -> dict[str, Tensor]:
    """Moshi's `forward` leaves the depth decoder out unless it is given labels.

    As in `MoshiForConditionalGeneration.generate`, it reads the last hidden state of each position, and the
    position's text token and codes.
    """
    decoded = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        user_audio_codes=user_audio_codes,
        moshi_audio_codes=moshi_audio_codes,
        **switches,
    )
    depth = model.depth_decoder(
        last_hidden_state=decoded.last_hidden_state.flatten(0, 1).unsqueeze(1),
        input_ids=depth_input_ids.flatten(0, 1),
        use_cache=False,
    )
    audio_logits = depth.logits.unflatten(0, input_ids.shape)
    return {"logits": decoded.logits, "audio_logits": audio_logits}


def _csm_with_depth(
    model: Upstream,
    input_ids: Tensor,
    attention_mask: Tensor,
    audio_codes: Tensor,
    depth_input_ids: Tensor,
    **switches: Any,
) -> dict[str, Tensor]:
    """CSM's `forward` takes text or codes, and leaves the depth decoder out unless it is given labels.

    As over the steps of `CsmForConditionalGeneration.generate`: codes go on where the text ends, and the depth
    decoder reads the last hidden state of each of their positions in place of a first code.
    """
    text, codes = (
        model.embed_text_tokens(input_ids),
        model.backbone_model.embed_tokens(audio_codes),
    )
    seen = torch.ones_like(audio_codes[:, :, 0])
    decoded = model(
        inputs_embeds=torch.cat([text, codes], dim=1),
        attention_mask=torch.cat([attention_mask, seen], dim=1),
        output_hidden_states=True,
        **switches,
    )
    frames = audio_codes.shape[1]
    depth = model.depth_decoder(
        input_ids=depth_input_ids.flatten(0, 1),
        backbone_last_hidden_state=decoded.hidden_states[-1][:, -frames:].flatten(0, 1),
        use_cache=False,
    )
    audio_logits = depth.logits.unflatten(0, depth_input_ids.shape[:2])
    return {"logits": decoded.logits[:, -frames:], "audio_logits": audio_logits}


def _jukebox_windows(
    model: Upstream,
    raw_audio: Tensor,
    times: Tensor,
    artist: Tensor,
    genre: Tensor,
    lyrics: Tensor,
    music_tokens: tuple[Tensor, ...],
    tokens_above: tuple[Tensor, ...],
    **switches: Any,
) -> dict[str, Tensor]:
    """Jukebox has no `forward`, only sampling in loops; its VQ-VAE and its priors are what the loops call.

    The VQ-VAE hears a sound and plays it on each of its levels. As in `JukeboxPrior.forward_tokens`, each prior scores
    a window of tokens: the top one behind the lyrics, the others with the tokens of the level above.
    """
    about = torch.cat([times, artist, genre], dim=1)
    outputs = {}
    for level, (prior, tokens) in enumerate(zip(model.priors, music_tokens, strict=True)):
        sung = [lyrics] if prior.nb_relevant_lyric_tokens else []
        conditioning, start, words = prior.get_cond(
            list(tokens_above[level - 1 : level]), torch.cat([about, *sung], dim=1)
        )
        read, states = tokens, None
        if prior.is_encoder_decoder:
            read, conditioning = prior.prior_preprocess([words, tokens], [None, conditioning])
        else:
            states = prior.get_encoder_states(words)
        _, scores = prior.prior(read, conditioning, start, states, get_preds=True)
        outputs[f"logits_{level}"] = scores
    played, _ = model.vqvae(raw_audio)
    return outputs | {f"audio_{level}": audio for level, audio in enumerate(played)}


def _without_noise(model: Upstream, input_values: Tensor, **_: Any) -> Mapping[str, Tensor]:
    """VibeVoice's tokenizer adds noise to its latents, unless it is told not to, as VibeVoice ASR tells it."""
    return model(input_values=input_values, sample=False)


def _vibevoice_step(
    model: Upstream,
    input_ids: Tensor,
    attention_mask: Tensor,
    input_values: Tensor,
    noisy_latents: Tensor,
    timesteps: Tensor,
    **switches: Any,
) -> dict[str, Tensor]:
    """VibeVoice's `forward` only writes text; sound comes from modules that `generate` calls.

    As in one step of it: the diffusion head reads the last hidden state, the tokenizer decodes the latents, and a
    second encoder listens to the sound. Of the diffusion's many steps it is one, and the mask of sounds is full.
    """
    inner = model.model
    decoded = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        input_values=input_values,
        padding_mask=torch.ones_like(input_values[:, 0], dtype=torch.int64),
        **switches,
    )
    latents = inner.diffusion_head(noisy_latents, timesteps, condition=decoded.last_hidden_state[:, -1])
    scaled = latents / inner.latent_scaling_factor - inner.latent_bias_factor
    audio = inner.audio_tower.decode(scaled.unsqueeze(1)).audio
    heard = inner.semantic_connector(inner.semantic_tokenizer_encoder(audio).latents)
    return {
        "logits": decoded.logits,
        "latents": latents,
        "audio": audio,
        "heard": heard,
    }


def _behind_the_prompt(
    model: Upstream,
    input_ids: Tensor,
    attention_mask: Tensor,
    input_features: Tensor,
    decoder_input_ids: Tensor,
    **switches: Any,
) -> dict[str, Tensor]:
    """MusicGen Melody puts melody and text before the codes, and returns logits for all of it.

    Those of the codes alone: `generate` reads no others.
    """
    result = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        input_features=input_features,
        decoder_input_ids=decoder_input_ids,
        **switches,
    )
    return {"logits": result.logits[:, -decoder_input_ids.shape[1] :]}


CALLS: dict[str, Call] = {
    "BarkFineModel": _every_codebook,
    "CsmForConditionalGeneration": _csm_with_depth,
    "JukeboxModel": _jukebox_windows,
    "MoshiForConditionalGeneration": _moshi_with_depth,
    "MusicgenMelodyForConditionalGeneration": _behind_the_prompt,
    "SpeechT5ForSpeechToSpeech": _speecht5_speech,
    "SpeechT5ForTextToSpeech": _speecht5_text,
    "VibeVoiceAcousticTokenizerModel": _without_noise,
    "VibeVoiceForConditionalGeneration": _vibevoice_step,
}
DERIVED: dict[str, Derive] = {
    "FunAsrNanoForConditionalGeneration": _whole_frames,
    "GlmAsrForConditionalGeneration": _whole_sounds,
    "Qwen2_5OmniThinkerForConditionalGeneration": _whole_sounds_of_omni,
    "Qwen3ASREncoder": _whole_sounds,
    "Qwen3ASRForConditionalGeneration": _whole_sounds,
    "Qwen3OmniMoeThinkerForConditionalGeneration": _whole_sounds_of_omni,
}
