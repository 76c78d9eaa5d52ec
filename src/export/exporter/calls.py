"""How a model is called where its `forward` alone is not what it is used for.

In: a model and named inputs. Out: named outputs. Each call says what it adds to `forward` and where upstream does
the same; the eager references and the trace both go through it, and the class itself stays untouched. An entry's
inputs and outputs are those of its call.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .adapters.common import replaced

Call = Callable[..., Any]


def forward_of(model: nn.Module) -> Call:
    """The model itself, or the call that its class needs; without the model as an argument in both cases."""
    call = CALLS.get(type(model).__name__)
    return model if call is None else lambda **inputs: call(model, **inputs)


def parameters_of(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    """What `forward_of` takes by name."""
    call = CALLS.get(type(model).__name__, model.forward)
    return inspect.signature(call).parameters


def completed(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs, and those that follow from them."""
    derive = DERIVED.get(type(model).__name__)
    return inputs if derive is None else inputs | derive(inputs)


def _whole_sounds(inputs: dict[str, Tensor], mask_name: str = "input_features_mask") -> dict[str, Tensor]:
    """A mask of spectrograms `[batch, mels, frames]` says how many placeholders a sound takes; here all frames count."""
    sounds = inputs["input_features"]
    mask = torch.ones(sounds.shape[0], sounds.shape[2], dtype=torch.int64, device=sounds.device)
    return {mask_name: mask}


