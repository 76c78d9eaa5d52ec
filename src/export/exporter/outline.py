"""What of this package's code decides what an artifact holds: `python outline.py`.

In: every file of the package as JSON on stdin, name → text. Out: JSON, model type → digest of the code that makes its
artifacts; under the empty name that of all types without adapters of their own.

Code is what Python parses: comments, docstrings and layout do not count. A docstring's first line does reach the
manifest, as the reason of an adapter, and waits there for the next export.

What `__main__` imports counts for every type. A file with a table of adapters counts, with what it imports, for the
types in its table; the lists that gather these files count by what they gather. So a new adapter reaches its type in
whatever file it is, and nobody else. What cannot be read so (a table that is computed, a list whose names are used for
more) counts for every type. It rests on two customs: only tables give models their adapters, and importing a file with
a table changes nothing.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PACKAGE = "exporter"
START = "__main__.py"
# Where adapters are looked up, the list of files with tables, and the name of every table.
LOOKED_UP, FAMILIES, TABLE = "adapters/__init__.py", "FAMILIES", "ADAPTERS"
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class File:
    """What is read in a file: its code's digest, the files that it imports, those whose tables it gathers.

    `types` are the keys of its table; None where that is no plain one.
    """

    digest: str
    imports: set[str]
    gathers: list[str]
    types: list[str] | None


def digests(texts: dict[str, str]) -> dict[str, str]:
    """The digest for every model type that some table has; for all others under the empty name."""
    names = frozenset(texts)
    files = {name: _read(name, text, names) for name, text in texts.items()}
    tables = list(_tables(files, LOOKED_UP))
    starts = [START, *(name for name in tables if files[name].types is None)]
    everyones = _reached(files, starts)
    common = _digest([(name, files[name].digest) for name in sorted(everyones)])
    found = {"": common}
    for kind in sorted({kind for name in tables for kind in files[name].types or ()}):
        # In the order of the list: where two have the type, the later one is taken.
        own = [name for name in tables if kind in (files[name].types or ())]
        used = [(name, files[name].digest) for name in sorted(_reached(files, own) - everyones)]
        found[kind] = _digest([common, own, used])
    return found


def _read(name: str, text: str, names: frozenset[str]) -> File:
    """A file of the package whose files have those names."""
    tree = _undocumented(ast.parse(text))
    gathers = _gathered(name, tree, names)
    return File(_digest(plain(tree)), _imported(name, tree, names), gathers, _types(tree))


def plain(node: Any) -> Any:
    """A syntax tree as lists, which are the same in every version of Python: without places and empty fields."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if isinstance(node, ast.Constant):
        return ["Constant", repr(node.value)]
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
        return [type(node).__name__, [[name, plain(value)] for name, value in fields]]
    return node


def _undocumented(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return tree


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]


def _tables(files: dict[str, File], name: str) -> Iterator[str]:
    """The files with tables that a file gathers, and those gathered by these, in order."""
    for gathered in files[name].gathers:
        if files[gathered].gathers:
            yield from _tables(files, gathered)
        else:
            yield gathered


def _reached(files: dict[str, File], starts: list[str]) -> set[str]:
    """These files and all that their imports run."""
    reached, waiting = set[str](), list(starts)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [*files[name].imports, *_packages(name, frozenset(files))]
    return reached


def _imported(name: str, tree: ast.Module, names: frozenset[str]) -> set[str]:
    """The package's files that a file imports, in functions too."""
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = _base(name, node)
            paths = [] if base is None else [base, *([*base, alias.name] for alias in node.names)]
        elif isinstance(node, ast.Import):
            dotted = (alias.name.split(".") for alias in node.names)
            paths = [path[1:] for path in dotted if path[0] == PACKAGE]
        else:
            continue
        found |= {file for path in paths if (file := _file(path, names))}
    return found


def _base(name: str, node: ast.ImportFrom) -> list[str] | None:
    """What an import of names starts from, below the package; None where that is elsewhere."""
    path = node.module.split(".") if node.module else []
    if node.level:
        folder = name.split("/")[:-1]
        return folder[: len(folder) - node.level + 1] + path
    return path[1:] if path[0] == PACKAGE else None


def _file(path: list[str], names: frozenset[str]) -> str | None:
    """The file of a module; None where there is none of that name."""
    candidates = ("/".join(path) + ".py", "/".join([*path, "__init__.py"]))
    return next((name for name in candidates if name in names), None)


def _packages(name: str, names: frozenset[str]) -> list[str]:
    """The `__init__` files that run before a file."""
    folder = name.split("/")[:-1]
    paths = (folder[:depth] for depth in range(len(folder) + 1))
    return [file for path in paths if (file := "/".join([*path, "__init__.py"])) in names]


def _gathered(name: str, tree: ast.Module, names: frozenset[str]) -> list[str]:
    """The files whose tables an `__init__` gathers; what says so is taken out of the tree.

    Nothing, and the tree stays, where it is not just `from . import …` and one plain list of these names.
    """
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and _of_folder(node)]
    lists = [(node, modules) for node in tree.body if (modules := _listed(node))]
    if not name.endswith("/__init__.py") or len(imports) != 1 or len(lists) != 1:
        return []
    (imported,), ((listing, modules),) = imports, lists
    uses = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in modules]
    if sorted(modules) != sorted(alias.name for alias in imported.names) or sorted(uses) != sorted(modules):
        return []
    files = [_file([*name.split("/")[:-1], module], names) for module in modules]
    found = [file for file in files if file]
    if len(found) == len(files):
        tree.body = [node for node in tree.body if node not in (imported, listing)]
        return found
    return []


def _of_folder(node: ast.ImportFrom) -> bool:
    """Whether it is `from . import …`, each under its own name."""
    return node.level == 1 and node.module is None and all(alias.asname is None for alias in node.names)


def _listed(node: ast.stmt) -> list[str]:
    """The modules in `FAMILIES = (a, b)` or `ADAPTERS = {**a.ADAPTERS, **b.ADAPTERS}`; none for all else."""
    target, value = _assigned(node)
    if target == FAMILIES and isinstance(value, ast.Tuple):
        items: list[ast.expr] = value.elts
    elif target == TABLE and isinstance(value, ast.Dict) and not any(value.keys):
        items = [
            item.value for item in value.values if isinstance(item, ast.Attribute) and item.attr == TABLE
        ]
        items = items if len(items) == len(value.values) else []
    else:
        return []
    names = [item.id for item in items if isinstance(item, ast.Name)]
    return names if len(names) == len(items) else []


def _assigned(node: ast.stmt) -> tuple[str | None, ast.expr | None]:
    """The one name that a statement assigns to, and the value."""
    if isinstance(node, ast.AnnAssign):
        targets: list[ast.expr] = [node.target]
    elif isinstance(node, ast.Assign):
        targets = node.targets
    else:
        return None, None
    return (targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else None), node.value


def _types(tree: ast.Module) -> list[str] | None:
    """The keys of a file's table, where it is written out once and used nowhere else in the file."""
    values = [value for target, value in map(_assigned, tree.body) if target == TABLE]
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == TABLE]
    if len(values) != 1 or len(uses) != 1 or not isinstance(values[0], ast.Dict):
        return None
    keys = [key.value if isinstance(key, ast.Constant) else None for key in values[0].keys]
    types = [key for key in keys if isinstance(key, str)]
    return types if len(types) == len(keys) else None


if __name__ == "__main__":
    json.dump(digests(json.load(sys.stdin)), sys.stdout)
