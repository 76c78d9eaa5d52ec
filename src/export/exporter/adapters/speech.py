"""Patches for models of sound, of time series and of proteins."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from .patches import Adapter, Upstream, module_of, replaced, shadowed, whole_sizes


@contextmanager
def _windows_by_mask(model: Upstream) -> Iterator[None]:
    """Qwen3 ASR attends within windows by splitting a row of all sounds by a list of lengths: a trace bakes it.

    Every position gets the number of its window, in place of the windows' ends; a mask keeps windows apart.
    """
    module = module_of(model)

    def windows(chunks: Tensor, frames: Tensor, infer: int, half: int, **_: Any) -> Tensor:
        lengths = module._get_feat_extract_output_lengths(frames, half)
        window = module._get_feat_extract_output_lengths(chunks, half).max() * (infer // (half * 2))
        sound = torch.arange(lengths.shape[0], device=lengths.device).repeat_interleave(lengths)
        start = (lengths.cumsum(0) - lengths)[sound]
        position = torch.arange(sound.shape[0], device=lengths.device) - start
        return sound * lengths.max() + position // window

    def forward(self: Upstream, hidden_states: Tensor, cu_seqlens: Tensor, **_: Any) -> Tensor:
        length = hidden_states.shape[0]

        def heads(project: nn.Module) -> Tensor:
            return project(hidden_states).reshape(length, self.num_heads, -1).transpose(0, 1)

        scores = heads(self.q_proj) @ heads(self.k_proj).transpose(1, 2) * self.scaling
        apart = cu_seqlens[:, None] != cu_seqlens[None, :]
        weights = scores.masked_fill(apart, torch.finfo(scores.dtype).min).softmax(-1)
        return self.out_proj((weights @ heads(self.v_proj)).transpose(0, 1).reshape(length, -1))

    with (
        replaced(module, "get_audio_cu_seqlens", windows),
        replaced(module.Qwen3ASRAudioAttention, "forward", forward),
    ):
        yield


def _sewd_softmax(model: Upstream) -> AbstractContextManager[None]:
    """SEW-D's masked softmax is an autograd function in Python, which TorchScript cannot save.

    Its forward is a plain formula; what it keeps for the gradient is dropped.
    """
    module = module_of(model)
    forward = module.XSoftmax.forward
    context = SimpleNamespace(save_for_backward=lambda *_: None)
    return replaced(module, "XSoftmax", SimpleNamespace(apply=partial(forward, context)))


def _frames_by_index(model: Upstream) -> AbstractContextManager[None]:
    """FastSpeech 2's length regulator copies row by row in a Python loop, whose length a trace bakes.

    The frames of all rows at once: a frame belongs to the first token whose durations, summed, go beyond it.
    """

    def regulated(embeddings: Tensor, durations: Tensor, _speed: float = 1.0) -> Tensor:
        ends = durations.cumsum(1)
        longest: Any = ends[:, -1].max()
        frames = torch.arange(longest, device=ends.device)
        token = (frames[None, :, None] >= ends[:, None, :]).sum(-1)
        inside = (frames[None, :] < ends[:, -1:]).unsqueeze(-1)
        index = token.clamp(max=durations.shape[1] - 1).unsqueeze(-1)
        taken = embeddings.gather(1, index.expand(-1, -1, embeddings.shape[2]))
        return torch.where(inside, taken, 0.0)

    return replaced(module_of(model), "length_regulator", regulated)


@contextmanager
def _fusion_by_mask(model: Upstream) -> Iterator[None]:
    """CLAP fuses stretches of sound only into rows that are longer, and skips the fusion where no row is.

    A trace bakes that choice. All rows are computed both ways by the same code; a mask picks.
    """
    embed = model.audio_model.audio_encoder.patch_embed
    original = embed.forward

    def forward(sound: Tensor, longer: Tensor) -> Tensor:
        fused = original(sound, torch.arange(sound.shape[0], device=sound.device))
        with replaced(embed, "enable_fusion", False):
            plain = original(sound[:, :1])
        row = torch.zeros(sound.shape[0], device=sound.device).index_fill(0, longer, 1.0)
        return torch.where(row[:, None, None] == 1, fused, plain)

    with replaced(embed, "forward", forward):
        yield


def _lengths_by_floor(model: Upstream) -> AbstractContextManager[None]:
    """Moonshine counts the positions left of a sound by `int(length / stride)`: a trace makes a float of it."""

    def left(_model: Upstream, length: Any) -> Any:
        for kernel, stride in ((127, 64), (7, 3), (3, 2)):
            length = (length - kernel) // stride + 1
        return length

    owner = module_of(model).MoonshinePreTrainedModel
    return replaced(owner, "_get_feat_extract_output_lengths", left)


def _int_of_tensors(model: Upstream) -> AbstractContextManager[None]:
    """NeuCodec counts the samples it returns by `int(length * 1.5)`: a trace bakes what `int` returns."""
    return whole_sizes(module_of(model))


def _booleans_as_numbers(_model: Upstream) -> AbstractContextManager[None]:
    """ESMFold compares masks with `False`; TorchScript compares tensors with numbers only."""
    equal = Tensor.__eq__
    return replaced(
        Tensor,
        "__eq__",
        lambda tensor, other: equal(tensor, int(other)),
        lambda _tensor, other: isinstance(other, bool),
    )


def _rows_as_tensor(model: Upstream) -> AbstractContextManager[None]:
    """ESMFold writes each row's end token at `[range(rows), ends]`: a trace bakes the range, not an `arange`."""
    return shadowed(module_of(model), "range", torch.arange, lambda *bounds: isinstance(bounds[-1], Tensor))


