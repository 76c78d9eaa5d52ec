"""What transformers computes otherwise with a cache, or for a row alone: `python -m exporter.upstream`.

In: the request of `__main__`. Out: its events; the `result` of a job that is done is a short program that shows it, in
transformers' own words and nobody else's, and what it printed when it was run here.
"""

import contextlib
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter

import torch

from .__main__ import own_stdout
from .calls import parameters_of
from .errors import ExportError, reason
from .inputs import padding_id
from .job import Generation, Input, Job, Json
from .model import Config, find_class, token_id
from .prepared import Prepared, prepared

# Rows, and tokens of each: past windows, and past the lengths that rotary embeddings were made for.
ROWS, LENGTH = 2, 53
# A difference, as a share of the largest logit, that no rounding makes.
CLEAR = 1e-3
# What classes call the cache that they take and return.
KEYWORDS = ("cache", "past_key_values", "state", "mems", "past_buckets_states")
# Types whose `forward` takes the whole row again, and skips what its cache holds by itself.
WHOLE_AGAIN = frozenset({"cpmant"})
# Types whose `forward` returns no cache: it is the caller's.
RETURNS_NONE = frozenset({"recurrent_gemma"})
# What stands for an input that is given beside tokens.
FILLED = {
    "normal": "torch.randn({shape})",
    "uniform": "torch.rand({shape})",
    "mask": "torch.ones({shape}).long()",
    "integers": "torch.randint({low}, {high}, {shape}).to(torch.{dtype})",
    "values": "torch.tensor({values}).expand({shape})",
    # Behind what may be padding.
    "mm_token_type_ids": "(torch.arange({length}) // {count} == 1).long().expand({shape})",
}


@dataclass(frozen=True)
class Way:
    """How a row is read in two parts: how many tokens come first, and how many of those are padding; or alone.

    `again`: all that comes beside tokens is given with the later ones, too, as to an encoder. A class has been told all
    that it takes then, and an error shows a fault.
    """

    told: str
    first: int = 0
    padded: int = 0
    again: bool = False

    @property
    def alone(self) -> bool:
        """Whether it is read at once, without the other rows."""
        return self.first == 0


WAYS = (
    Way("a token after a cache", LENGTH - 1),
    Way("several tokens after a cache", 12),
    Way("a row alone, without a cache"),
    Way("a token after a cache, rows padded on the left", LENGTH - 1, 4),
    Way("a token after a cache, with all that was given before", LENGTH - 1, 4, again=True),
)


def finding(data: Json) -> Json:
    """The first way in which a job's class differs from itself: its name, the program, and what that printed.

    Raises:
        ExportError: no short program shows a difference.
    """
    job = Job.from_json(data)
    seen = []
    for way in WAYS:
        text = program(job, way)
        printed, shows = run(text, way)
        if shows:
            return {"way": way.told, "program": text, "printed": printed}
        seen.append(f"{way.told}: {printed}")
    raise ExportError(f"no short program shows it ({'; '.join(seen)})")


def run(text: str, way: Way) -> tuple[str, bool]:
    """What a program prints, or what ends it, and whether that shows a fault.

    One that ends where a row is read by parts shows nothing, for classes may want to be told more there; but if it was
    told all, or asks its own cache for what that has not.
    """
    before, last, after = text.partition("later = ")
    scope: Json = {}
    printed = io.StringIO()
    try:
        exec(before, scope)  # its own text, as a person would run it
    except Exception as error:  # noqa: BLE001  upstream may raise anything
        return reason(error), "whole" in scope
    try:
        with contextlib.redirect_stdout(printed):
            exec(last + after, scope)
    except Exception as error:  # noqa: BLE001  the same
        asks = isinstance(error, AttributeError) and error.obj is scope.get("held")
        return reason(error), way.again or asks
    return printed.getvalue().strip(), float(printed.getvalue()) > CLEAR


def program(job: Job, way: Way) -> str:
    """A program that reads a row in two ways, and prints how far apart the logits are."""
    ready = prepared(job)
    found = find_class(job.source, job.class_name)
    config = found.config_class.__name__  # pyright: ignore[reportAttributeAccessIssue]
    own = ready.config.model_type in RETURNS_NONE
    beside = _beside(job, ready.dims)
    lines = [
        "import torch",
        f"from transformers import {job.class_name}, {config}" + (", DynamicCache" if own else ""),
        "torch.manual_seed(0)",
        f"model = {job.class_name}({config}(**{job.config!r})).eval().requires_grad_(False)",
        "[weight.normal_(std=0.2) for weight in model.parameters() if weight.ndim > 1]",
        f"tokens = torch.randint(16, {ready.dims.get('vocabulary', 100)}, ({ROWS}, {LENGTH}))",
        *_seen(job, ready.config),
    ]
    if way.padded and _names(job).mask:
        lines.append(f"tokens[:, :{way.padded}], mask = {padding_id(ready.config)}, torch.ones_like(tokens)")
        lines.append(f"mask[:, :{way.padded}] = 0")
    lines += [f"{name} = {value}" for name, value in beside.items()]
    lines += _alone(job, beside) if way.alone else _parts(job, ready, way, beside)
    lines.append("print(((later - whole).abs().max() / whole.abs().max()).item())")
    return "\n".join(lines) + "\n"


