"""What makes which artifacts stale: a change of the code that makes them, and nothing else."""

from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import exporter
from exporter import outline
from exporter.outline import LOOKED_UP, digests

# Most tests change one file of all.
outline._read = cache(outline._read)
FOLDER = Path(exporter.__file__).parent
TEXTS = {path.relative_to(FOLDER).as_posix(): path.read_text() for path in FOLDER.rglob("*.py")}
BEFORE = digests(TEXTS)


def stale(changes: dict[str, str]) -> set[str]:
    """The types whose digest is another with these texts; the empty name is every type without adapters."""
    after = digests(TEXTS | changes)
    return {kind for kind in BEFORE | after if after.get(kind, after[""]) != BEFORE.get(kind, BEFORE[""])}


def changed(name: str, old: str, new: str) -> dict[str, str]:
    """A file with one piece of its text replaced."""
    assert TEXTS[name].count(old) == 1
    return {name: TEXTS[name].replace(old, new)}


def types(*names: str) -> set[str]:
    """The keys of these files' tables, found by running them."""
    modules = (import_module(f"exporter.{name.replace('/', '.')}") for name in names)
    return {kind for module in modules for kind in module.ADAPTERS}


def alone(text: str) -> dict[str, str]:
    """The digests of a package of this one file."""
    return digests({"__main__.py": text, LOOKED_UP: ""})


