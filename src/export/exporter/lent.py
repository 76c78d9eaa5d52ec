"""Inputs as other entries have them.

In: a draft, its eager model and all entries. Out: forms of its inputs that entries of other classes have whose forward
takes inputs of the same names, in the spec's words, with the axes that they need; nearest entries first.
"""

from collections.abc import Iterator
from inspect import Parameter

from torch import nn

from .calls import parameters_of
from .draft import WHOLE, Draft, said
from .job import Json
from .kin import entries_like

# How many forms are tried.
FORMS = 8
# Inputs that every text has: a class that takes them takes no form from another for that.
USUAL = frozenset(("input_ids", "attention_mask", "position_ids", "token_type_ids"))


def lent(draft: Draft, eager: nn.Module, entries: list[Json], asked: set[str]) -> Iterator[tuple[Json, Json]]:
    """Forms of the inputs, each with its axes: of entries that have what is asked for, then of those that are near."""
    takes = parameters_of(eager)
    own = {port["name"]: port for port in draft.ports}
    needed = {name for name, value in takes.items() if value.default is Parameter.empty}
    missing = (asked | needed) & takes.keys() - own.keys()
    near = entries_like(draft.found.class_name, entries)
    others = [entry for entry in entries if entry not in near]
    seen: list[Json] = []

    def named(entry: Json) -> Json:
        """Its inputs under the names that the class has for them: `merge_sizes` of `image_merge_sizes`."""
        inputs = {port["name"]: port for port in entry["base"]["inputs"]}
        # Of those of pictures and of videos, which stand behind them, the first.
        last_first = [*inputs.items()][::-1]
        parts = {part: port for name, port in last_first for part in missing if name.endswith(f"_{part}")}
        return {name: port for name, port in (parts | inputs).items() if name in takes}

    def lacks(entry: Json) -> int:
        return len(missing - named(entry).keys())

    ranked = sorted(near, key=lacks) + sorted(others, key=lacks)
    for entry in (entry for entry in ranked if entry in near or lacks(entry) < len(missing)):
        ports = named(entry)
        changed = {name: said(port) for name, port in ports.items() if own.get(name) != port}
        if not changed.keys() - USUAL:
            continue
        # What another class does without, this one may, unless it is words.
        gone = [name for name, port in own.items() if name not in ports and not _is_whole(port)]
        form = changed | {name: None for name in gone if name not in needed}
        if form in seen:
            continue
        seen.append(form)
        yield form, entry["base"]["axes"]
        if len(seen) == FORMS:
            return


def _is_whole(port: Json) -> bool:
    return port["fill"]["kind"] in WHOLE