def _whole_frames(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same for spectrograms `[batch, frames, mels]`."""
    sounds = inputs["input_features"]
    mask = torch.ones(sounds.shape[:2], dtype=torch.int64, device=sounds.device)
    return {"input_features_mask": mask}


def _every_codebook(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor, **switches: Any
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


def _prenet_dropout_given(model: nn.Module, prenet_dropout: Tensor, **inputs: Any) -> Mapping[str, Tensor]:
    """SpeechT5 drops half of what its speech prenet computes, also when it is evaluated.

    Instead of being drawn by `_consistent_dropout`, the masks of the prenet's layers are an input.
    """
    prenet = model.speecht5.decoder.prenet
    masks = iter(prenet_dropout.unbind(0))

    def dropout(embeds: Tensor, p: float) -> Tensor:
        return torch.where(next(masks) == 1, embeds, 0) * 1 / (1 - p)

    prenet._consistent_dropout = dropout
    try:
        return model(**inputs)
    finally:
        del prenet._consistent_dropout


def _speecht5_text(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor,
    decoder_input_values: Tensor,
    speaker_embeddings: Tensor,
    prenet_dropout: Tensor,
    **switches: Any,
) -> Mapping[str, Tensor]:
    """Text to speech, see `_prenet_dropout_given`."""
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
    model: nn.Module,
    input_values: Tensor,
    decoder_input_values: Tensor,
    speaker_embeddings: Tensor,
    prenet_dropout: Tensor,
    **switches: Any,
) -> Mapping[str, Tensor]:
    """Speech to speech, see `_prenet_dropout_given`."""
    return _prenet_dropout_given(
        model,
        prenet_dropout,
        input_values=input_values,
        decoder_input_values=decoder_input_values,
        speaker_embeddings=speaker_embeddings,
        **switches,
    )


def _moshi_with_depth(
    model: nn.Module,
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
    model: nn.Module,
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


def _image_before_text(
    model: nn.Module,
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


def _jukebox_windows(
    model: nn.Module,
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
        if prior.is_encoder_decoder:
            tokens, conditioning = prior.prior_preprocess([words, tokens], [None, conditioning])
        states = None if prior.is_encoder_decoder else prior.get_encoder_states(words)
        _, scores = prior.prior(tokens, conditioning, start, states, get_preds=True)
        outputs[f"logits_{level}"] = scores
    played, _ = model.vqvae(raw_audio)
    return outputs | {f"audio_{level}": audio for level, audio in enumerate(played)}


def _without_noise(model: nn.Module, input_values: Tensor, **_: Any) -> Mapping[str, Tensor]:
    """VibeVoice's tokenizer adds noise to its latents, unless it is told not to, as VibeVoice ASR tells it."""
    return model(input_values=input_values, sample=False)


def _vibevoice_step(
    model: nn.Module,
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


def _canvas_beside_picture(
    model: nn.Module,
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


def _image_tokens(model: nn.Module, hidden_states: Tensor, **switches: Any) -> Mapping[str, Tensor]:
    """GLM-Image's VQ model has no `forward`; `GlmImageModel.get_image_tokens` has it encode what the vision model saw.

    Its tokens are those of all images in one row; here each has its own.
    """
    encoded = model.encode(hidden_states)
    tokens = encoded.image_tokens.unflatten(0, (hidden_states.shape[0], -1))
    return {
        "quantized_last_hidden_state": encoded.quantized_last_hidden_state,
        "image_tokens": tokens,
    }


def _behind_the_prompt(
    model: nn.Module,
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


def _scores_as_logits(
    model: nn.Module,
    input_ids: Tensor,
    mems: tuple[Tensor, ...] | None = None,
    **switches: Any,
) -> dict[str, Tensor]:
    """Transformer-XL calls the logarithms of its probabilities prediction scores.

    `TransfoXLLMHeadModelOutput.logits` is another name for them, and the one that `generate` reads.
    """
    return {"logits": model(input_ids=input_ids, mems=mems, **switches).logits}


def _distribution(
    model: nn.Module,
    past_values: Tensor,
    past_time_features: Tensor,
    past_observed_mask: Tensor,
    static_categorical_features: Tensor,
    future_values: Tensor,
    future_time_features: Tensor,
    **switches: Any,
) -> dict[str, Tensor]:
    """Forecasters return the parameters of a Student's t distribution as a tuple, which gets names here."""
    result = model(
        past_values=past_values,
        past_time_features=past_time_features,
        past_observed_mask=past_observed_mask,
        static_categorical_features=static_categorical_features,
        future_values=future_values,
        future_time_features=future_time_features,
        **switches,
    )
    freedom, location, scale = result.params
    return {
        "freedom": freedom,
        "location": location,
        "scale": scale,
        "loss": result.loss,
    }


def _informer(model: nn.Module, *args: Any, **inputs: Any) -> dict[str, Tensor]:
    """Informer's sparse attention samples keys with `torch.randint`; here the same ones at every call."""
    with _same_draws():
        return _distribution(model, *args, **inputs)


_informer.__signature__ = inspect.signature(_distribution)  # type: ignore[attr-defined]


def _same_draws() -> AbstractContextManager[None]:
    """Lets `torch.randint` draw, from a seed of its own, what a trace keeps as a constant."""
    draw, generator = torch.randint, torch.Generator().manual_seed(0)

    def randint(low: int, high: int, size: tuple[int, ...]) -> Tensor:
        drawn = draw(int(low), int(high), tuple(map(int, size)), generator=generator)
        return torch.tensor(drawn.tolist())

    return replaced(torch, "randint", randint)


_omni_sounds = partial(_whole_sounds, mask_name="feature_attention_mask")

CALLS: dict[str, Call] = {
    "AutoformerForPrediction": _distribution,
    "BEiT3": _image_before_text,
    "BarkFineModel": _every_codebook,
    "CsmForConditionalGeneration": _csm_with_depth,
    "DiffusionGemmaForBlockDiffusion": _canvas_beside_picture,
    "GlmImageVQVAE": _image_tokens,
    "InformerForPrediction": _informer,
    "JukeboxModel": _jukebox_windows,
    "MoshiForConditionalGeneration": _moshi_with_depth,
    "MusicgenMelodyForConditionalGeneration": _behind_the_prompt,
    "SpeechT5ForSpeechToSpeech": _speecht5_speech,
    "SpeechT5ForTextToSpeech": _speecht5_text,
    "TransfoXLLMHeadModel": _scores_as_logits,
    "VibeVoiceAcousticTokenizerModel": _without_noise,
    "VibeVoiceForConditionalGeneration": _vibevoice_step,
    "TimeSeriesTransformerForPrediction": _distribution,
}
DERIVED: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "FunAsrNanoForConditionalGeneration": _whole_frames,
    "GlmAsrForConditionalGeneration": _whole_sounds,
    "Qwen2_5OmniThinkerForConditionalGeneration": _omni_sounds,
    "Qwen3ASREncoder": _whole_sounds,
    "Qwen3ASRForConditionalGeneration": _whole_sounds,
    "Qwen3OmniMoeThinkerForConditionalGeneration": _omni_sounds,
}
