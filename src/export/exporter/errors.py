"""Errors that people read.

In: an exception anywhere in a job. Out: an `ExportError`, whose text is the one line that the job fails with.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class ExportError(Exception):
    """A job cannot be done; the text says why, in one line."""


@contextmanager
def stage(label: str) -> Iterator[None]:
    """Names the step in which a foreign exception was raised: `label: its line`."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"{label}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The one line that says most about an exception: an `ExportError`'s text, else its type and last line.

    Errors about missing packages and about code that TorchScript cannot save begin with their point instead.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, ExportError):
        return " ".join(lines)
    if not lines:
        return type(error).__name__
    first = isinstance(error, ImportError) or lines[0].startswith("Could not export")
    return f"{type(error).__name__}: {lines[0 if first else -1]}"


def nearest(name: str, names: Iterable[str]) -> str:
    """A `; nearest: …` hint for a misspelt name, empty when nothing resembles it."""
    matches = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    return f"; nearest: {', '.join(matches)}" if matches else ""