def _no_mask_of_nothing(model: Upstream) -> AbstractContextManager[None]:
    """Eager makes no mask where nothing is padded; while tracing, transformers makes one that hides nothing.

    Informer's encoder halves its sequence between layers, Autoformer's does not add masks to plain scores: neither
    takes that mask.
    """
    module = module_of(model)

    def nothing(*_: Any, attention_mask: Tensor | None = None, **__: Any) -> bool:
        return attention_mask is None

    return replaced(module, "create_bidirectional_mask", lambda *_, **__: None, nothing)


@contextmanager
def _series_together(model: Upstream) -> Iterator[None]:
    """TimesFM takes series from a list, for each may have its own length; a trace bakes how many they are.

    A batch on its side is one series to `forward`, and `_preprocess`, which would stack the list, turns it back.
    """
    owner = type(model)
    own = owner.forward

    def forward(self: Upstream, past_values: Tensor, **given: Any) -> Any:
        return own(self, [past_values.transpose(0, 1)], **given)

    def preprocess(
        self: Upstream,
        inputs: list[Tensor],
        freq: Tensor | None = None,
        context_len: int | None = None,
    ) -> tuple[Tensor, ...]:
        rows = inputs[0].transpose(0, 1)
        missing = (context_len or self.context_len) - rows.shape[1]
        known = nn.functional.pad(torch.zeros_like(rows), (0, self.horizon_len))
        padded = (
            nn.functional.pad(rows, (missing, 0)),
            nn.functional.pad(known, (missing, 0), value=1.0),
        )
        return padded if freq is None else (*padded, freq.int()[:, None])

    with (
        replaced(owner, "forward", forward),
        replaced(owner, "_preprocess", preprocess),
    ):
        yield


def _no_text_config(model: Upstream) -> AbstractContextManager[None]:
    """The tracer reads all properties of a module; one asks for *the* text config, of which MusicGen has two."""
    return replaced(type(model), "supports_context_parallel", False)


ADAPTERS: dict[str, list[Adapter]] = {
    "autoformer": [_no_mask_of_nothing],
    "clap": [_fusion_by_mask],
    "esm": [_booleans_as_numbers, _rows_as_tensor],
    "fastspeech2_conformer": [_frames_by_index],
    "fastspeech2_conformer_with_hifigan": [_frames_by_index],
    "informer": [_no_mask_of_nothing],
    "moonshine": [_lengths_by_floor],
    "musicgen": [_no_text_config],
    "musicgen_melody": [_no_text_config],
    "neucodec": [_int_of_tensors],
    "qwen3_asr": [_windows_by_mask],
    "qwen3_asr_encoder": [_windows_by_mask],
    "sew-d": [_sewd_softmax],
    "timesfm": [_series_together],
    "timesfm2_5": [_series_together],
}
