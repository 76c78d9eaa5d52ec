"""What makes the eager model of a job differ from its class's plain `forward`: `python -m exporter.differences`.

In: a model and its job. Out: every difference that applies, with its reason, for the manifest. On the command line:
all there are as JSON, with the class or the model type that each belongs to.
"""

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import GenerationMixin, PreTrainedModel

from .adapters.common import CACHES
from .adapters.patches import first_line, name_of
from .calls import CALLS, DERIVED, VIEWS
from .foreign import config_of
from .generation import CACHED_ROTATIONS, LIBRARY, LOOPS, UNCACHED, uncached
from .job import Job
from .model import KEEPERS, PLAIN, SDPA, UNINITIALISED, configs

ALL = "every model"


@dataclass(frozen=True)
class Difference:
    """One of them: whose it is, what it changes, why, and whether a model of a job has it."""

    of: str
    what: str
    why: str
    applies: Callable[[nn.Module, Job], bool]


def applying(model: nn.Module, job: Job) -> list[dict[str, str]]:
    """The differences that a model of a job has, as the manifest lists them."""
    return [{"what": one.what, "why": one.why} for one in table() if one.applies(model, job)]


def table() -> list[Difference]:
    """Every difference there is."""
    return [*_settings(), *_calls(), *_decoding()]


def _settings() -> list[Difference]:
    """What is set before any model runs."""
    attention = Difference(
        ALL,
        "attention: eager",
        "the plain formula: every class has it, and a trace holds it as it stands",
        lambda model, job: isinstance(model, PreTrainedModel) and job.attention != SDPA,
    )
    plain = [
        Difference(ALL, f"config.{name}: {value}", why, _configured(name))
        for name, (value, why) in PLAIN.items()
    ]
    returned = Difference(
        ALL,
        "forward(return_dict=True)",
        "outputs are found by the names that the class gives them",
        lambda model, _: "return_dict" in inspect.signature(model.forward).parameters,
    )
    weights = Difference(
        ALL,
        "weights: drawn from the entry's seed",
        "those of `init_weights` hide faults: biases and whole heads are zero, norms one",
        lambda _, job: job.weights == "random",
    )
    settled = Difference(
        "classes with batch norms",
        "batch norms: statistics of the traced inputs",
        "with others the signal of deep networks fades: whatever the picture, they say the same",
        lambda model, job: (
            job.weights == "random"
            and any(
                isinstance(module, _BatchNorm) and module.track_running_stats for module in model.modules()
            )
        ),
    )
    draws = Difference(
        ALL,
        "random numbers: the same at every call",
        "a model that draws some must compute the same every time",
        lambda model, job: True,
    )
    keepers = Difference(
        "OmDetTurboForObjectDetection",
        "embeddings of texts: not kept between calls",
        "the class would give back what it computed in another precision",
        lambda model, _: bool(KEEPERS & vars(model).keys()),
    )
    forgotten = Difference(
        "classes that keep what the last run computed",
        "between runs: forgotten",
        "what one run leaves to the next is in another precision, or for other sizes",
        lambda model, _: any(name in vars(module) for module in model.modules() for name in CACHES),
    )
    filled = [
        Difference(
            name, "weights: initialised", "the class leaves them as the memory held them", _of_class(name)
        )
        for name in sorted(UNINITIALISED)
    ]
    return [attention, *plain, returned, weights, settled, draws, keepers, forgotten, *filled]


def _calls() -> list[Difference]:
    """What is put around the class's forward."""
    calls = _described("call", CALLS, _of_class)
    derived = _described("added input", DERIVED, _of_class)
    return [*calls, *derived, *_described("outputs cut", VIEWS, _of_type)]


def _decoding() -> list[Difference]:
    """What is changed where a class generates."""
    loops = _described("generate", LOOPS, lambda name: _generating(_of_type(name)))
    caches = [
        Difference(name, "generate: without a cache", why, _generating(_of_type(name)))
        for name, why in UNCACHED.items()
    ]
    rotations = Difference(
        'rope_type "dynamic"',
        "generate: without a cache",
        CACHED_ROTATIONS,
        _generating(lambda model, _: uncached(model) == CACHED_ROTATIONS),
    )
    own = Difference(
        "classes without `generate`",
        "generate: a loop over forward",
        "transformers 4 no longer lets the class generate: each step reads the whole row again",
        _generating(lambda model, _: not isinstance(model, GenerationMixin)),
    )
    past = Difference(
        "classes with a `generate` of their own",
        "generate: the library's loop",
        "it decodes greedily and tells the class's own acts around the loop from what forward computes",
        _generating(
            lambda model, _: (
                isinstance(model, GenerationMixin)
                and config_of(model).model_type not in LOOPS
                and getattr(type(model), "generate", None) is not LIBRARY
            )
        ),
    )
    end = Difference(
        "classes that generate",
        "generate: the end token is one that is written late",
        "random weights never write the config's own: no row would end, and no padding follow",
        _generating(lambda model, _: True),
    )
    return [*loops, *caches, rotations, own, past, end]


def _described(
    kind: str, functions: Mapping[str, Callable[..., Any]], applies: Callable[[str], Callable[..., bool]]
) -> list[Difference]:
    """A difference for every function of a table, which its docstring explains."""
    return [
        Difference(name, f"{kind}: {name_of(function)}", first_line(function), applies(name))
        for name, function in sorted(functions.items())
    ]


def _configured(name: str) -> Callable[[nn.Module, Job], bool]:
    return lambda model, _: any(hasattr(config, name) for config in configs(config_of(model)))


def _of_class(name: str) -> Callable[[nn.Module, Job], bool]:
    return lambda model, _: type(model).__name__ == name


def _of_type(name: str) -> Callable[[nn.Module, Job], bool]:
    return lambda model, _: config_of(model).model_type == name


def _generating(applies: Callable[[nn.Module, Job], bool]) -> Callable[[nn.Module, Job], bool]:
    return lambda model, job: job.generation is not None and applies(model, job)


def main() -> None:
    """Prints the whole table, or what belongs to the class or the model type that is named."""
    wanted = sys.argv[1:]
    rows = [
        {"of": one.of, "what": one.what, "why": one.why}
        for one in table()
        if not wanted or one.of in (ALL, *wanted)
    ]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
