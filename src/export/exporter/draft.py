"""An entry in the making, and the job that it stands for.

In: a class and what its family says. Out: the entry's keys as the spec would say them.
"""

from dataclasses import asdict, dataclass, field

import transformers

from .find import Found
from .job import Job, Json, Source
from .overrides import merged

# Fills of whole numbers.
WHOLE = ("tokens", "text", "mask", "positions", "boxes", "mm_token_type_ids")


def _installed() -> Source:
    return Source("transformers", transformers.__version__, {})


@dataclass
class Draft:
    """What an entry would say over its base: the family's defaults, or the entry that it is like."""

    found: Found
    family: str
    base: Json
    contract: Json
    near: str | None = None
    like: str | None = None
    config: Json = field(default_factory=dict)
    axes: Json = field(default_factory=dict)
    # Axes that inputs need as another entry has them.
    lent: Json = field(default_factory=dict)
    # Inputs to add, and null for those that stay away in this form of the others.
    inputs: Json = field(default_factory=dict)
    # Outputs to add, and null for those that the class does not have.
    returns: Json = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    placeholders: Json = field(default_factory=dict)
    dims: Json = field(default_factory=dict)
    padding: str | None = None
    seed: int | None = None
    omit: Json = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    source: Source = field(default_factory=_installed)

    def to_json(self) -> Json:
        """What the spec would say, and why."""
        found = self.found
        # A list would stand for all that the other entry drops.
        dropped = dict.fromkeys(self.without) if self.like else {}
        return (
            {
                "family": self.family,
                "model_type": found.model_type,
                "task": found.task,
                "class": found.class_name,
                "checkpoint": found.checkpoint,
                "reasons": [*found.reasons, *self.reasons],
            }
            | {
                name: getattr(self, name)
                for name in (
                    "near",
                    "like",
                    "config",
                    "axes",
                    "dims",
                    "placeholders",
                    "padding",
                    "seed",
                    "omit",
                )
            }
            | {
                "inputs": self.inputs | dropped,
                "without": [] if self.like else self.without,
                "outputs": self.returns,
            }
        )

    @property
    def whole_config(self) -> Json:
        """The config after inheritance."""
        return merged(self.base["config"], self.config)

    @property
    def ports(self) -> list[Json]:
        """The inputs as the draft changes them."""
        own = self.base["inputs"] if self._same_task else None
        replaced = {*self.without, *self.inputs}
        kept = [port for port in own or self.contract["inputs"] if port["name"] not in replaced]
        added = [{"name": name} | _filled(port) for name, port in self.inputs.items() if port]
        return [*added, *kept]

    @property
    def outputs(self) -> list[Json]:
        """What the task, or the entry that this is like, promises."""
        own = self.base["outputs"] if self._same_task else None
        kept = [port for port in own or self.contract["outputs"] if port["name"] not in self.returns]
        added = [
            {"name": name, "dtype": "float32", "range": "finite"} | port
            for name, port in self.returns.items()
            if port
        ]
        return [*kept, *added]

    @property
    def _same_task(self) -> bool:
        return self.base["task"] == self.found.task

    def used_axes(self) -> Json:
        """The axes that inputs and outputs have."""
        used = {symbol for port in (*self.ports, *self.outputs) for symbol in port["shape"]}
        axes = self.base["axes"] | self.axes
        used |= {axis["per"] for name, axis in axes.items() if name in used and "per" in axis}
        return {name: axis for name, axis in axes.items() if name in used}

    def job(self, data: Json, half: tuple[str, ...] = ()) -> Job:
        """The draft as the exporter reads it."""
        return Job.from_json(
            {
                "model": "draft",
                "family": self.family,
                "task": self.found.task,
                "class": self.found.class_name,
                "source": asdict(self.source),
                "checkpoint": None,
                "weights": "random",
                "config": self.whole_config,
                "seed": self.seed or 0,
                "padding": self.padding or self.base["padding"],
                "attention": None,
                "dims": data["dims"] | self.base["dims"] | self.dims,
                "cases": self._cases(),
                "inputs": self.ports,
                "placeholders": {
                    name: count
                    for name, count in (self.base["placeholders"] | self.placeholders).items()
                    if count is not None
                },
                "outputs": self.outputs,
                # A draft is run, not judged.
                "rows": {},
                "pads": False,
                "causal": None,
                "rule": {"k": 0.0, "floor": 0.0, "mark": 0.0},
                "generation": None if "generates" in self.omit else self._generation(),
                "new_tokens": data["new_tokens"],
                # Whether a class decodes with a cache is seen by its check.
                "decoded_tokens": 0,
                "half": half,
                "fault": None,
                "key": "",
                "code": {"": ""},
                "directory": "",
            }
        )

    def _generation(self) -> Json | None:
        facts = self.contract["generation"]
        names = {port["name"] for port in self.ports}
        return facts and {
            key: value if key in ("grows", "logits") or value in names else None
            for key, value in facts.items()
        }

    def _cases(self) -> list[Json]:
        """The traced sizes, then one case for every dynamic axis at its second size."""
        axes = self.used_axes()

        def sizes(grown: str | None) -> Json:
            own = {
                name: axis["size"] if "size" in axis else axis["dynamic"][name == grown]
                for name, axis in axes.items()
                if "per" not in axis
            }
            per = {name: own[axis["per"]] * axis["count"] for name, axis in axes.items() if "per" in axis}
            return own | per

        grown = [name for name, axis in axes.items() if "dynamic" in axis]
        return [{"name": name or "traced", "sizes": sizes(name)} for name in (None, *grown)]


def _filled(port: Json) -> Json:
    """An input in the job's words: what it holds, and of which type that is."""
    match port["fill"]:
        case {"integers": [low, high]}:
            fill = {"kind": "integers", "low": low, "high": high}
        case {"grid": [columns, rows]}:
            fill = {"kind": "grid", "columns": columns, "rows": rows}
        case {"values": values}:
            fill = {"kind": "values", "values": values}
        case kind:
            fill = {"kind": kind}
    usual = "int64" if len(fill) > 1 or fill["kind"] in WHOLE else "float32"
    return {"dtype": port.get("dtype", usual), "shape": port["shape"], "fill": fill}


def said(port: Json) -> Json:
    """An input of a job as the spec says it."""
    match port["fill"]:
        case {"kind": "integers", "low": low, "high": high}:
            fill = {"integers": [low, high]}
        case {"kind": "grid", "columns": columns, "rows": rows}:
            fill = {"grid": [columns, rows]}
        case {"kind": "values", "values": values}:
            fill = {"values": values}
        case other:
            fill = other["kind"]
    plain = {"shape": port["shape"], "fill": fill}
    return plain if _filled(plain)["dtype"] == port["dtype"] else plain | {"dtype": port["dtype"]}