CODE = '''
"""What it does."""

import os

LIMIT = 12


@cache
def size(name: str, times: int = 2) -> str:
    """The size."""
    return f"{name}: " + str(times * (LIMIT - 1)) if name else "none"


class Kept:
    """Something."""

    def __init__(self, *parts: str) -> None:
        self.parts = [os.fspath(part) for part in parts]
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 12", "# the most\nLIMIT = 12  # of all"),
        ('"""What it does."""', '"""What it does now.\n\nAnd why."""'),
        ('"""What it does."""', ""),
        ('    """The size."""\n', ""),
        ('    """Something."""\n', "    '''Something\n    else.'''\n"),
        ("\n\n@cache", "\n\n\n\n\n@cache"),
        ("name: str, times: int = 2", "\n    name: str,\n    times: int = 2,\n"),
        (
            "= [os.fspath(part) for part in parts]",
            "= [\n            os.fspath(part)\n            for part in parts\n        ]",
        ),
        ('f"{name}: "', "f'{name}: '"),
        ("(LIMIT - 1)", "((LIMIT - 1))"),
        ("LIMIT = 12", "LIMIT = \\\n    12"),
        ("LIMIT = 12", "LIMIT = 0xC"),
    ],
)
def test_comments_docstrings_and_layout_are_no_code(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert alone(CODE.replace(old, new)) == alone(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 12", "LIMIT = 13"),
        ("LIMIT = 12", "LIMIT = 12.0"),
        ("LIMIT = 12", 'LIMIT = "12"'),
        ("LIMIT = 12", "LIMIT = True"),
        ("LIMIT = 12", "LIMIT = None"),
        ("LIMIT = 12", "LIMIT = (12,)"),
        ("LIMIT = 12", "LIMIT: int = 12"),
        ('"none"', '"None"'),
        ('"none"', 'b"none"'),
        ('"none"', '"none\\n"'),
        ("times * (", "times + ("),
        ("times * (LIMIT - 1)", "times * LIMIT - 1"),
        ("= 2", "= 3"),
        (", times: int = 2", ", *, times: int = 2"),
        ("@cache\n", ""),
        ("@cache", "@cached"),
        ("*parts", "**parts"),
        ("if name", "if not name"),
        ("{name}: ", "{name!r}: "),
        ("{name}: ", "{name:>2}: "),
        ('    """The size."""\n', "    print(name)\n"),
        ("import os", "import os as os"),
        ("    return f", "    if times:\n        return f"),
    ],
)
def test_all_else_is_code(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert alone(CODE.replace(old, new)) != alone(CODE)


def test_a_statement_that_moves_out_of_a_block_is_another() -> None:
    inside = "for part in parts:\n    first()\n    second()\n"
    assert alone(inside) != alone(inside.replace("    second()", "second()"))


def test_each_text_of_a_string_has_a_digest_of_its_own() -> None:
    texts = ["None", "'None'", "'# no comment'", "'# a comment'", "''", "...", "0.1", "1e-1j", "-1", "b''"]
    assert len({alone(f"value = {text}")[""] for text in texts}) == len(texts)


def test_comments_and_docstrings_make_nothing_stale() -> None:
    assert not stale({name: f"# a comment\n\n{text}\n# another\n" for name, text in TEXTS.items()})


def test_what_every_job_runs_makes_all_stale() -> None:
    everything = BEFORE.keys()
    for name in (
        "program.py",
        "adapters/common.py",
        "adapters/patches.py",
        "calls/sounds.py",
        "recurrence.py",
    ):
        assert stale({name: TEXTS[name] + "\nADDED = 1\n"}) == everything, name


def test_an_adapter_makes_the_types_of_its_file_stale() -> None:
    assert stale({"adapters/speech.py": TEXTS["adapters/speech.py"] + "\nADDED = 1\n"}) == types(
        "adapters/speech"
    )


def test_what_adapters_import_makes_their_types_stale() -> None:
    users = ("documents", "heirs", "one_shape", "pictures", "qwen", "rows_of_patches", "sounds")
    expected = types(*(f"adapters/multimodal/{name}" for name in users))
    assert stale({"grids.py": TEXTS["grids.py"] + "\nADDED = 1\n"}) == expected
    assert "bert" not in expected


def test_a_tool_makes_nothing_stale() -> None:
    assert not stale(
        {name: TEXTS[name] + "\nADDED = 1\n" for name in ("bench.py", "outline.py", "validate.py")}
    )


def test_a_new_adapter_in_a_file_of_its_own_makes_its_type_stale() -> None:
    text = 'from .patches import Adapter\n\nADAPTERS: dict[str, list[Adapter]] = {"gpt2": []}\n'
    lists = TEXTS[LOOKED_UP].replace("    vision_text,\n", "    vision_text,\n    words,\n")
    assert stale({"adapters/words.py": text, LOOKED_UP: lists}) == {"gpt2"}
    assert not stale({"adapters/words.py": text}), "nobody gathers it"


def test_a_new_type_in_a_table_makes_the_file_s_types_and_itself_stale() -> None:
    change = changed("adapters/speech.py", '    "clap": ', '    "wav2vec2": [_int_of_tensors],\n    "clap": ')
    assert stale(change) == {*types("adapters/speech"), "wav2vec2"}


def test_a_file_that_is_no_longer_gathered_makes_its_types_stale() -> None:
    name = "adapters/multimodal/__init__.py"
    change = changed(name, "    **qwen.ADAPTERS,\n", "")[name].replace(" qwen,", "")
    assert types("adapters/multimodal/qwen") <= stale({name: change})


def test_what_cannot_be_read_counts_for_all() -> None:
    speech = TEXTS["adapters/speech.py"]
    computed = speech + '\nADAPTERS["bert"] = []\n'
    assert stale({"adapters/speech.py": computed}) == BEFORE.keys()
    by_name = speech.replace('    "clap": ', "    CLAP: ")
    assert stale({"adapters/speech.py": by_name}) == BEFORE.keys()
    used = changed("adapters/__init__.py", "COMMON, *ADAPTERS", "COMMON, *speech.MORE, *ADAPTERS")
    assert stale(used) == BEFORE.keys()
    assert stale(used | {"adapters/speech.py": speech + "\nMORE = []\n"}) == BEFORE.keys()


def test_every_file_of_the_package_is_reached_or_a_tool() -> None:
    reaching = {name for name, text in TEXTS.items() if stale({name: text + "\nADDED = 1\n"})}
    assert "weights.py" in reaching
    assert set(TEXTS) - reaching == TOOLS


# What uses artifacts or draws up entries, and is imported by nothing that makes an artifact.
TOOLS = {
    *(
        "answers.py",
        "aot.py",
        "certify.py",
        "checkpoint.py",
        "hub.py",
        "sentence.py",
        "stored.py",
        "unpacked.py",
    ),
    *(
        "bench.py",
        "deprecated.py",
        "documented.py",
        "draft.py",
        "find.py",
        "graphed.py",
        "half.py",
        "invariance.py",
        "inventory.py",
        "kin.py",
    ),
    *("layers.py", "lent.py", "limits.py"),
    *(
        "outline.py",
        "overrides.py",
        "package.py",
        "ports.py",
        "processed.py",
        "pt2.py",
        "replay.py",
        "returns.py",
        "shrink.py",
        "start.py",
        "streamed.py",
        "suggest.py",
        "upstream.py",
    ),
    *("trials.py", "unneeded.py", "validate.py"),
}
