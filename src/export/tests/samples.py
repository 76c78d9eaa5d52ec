"""Small jobs, drafts and models that tests share."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import BertConfig

from exporter.draft import Draft
from exporter.find import Found
from exporter.job import Job, Json

# A BERT of a few kilobytes.
BERT: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
}
TOKENS: Json = {
    "name": "input_ids",
    "dtype": "int64",
    "shape": ["batch", "sequence"],
    "fill": {"kind": "tokens"},
}
MASK: Json = {
    "name": "attention_mask",
    "dtype": "int64",
    "shape": ["batch", "sequence"],
    "fill": {"kind": "mask"},
}
LOGITS: Json = {
    "name": "logits",
    "dtype": "float32",
    "shape": ["batch", "sequence", "vocabulary"],
    "range": "any",
}

# A row of three numbers, in and out.
VALUES: Json = {"name": "values", "dtype": "float32", "shape": ["batch", 3], "fill": {"kind": "normal"}}
ROW: Json = {**LOGITS, "shape": ["batch", 3]}


def config(**values: Any) -> BertConfig:
    """BERT's config with few tokens, and whatever else it is told to keep."""
    small: dict[str, Any] = {"vocab_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return BertConfig(**small | values)


CONFIG = config()
# What makes a BERT small.
SMALL: Json = {
    "vocab_size": 32,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}


def inputs() -> dict[str, Tensor]:
    """Tokens and their mask: the second row ends in padding."""
    tokens, mask = torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    return {"input_ids": tokens, "attention_mask": mask}


def data(**changes: Any) -> Json:
    """A job of BERT's kind, as it is told."""
    return {
        "model": "bert",
        "family": "encoder-only",
        "task": "fill-mask",
        "class": "BertForMaskedLM",
        "source": {"package": "transformers", "version": transformers.__version__, "overlay": {}},
        "checkpoint": None,
        "weights": "random",
        "config": {},
        "seed": 0,
        "padding": "right",
        "attention": None,
        "dims": {"vocabulary": ["vocab_size"]},
        "cases": [
            {"name": "traced", "sizes": {"batch": 2, "sequence": 12}},
            {"name": "sequence", "sizes": {"batch": 2, "sequence": 19}},
        ],
        "inputs": [TOKENS, MASK],
        "placeholders": {},
        "outputs": [LOGITS],
        "generation": None,
        "rows": {"batch": 1},
        "pads": True,
        "causal": None,
        "rule": {"k": 2.0, "floor": 1e-6, "mark": 9e3},
        "new_tokens": 16,
        "decoded_tokens": 0,
        "half": [],
        "fault": None,
        "key": "",
        "code": {"": ""},
        "directory": "",
    } | changes


def job(**changes: Any) -> Job:
    """The same, read."""
    return Job.from_json(data(**changes))


def draft(task: str = "fill-mask", **changes: Any) -> Draft:
    """A draft of BERT's kind over a family that says no more than it must."""
    base: Json = {
        "task": "fill-mask",
        "config": {"hidden_size": 32},
        "inputs": None,
        "outputs": None,
        "axes": {"batch": {"dynamic": [2, 3]}, "sequence": {"dynamic": [12, 19]}},
        "padding": "right",
        "dims": {},
        "placeholders": {},
    }
    contract: Json = {"inputs": [TOKENS, MASK], "outputs": [LOGITS], "generation": None, "causal": None}
    found = Found("bert", task, "BertForMaskedLM", "google-bert/bert-base-uncased", ("model type bert",))
    return Draft(
        found,
        "encoder-only",
        base | changes.pop("base", {}),
        contract | changes.pop("contract", {}),
        **changes,
    )


class Reader(nn.Module):
    """Reads words."""

    main_input_name = "input_ids"
    config = CONFIG

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return input_ids


class Viewer(nn.Module):
    """Looks at pictures of two channels."""

    main_input_name = "pixel_values"
    config = CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return pixel_values


class Doubled(nn.Module):
    """A linear layer, times how many rows it is given."""

    config = CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, values: Tensor) -> Tensor:
        return self.inner(values) * values.shape[0]