def _alone(job: Job, beside: dict[str, str]) -> list[str]:
    """The last row among all rows, and alone; of what is given beside tokens each row has its share."""
    names = _names(job)
    given = "".join(f", {name}={name}" for name in beside)
    share = "".join(f", {name}={name}[-(len({name}) // {ROWS}):]" for name in beside)
    return [
        f"whole = model({names.grows}=tokens{given}).{names.logits}[-1:]",
        f"later = model({names.grows}=tokens[-1:]{share}).{names.logits}",
    ]


def _parts(job: Job, ready: Prepared, way: Way, beside: dict[str, str]) -> list[str]:
    """The rows at once, and the later tokens after a cache of the first ones."""
    names, takes = _names(job), parameters_of(ready.eager)
    keyword = _keyword(job, takes)
    model_type = ready.config.model_type
    # What is seen or heard comes with the first tokens.
    read = max(way.first, 2 * sum(job.placeholders.values()))
    masked = way.padded > 0 and names.mask is not None
    part = f"{names.grows}=tokens[:, {{part}}]" + (f", {names.mask}=mask[:, :{{last}}]" if masked else "")
    rest = ":" if model_type in WHOLE_AGAIN else f"{read}:"
    whole, first, later = (
        part.format(part=part_of, last=last) for part_of, last in ((":", ""), (f":{read}", read), (rest, ""))
    )
    tokens = next(entry for entry in job.inputs if entry.name == names.grows)
    following = {entry.name for entry in job.inputs if entry.shape[1:2] == tokens.shape[1:2]}
    given = "".join(f", {name}={name}" for name in beside)
    begun = "".join(f", {name}={name}" + (f"[:, :{read}]" if name in following else "") for name in beside)
    # An encoder's input is asked for in every call.
    again = given if way.again or getattr(ready.config, "is_encoder_decoder", False) else ""
    own = model_type in RETURNS_NONE
    # A memory is always kept.
    on, off = (f", use_cache={value}" if "use_cache" in takes else "" for value in (True, False))
    return [
        f"whole = model({whole}{given}{off}).{names.logits}[:, {read - LENGTH}:]",
        *(["held = DynamicCache(config=model.config)"] if own else []),
        f"first = model({first}{begun}" + (f", {keyword}=held" if own else "") + f"{on})",
        *([] if own else [f'held = first["{keyword}"]']),
        f"later = model({later}{again}, {keyword}=held{on}).{names.logits}",
    ]


def _keyword(job: Job, takes: Mapping[str, Parameter]) -> str:
    """What the class calls its cache; one that hands all else on to the model inside it calls it what that does."""
    keyword = next((name for name in KEYWORDS if name in takes), None)
    hands_on = "use_cache" in takes and any(taken.kind is Parameter.VAR_KEYWORD for taken in takes.values())
    if keyword is None and not hands_on:
        raise ExportError(f"{job.class_name}.forward takes no cache")
    return keyword or KEYWORDS[0]


def _names(job: Job) -> Generation:
    """What grows; where an entry leaves `generates` out, what the task's inputs say."""
    if job.generation is not None:
        return job.generation
    masks = [entry.name for entry in job.of_kind("mask")]
    (tokens,) = (entry.name for entry in job.of_kind("tokens"))
    return Generation(grows=tokens, mask=next(iter(masks), None), positions=None, logits=job.outputs[0].name)


def _seen(job: Job, config: Config) -> list[str]:
    """The places of each row where something is seen or heard, written into its tokens."""
    ids = [token_id(config, name) for name in job.placeholders]
    count = sum(job.placeholders.values())
    return [f"tokens[:, {count}:{2 * count}] = {ids[0]}"] if len(ids) == 1 else []


def _beside(job: Job, dims: dict[str, int]) -> dict[str, str]:
    """What stands for each input that is given beside tokens, their mask and their positions."""
    names = _names(job)
    scale = ROWS / job.traced.sizes["batch"]
    tokens = next(entry for entry in job.inputs if entry.name == names.grows)
    leading = {entry.shape[0] for entry in job.inputs}
    sizes = {name: int(size * scale) if name in leading else size for name, size in job.traced.sizes.items()}
    sizes = {**dims, **sizes, str(tokens.shape[1]): LENGTH}
    growing = (names.grows, names.mask, names.positions)
    return {
        entry.name: _filled(entry, sizes, sum(job.placeholders.values()))
        for entry in job.inputs
        if entry.name not in growing and not (entry.kind == "mask" and names.mask is None)
    }


def _filled(entry: Input, sizes: dict[str, int], count: int) -> str:
    """What stands for an input; `count` is how many places of a row are seen or heard."""
    shape = [sizes[axis] if isinstance(axis, str) else axis for axis in entry.shape]
    if entry.kind in ("tokens", "text"):
        return f"torch.randint(16, 100, {shape})"
    if entry.kind not in FILLED:
        raise ExportError(f"nothing short stands for {entry.name!r}")
    return FILLED[entry.kind].format(**entry.fill, shape=shape, dtype=entry.dtype, length=LENGTH, count=count)


def main() -> None:
    """Looks for a short program for every job."""
    events = own_stdout()
    from .runner import run as carry_out  # only now, as in `__main__`

    torch.set_num_threads(1)
    carry_out(json.load(sys.stdin), events, finding)


if __name__ == "__main__":
    main()
