"""Greedy decoding by the library, with the model's own cache where it has one that works.

In: a model and prompts. Out: the new tokens, the ids that a loop over the program needs to repeat them, and the cache.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.generation.utils import GenerationMixin

from .calls import completed, parameters_of
from .errors import ExportError, stage
from .foreign import config_of
from .inputs import fill, padding_id
from .job import Case, Generation, Job, Json
from .model import Config, token_id
from .program import Tensors, called, evaluate
from .tuples import layered

# The library's loop as a function; the protocol of its `self` is one that the class itself does not meet.
LIBRARY: Callable[..., Any] = cast("Any", GenerationMixin).generate
ROWS = 2
# A token that first appears this late can be made the end of the text without making the test short.
LATE = 11
# Types whose cache does not repeat what the model computes without one, and why; they are decoded without it.
UNCACHED = {
    "blt": "BltModel builds its cache from a `num_hidden_layers` that BltConfig has not",
    "cpmant": "CpmAntModel lets earlier tokens see later ones, and a cache does not",
    "evolla": "EvollaModel gives the layers that look at a protein the mask of the whole row, beside the tokens of a "
    "step",
    "git": "GitModel.forward adds the cache's length to positions that the library already counts past it",
    "open-llama": "OpenLlamaModel asks the tuple that it hands out as its cache how long it is",
    "rwkv": "RwkvSelfAttention adds a cached [batch, hidden] to a row of [batch, 1, hidden], and mixes the rows",
    "xlm-prophetnet": "XLMProphetNetPositionalEmbeddings asks the tuple that the model hands out as its cache how "
    "long it is",
}
# The same of rotary embeddings whose frequencies depend on the length.
CACHED_ROTATIONS = (
    "rotary embeddings with dynamic scaling turn all keys anew as a row grows; those in a cache keep the turn of a "
    "shorter row"
)


@dataclass(frozen=True)
class Written:
    """What the library wrote after the prompts, and the cache that it was left with, if there is one."""

    prompts: Tensors
    tokens: Tensor
    cache: Any


def generate(model: nn.Module, job: Job, dims: dict[str, int]) -> tuple[Tensors, Json, Written]:
    """The tensors of the case `generate`, what the manifest says about it, and all that was written in one go."""
    names, config = job.generation, config_of(model)
    if names is None:
        raise ExportError(f"generate: task {job.task} generates nothing")
    decoder_only = names.grows != "decoder_input_ids"
    # A decoder goes on where the row ends, so its padding must stand before the prompt.
    padding = "left" if decoder_only and job.padding != "none" else job.padding
    prompts = fill(job, config, dims, _case(job), padding)
    if not decoder_only:
        del prompts[names.grows]
    facts: Json = {
        "eos": None,
        "pad": padding_id(config),
        "start": None if decoder_only else _start(config),
        "new_tokens": job.new_tokens,
    }
    with stage("generate"):
        written = _greedy(model, job, names, prompts, facts, max(job.new_tokens, job.decoded_tokens))
        tokens = written.tokens[:, : job.new_tokens]
        facts["eos"] = late_token(tokens)
        if facts["eos"] is not None:
            tokens = _greedy(model, job, names, prompts, facts, job.new_tokens).tokens
    held = {token_id(config, name) for name in job.placeholders}
    if held & set(tokens.flatten().tolist()):
        raise ExportError("generate: a new token is a placeholder; give the entry another seed")
    return (
        {
            **{f"input/{name}": value for name, value in prompts.items()},
            "tokens": tokens,
        },
        facts,
        written,
    )


def _case(job: Job) -> Case:
    """The traced sizes with two rows; whatever else counts rows (images, texts) keeps its ratio."""
    sizes = job.traced.sizes
    leading = {symbol for symbol in sizes if any(entry.shape[0] == symbol for entry in job.inputs)}
    scaled = {symbol: sizes[symbol] * ROWS // sizes["batch"] for symbol in leading}
    return Case("generate", {**sizes, **scaled})


def _start(config: Config) -> int:
    for owner in (config, getattr(config, "text_config", None)):
        for name in ("decoder_start_token_id", "bos_token_id"):
            value = getattr(owner, name, None)
            if value is not None:
                return value
    raise ExportError(f"generate: {type(config).__name__} has no decoder_start_token_id")


def _greedy(
    model: nn.Module, job: Job, names: Generation, prompts: Tensors, facts: Json, most: int
) -> Written:
    """As many new tokens of the library's own greedy loop, past any `generate` that the class overrides."""
    if not isinstance(model, GenerationMixin):
        return _without_library(model, job, names, prompts, facts, most)
    model_type = config_of(model).model_type
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=most,
        use_cache=uncached(model) is None,
        return_dict_in_generate=model_type not in LOOPS,
        eos_token_id=facts["eos"],
        pad_token_id=facts["pad"],
        decoder_start_token_id=facts["start"],
    )
    model.generation_config = config
    given = {name: value for name, value in prompts.items() if name != names.positions}
    loop = LOOPS.get(model_type, LIBRARY)
    with torch.no_grad():
        given = completed(model, given)
        made = loop(model, **given, generation_config=config)
    prompt = prompts.get(names.grows)
    tokens = made if isinstance(made, Tensor) else made.sequences
    # Older releases call the cache `past_key_values`.
    cache = layered(getattr(made, "cache", getattr(made, "past_key_values", None)))
    if prompt is None:
        prompt = tokens[:, :1]
    return Written({**prompts, names.grows: prompt}, tokens[:, prompt.shape[1] :], cache)


