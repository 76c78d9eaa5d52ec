"""What an architecture itself cannot do, told by the errors of its own code.

In: the failure of an eager run. Out: the limitation in plain words, or None: then the failure may be the entry's or
the exporter's fault, and nothing may be left out because of it.
"""

import re

from .errors import ExportError, reason

WORDS_MAX = 120
Known = tuple[tuple[type[Exception], re.Pattern[str], str], ...]


def _known(*rows: tuple[type[Exception], str, str]) -> Known:
    return tuple((kind, re.compile(pattern), words) for kind, pattern, words in rows)


# Words may hold the pattern's groups; `{line}` is the error's own line.
HALF = _known(
    (
        RuntimeError,
        r"\"(?P<kernel>\w+)\" not implemented for 'BFloat16'",
        "torch has no bfloat16 kernel {kernel}",
    ),
    (RuntimeError, r"Unsupported dtype BFloat16", "torch has no bfloat16 kernel for fft"),
    (
        RuntimeError,
        r"(same dtype|scalar type|should be the same|dtypes match).*",
        "eager mixes float32 with bfloat16: {line}",
    ),
)
GENERATES = _known(
    (TypeError, r"(?P<name>\w+) is not compatible with `\.generate\(\)`", "{name} has no `generate`"),
)
SIZE = _known(
    (
        ValueError,
        r"(?P<kind>\w+) features and \w+ tokens do not match",
        "{kind} features have as many positions as their row has placeholders",
    ),
    (AssertionError, r"size|height|width|length|shape", "{line}"),
    (ValueError, r"size|height|width|length|shape|divisible", "{line}"),
    (RuntimeError, r"size of tensor|Sizes of tensors|shapes? .* (invalid|cannot)", "{line}"),
    (IndexError, r"index out of range in self", "a table of learned positions ends before"),
)


def told(failure: ExportError, known: Known) -> str | None:
    """The limitation that the class's own code, not the exporter's, complained of."""
    cause = failure.__cause__
    for kind, pattern, words in known:
        if isinstance(cause, kind) and (match := pattern.search(str(cause))):
            line = reason(cause).removeprefix(f"{type(cause).__name__}: ")
            return shortened(words.format(line=line.rstrip("."), **match.groupdict()))
    return None


def shortened(text: str) -> str:
    """One line, not too long for a spec."""
    return text if len(text) <= WORDS_MAX else text[:WORDS_MAX].rsplit(" ", 1)[0] + " …"
