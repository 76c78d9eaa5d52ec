"""One model to export, as the Rust side describes it.

In: a JSON object. Out: a typed `Job`. Every key is always present; see the fields for what they mean.
"""

from dataclasses import dataclass
from typing import Any

from .errors import ExportError, nearest

Json = dict[str, Any]
Shape = tuple[str | int, ...]


@dataclass(frozen=True)
class Input:
    """A named input of the program; `fill` says which values it gets."""

    name: str
    dtype: str
    shape: Shape
    fill: Json

    @property
    def kind(self) -> str:
        """The fill's kind, a name of the table in spec/README.md."""
        return self.fill["kind"]


@dataclass(frozen=True)
class Output:
    """A named output that the task promises."""

    name: str
    dtype: str
    shape: Shape
    range: str


@dataclass(frozen=True)
class Source:
    """Where a class is: a package, perhaps a module of it, perhaps the config class that its classes are made from."""

    package: str
    version: str
    overlay: dict[str, str]
    module: str | None = None
    config: str | None = None


@dataclass(frozen=True)
class Case:
    """Sizes at which the model is run; the case named `traced` comes first."""

    name: str
    sizes: dict[str, int]


@dataclass(frozen=True)
class Generation:
    """Inputs and output of greedy decoding, by name; null where the model has no such input."""

    grows: str
    mask: str | None
    positions: str | None
    logits: str


@dataclass(frozen=True)
class Rule:
    """The numerical rule's factor on eager's error, and its floor as a share of the reference's size.

    Values from `mark` on are marks, not measurements.
    """

    k: float
    floor: float
    mark: float


@dataclass(frozen=True)
class Job:
    """One model to export.

    `rows` (axis → its slices for one row of the batch), `pads` and `causal` (the input whose tokens see no later one)
    say which situations the model's checks make; they are empty where a check is left out. `code` has the digest of the
    exporter's code by model type (`outline`); with `key` it makes the key of the artifact. So many `decoded_tokens` are
    generated with a cache; none where the check `decodes` is left out.
    """

    model: str
    family: str
    task: str
    class_name: str
    source: Source
    checkpoint: str | None
    weights: str
    config: Json
    seed: int
    padding: str
    attention: str | None
    dims: dict[str, list[str] | int]
    cases: tuple[Case, ...]
    inputs: tuple[Input, ...]
    placeholders: dict[str, int]
    outputs: tuple[Output, ...]
    rows: dict[str, int]
    pads: bool
    causal: str | None
    generation: Generation | None
    new_tokens: int
    decoded_tokens: int
    half: tuple[str, ...]
    rule: Rule
    fault: str | None
    key: str
    code: dict[str, str]
    directory: str

    @classmethod
    def from_json(cls, data: Json) -> "Job":
        """Reads a job; a missing or unknown key is an error."""
        fields = dict(data)
        generation = fields["generation"]
        fields |= {
            "class_name": fields.pop("class"),
            "source": Source(**fields["source"]),
            "cases": tuple(Case(**case) for case in fields["cases"]),
            "inputs": tuple(Input(**_shaped(entry)) for entry in fields["inputs"]),
            "outputs": tuple(Output(**_shaped(entry)) for entry in fields["outputs"]),
            "generation": generation and Generation(**generation),
            "half": tuple(fields["half"]),
            "rule": Rule(**fields["rule"]),
        }
        return cls(**fields)

    @property
    def traced(self) -> Case:
        """The case that the program is traced at."""
        return self.cases[0]

    def case(self, name: str) -> Case:
        """The case of that name."""
        for case in self.cases:
            if case.name == name:
                return case
        raise ExportError(
            f"{self.model} has no case {name!r}{nearest(name, (case.name for case in self.cases))}"
        )

    @property
    def token_inputs(self) -> list[Input]:
        """The inputs that hold token ids, in order."""
        return [entry for entry in self.inputs if entry.kind in ("tokens", "text")]

    def of_kind(self, kind: str) -> list[Input]:
        """The inputs with that kind of fill, in order."""
        return [entry for entry in self.inputs if entry.kind == kind]


def _shaped(entry: Json) -> Json:
    return entry | {"shape": tuple(entry["shape"])}