def uncached(model: nn.Module) -> str | None:
    """Why a model is decoded without its cache; None where the cache does."""
    if any(getattr(module, "rope_type", None) == "dynamic" for module in model.modules()):
        return CACHED_ROTATIONS
    return UNCACHED.get(config_of(model).model_type)


def _without_library(
    model: nn.Module, job: Job, names: Generation, prompts: Tensors, facts: Json, most: int
) -> Written:
    """New tokens of classes that transformers 4 no longer lets generate: each step reads the whole row again."""
    if names.grows not in prompts:
        prompts = {names.grows: torch.full((ROWS, 1), facts["start"]), **prompts}
    inputs = dict(prompts)
    grown: list[Tensor] = []
    ended = torch.zeros(ROWS, dtype=torch.bool)
    following: Tensors = {}
    while len(grown) < most and not ended.all():
        outputs, _ = evaluate(model, job, inputs, [])
        best = outputs[names.logits][:, -1].argmax(dim=-1)
        grown.append(torch.where(ended, facts["pad"], best))
        ended |= grown[-1] == (-1 if facts["eos"] is None else facts["eos"])
        following = {names.grows: grown[-1][:, None]}
        if names.mask:
            following[names.mask] = torch.ones(ROWS, 1, dtype=torch.int64)
        if names.positions:
            following[names.positions] = inputs[names.positions][:, -1:] + 1
        for name, values in following.items():
            inputs[name] = torch.cat([inputs[name], values], dim=1)
    return Written(prompts, torch.stack(grown, dim=1), _cache_of(model, inputs, [*following]))


def _cache_of(model: nn.Module, row: Tensors, grown: list[str]) -> Any:
    """What a class that hands out its cache has left when it has read all of a row but its last token."""
    if uncached(model) or "past_key_values" not in parameters_of(model):
        return None
    read = {name: value[:, :-1] if name in grown else value for name, value in row.items()}
    with torch.no_grad():
        return layered(called(model, read, use_cache=True).past_key_values)


def _own(model: Any, **given: Any) -> Any:
    """The class's `generate`, which is the library's loop over its inner language model."""
    return model.generate(**given)


def _rag(model: Any, generation_config: GenerationConfig, **given: Any) -> Any:
    """RAG's own loop, which starts from documents; it does not translate `max_new_tokens`, and counts the start."""
    generation_config.max_length = generation_config.max_new_tokens + 1
    return model.generate(generation_config=generation_config, **given)


def _blip(model: Any, pixel_values: Tensor, **given: Any) -> Any:
    """BLIP's `generate` without its first act, which is to change the prompt's first and last token.

    Places are counted from the start of the row, as the class's forward counts them.
    """
    images = model.vision_model(pixel_values=pixel_values).last_hidden_state
    tokens = given["input_ids"]
    return LIBRARY(
        model.text_decoder,
        encoder_hidden_states=images,
        position_ids=torch.arange(tokens.shape[1]).expand_as(tokens),
        **given,
    )


# Model types whose classes are not made for the library's loop: what inside them is.
LOOPS: dict[str, Callable[..., Any]] = {
    "blip": _blip,
    "blip-2": _own,
    "instructblip": _own,
    "instructblipvideo": _own,
    "kosmos-2": _own,
    "rag": _rag,
}


def late_token(tokens: Tensor) -> int | None:
    """A token that appears in some row for the first time late, and in no row before."""
    rows = tokens.tolist()
    for step in range(LATE, tokens.shape[1]):
        seen = {token for row in rows for token in row[:step]}
        fresh = [row[step] for row in rows if row[step] not in seen]
        if fresh:
            return fresh[0]
    return None
