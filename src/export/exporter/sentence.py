"""Embeddings of texts, as sentence-transformers makes them of a model's last hidden states.

In: a folder with a `modules.json`. Out: which pooling its embeddings have and whether they have length 1; and the call
that makes this a part of the program.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .calls import CALLS
from .job import Json
from .stored import Unusable, described

OUTPUT = "sentence_embedding"
MODULES = "modules.json"
# What the pooling module's config calls them: one of them is true.
FLAG = "pooling_mode_"
POOLINGS = {"mean_tokens": "mean", "cls_token": "cls", "max_tokens": "max"}
# Below this many tokens, which is none, a mean is of one: sentence-transformers' own number.
LEAST = 1e-9


def embedding_of(folder: Path) -> tuple[Path, Json | None]:
    """Where the transformer of a sentence-transformers folder is, and what becomes of its hidden states.

    A folder of another kind is its own, and has no embedding.
    """
    modules: Any = described(folder, MODULES)
    if modules is None:
        return folder, None
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise Unusable(
            f"{MODULES} is made of {', '.join(kinds)}; known are Transformer, Pooling and Normalize in this order",
            f"take {MODULES} out of the folder to certify the transformer alone",
        )
    inner = folder / modules[0]["path"]
    config = described(folder / modules[1]["path"], "config.json") or {}
    limits = (
        described(inner, "sentence_bert_config.json") or described(folder, "sentence_bert_config.json") or {}
    )
    return inner, {
        "pooling": _pooling(config),
        "normalised": "Normalize" in kinds,
        "max_length": limits.get("max_seq_length"),
    }


def _pooling(config: Json) -> str:
    """The one pooling that the config names: by flags, or in a word, as newer releases do."""
    flags = [
        name.removeprefix(FLAG) for name, value in config.items() if name.startswith(FLAG) and value is True
    ]
    word = config.get("pooling_mode")
    modes = [word] if isinstance(word, str) else [POOLINGS.get(flag, flag) for flag in flags]
    if len(modes) != 1 or modes[0] not in POOLINGS.values():
        raise Unusable(
            f"pooling by {' and '.join(modes) or 'nothing'}; known is one of {', '.join(POOLINGS.values())}",
            f"take {MODULES} out of the folder to certify the transformer alone, and pool in your own code",
        )
    return modes[0]


def pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector for each row of `[batch, sequence, hidden]`, made of its real positions."""
    if pooling == "cls":
        return hidden[:, 0]
    real = mask.unsqueeze(-1).to(hidden.dtype)
    if pooling == "max":
        return hidden.masked_fill(real == 0, -1e9).max(dim=1).values
    return (hidden * real).sum(1) / real.sum(1).clamp(min=LEAST)


def install(class_name: str, model_class: type[nn.Module], embedding: Json) -> None:
    """Makes pooling a part of how the class is called, in this process."""
    pooling, is_normalised = embedding["pooling"], embedding["normalised"]

    def embed(model: Any, attention_mask: Tensor, **inputs: Any) -> Mapping[str, Tensor]:
        hidden = model(attention_mask=attention_mask, **inputs).last_hidden_state
        vector = pooled(hidden, attention_mask, pooling)
        return {OUTPUT: nn.functional.normalize(vector, p=2.0, dim=1) if is_normalised else vector}

    forward = inspect.signature(model_class.forward)
    named: Any = embed
    named.__signature__ = forward
    embed.__doc__ = (
        f"Embeddings of texts: the hidden states' {pooling} over real positions"
        f"{', at length 1' if is_normalised else ''}.\n\n    As sentence-transformers' modules do."
    )
    CALLS[class_name] = embed
