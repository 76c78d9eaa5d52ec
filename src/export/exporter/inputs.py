"""Input values of a case.

In: a job, its config and sizes. Out: one tensor per input, by name. The values depend on the seed, the case
and the input's name alone, so that adding an input changes no other.
"""

import hashlib
import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from .errors import ExportError
from .job import Case, Input, Job
from .model import Config, token_id

SPECIAL = re.compile(r"_token_(id|ids|index)$")


def fill(job: Job, config: Config, dims: dict[str, int], case: Case, padding: str) -> dict[str, Tensor]:
    """The inputs of a case, with rows padded on that side (left, right or none)."""
    return _Filler(job, config, dims, case, padding).fill()


def padding_id(config: Config) -> int:
    """The id that fills padded positions: the config's, or 0 where it names none."""
    for owner in (config, getattr(config, "text_config", None)):
        value = getattr(owner, "pad_token_id", None)
        if isinstance(value, int) and value >= 0:
            return value
    return 0


class _Filler:
    def __init__(self, job: Job, config: Config, dims: dict[str, int], case: Case, padding: str) -> None:
        self.job, self.config, self.case, self.padding = job, config, case, padding
        self.sizes = {**dims, **case.sizes}
        self.dims = dims
        self.copies = [(token_id(config, name), count) for name, count in job.placeholders.items()]
        self.masks = {entry.shape: self._mask(entry) for entry in job.of_kind("mask")}

    def fill(self) -> dict[str, Tensor]:
        return {entry.name: self._values(entry).to(getattr(torch, entry.dtype)) for entry in self.job.inputs}

    def _values(self, entry: Input) -> Tensor:
        shape, generator = self._shape(entry), self._generator(entry)
        match entry.kind:
            case "tokens" | "text":
                return self._tokens(entry)
            case "mask":
                return self.masks[entry.shape]
            case "positions":
                return (self._mask_of(entry).cumsum(-1) - 1).clamp(min=0)
            case "normal":
                return torch.randn(shape, generator=generator)
            case "uniform":
                return torch.rand(shape, generator=generator)
            case "boxes":
                corners = torch.randint(0, 1001, shape, generator=generator).unflatten(-1, (2, 2))
                return corners.sort(dim=-2).values.flatten(-2)
            case "integers":
                return torch.randint(entry.fill["low"], entry.fill["high"], shape, generator=generator)
            case "ones":
                return torch.ones(shape)
            case "mm_token_type_ids":
                return self._kinds(entry)
            case "values":
                return torch.tensor(entry.fill["values"]).expand(shape).clone()
            case "grid":
                return self._grid(entry, shape)
        raise ExportError(f"input {entry.name!r} has an unknown fill {entry.kind!r}")

    def _shape(self, entry: Input) -> list[int]:
        unknown = [d for d in entry.shape if isinstance(d, str) and d not in self.sizes]
        if unknown:
            raise ExportError(
                f"no size for {unknown[0]!r} of input {entry.name!r}; add it under `axes` or `dims`"
            )
        return [self.sizes[d] if isinstance(d, str) else d for d in entry.shape]

    def _generator(self, entry: Input) -> torch.Generator:
        digest = hashlib.sha256(f"{self.job.seed}/{self.case.name}/{entry.name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def _holds_placeholders(self, entry: Input) -> bool:
        """Placeholders stand in `input_ids`, or in the first token input where there are none."""
        names = [tokens.name for tokens in self.job.token_inputs]
        return entry.name == ("input_ids" if "input_ids" in names else names[0])

    def _mask(self, entry: Input) -> Tensor:
        """Row 0 is unpadded, every further row has more zeros, never as many as to cut a placeholder."""
        *rows, length = self._shape(entry)
        mask = torch.ones(math.prod(rows), length, dtype=torch.int64)
        beside = [tokens for tokens in self.job.token_inputs if tokens.shape == entry.shape]
        held = sum(count for _, count in self.copies) if any(map(self._holds_placeholders, beside)) else 0
        # A text keeps its end token too.
        held += any(tokens.kind == "text" for tokens in beside)
        for row in range(1, len(mask)):
            zeros = min(max(row * length // 6, 1), length // 2, length - 1 - held)
            if zeros <= 0 or self.padding == "none":
                continue
            mask[
                row,
                slice(zeros) if self.padding == "left" else slice(length - zeros, None),
            ] = 0
        return mask.reshape(*rows, length)

    def _mask_of(self, entry: Input) -> Tensor:
        mask = self.masks.get(entry.shape)
        return torch.ones(self._shape(entry), dtype=torch.int64) if mask is None else mask

    def _tokens(self, entry: Input) -> Tensor:
        mask = self._mask_of(entry)
        plain = torch.tensor(ordinary_tokens(self.config, self.dims))
        chosen = torch.randint(0, len(plain), mask.shape, generator=self._generator(entry))
        tokens = torch.where(mask == 1, plain[chosen], padding_id(self.config))
        if entry.kind == "text":
            self._write(tokens, mask, entry)
        if self._holds_placeholders(entry):
            self._place(tokens, mask)
        return tokens

    def _write(self, tokens: Tensor, mask: Tensor, entry: Input) -> None:
        """Puts the begin token, where there is one, first in each row's real tokens, and the end token last."""
        begin, end = (_special(self.config, name) for name in ("bos_token_id", "eos_token_id"))
        if end is None:
            raise ExportError(
                f"{type(self.config).__name__} has no eos_token_id, with which the texts of {entry.name!r} end"
            )
        for row, real in zip(tokens.flatten(0, -2), mask.flatten(0, -2), strict=True):
            places = real.nonzero().flatten()
            if begin is not None:
                row[places[0]] = begin
            row[places[-1]] = end

    def _kinds(self, entry: Input) -> Tensor:
        """Which placeholder stands where, counted from 1; 0 for words."""
        tokens = next(
            (
                tokens
                for tokens in self.job.token_inputs
                if self._holds_placeholders(tokens) and tokens.shape == entry.shape
            ),
            None,
        )
        if tokens is None:
            raise ExportError(f"no tokens with placeholders have the shape of {entry.name!r}")
        held = self._tokens(tokens)
        kinds = torch.zeros_like(held)
        for kind, (token, _) in enumerate(self.copies, 1):
            kinds[held == token] = kind
        return kinds

    def _grid(self, entry: Input, shape: list[int]) -> Tensor:
        """Column and row of every place, row by row; -1 for places after the last."""
        columns, rows = entry.fill["columns"], entry.fill["rows"]
        missing = shape[-2] - columns * rows
        if missing < 0:
            raise ExportError(f"input {entry.name!r} has {shape[-2]} places, its grid {columns * rows}")
        place = torch.arange(columns * rows)
        places = torch.stack([place % columns, place // columns], -1)
        return nn.functional.pad(places, (0, 0, 0, missing), value=-1).expand(shape)

    def _place(self, tokens: Tensor, mask: Tensor) -> None:
        """Writes the placeholders right after each row's first real token."""
        held = torch.tensor(
            [token for token, count in self.copies for _ in range(count)],
            dtype=torch.int64,
        )
        if 1 + len(held) > tokens.shape[-1]:
            raise ExportError(f"{len(held)} placeholders do not fit a row of {tokens.shape[-1]} tokens")
        for row, real in zip(tokens.flatten(0, -2), mask.flatten(0, -2), strict=True):
            start = int(real.argmax()) + 1
            row[start : start + len(held)] = held


def ordinary_tokens(config: Config, dims: dict[str, int]) -> list[int]:
    """Ids of the vocabulary that have no meaning of their own, in order."""
    vocabulary = dims.get("vocabulary", 0)
    ordinary = sorted(set(range(vocabulary)) - special_ids(config))
    if not ordinary:
        raise ExportError(f"no ordinary token in a vocabulary of {vocabulary}")
    return ordinary


def _special(config: Config, name: str) -> int | None:
    """A token id that the config, or its text config, may have; the first of a list."""
    for owner in (config, getattr(config, "text_config", None)):
        value = getattr(owner, name, None)
        value = value[0] if isinstance(value, list) else value
        if isinstance(value, int):
            return value
    return None


def special_ids(config: Config) -> set[int]:
    """Every id that the config or a config inside it gives a meaning: padding, start, end, placeholders."""
    found: set[int] = set()

    def visit(values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                visit(value)
            elif SPECIAL.search(str(name)):
                found.update(
                    item for item in (value if isinstance(value, list) else [value]) if item is not None
                )

    visit(config.to_dict())
    return found
