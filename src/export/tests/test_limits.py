from exporter.errors import ExportError
from exporter.limits import GENERATES, HALF, SIZE, WORDS_MAX, Known, shortened, told


def failure(cause: Exception | None) -> ExportError:
    error = ExportError("X.forward: it failed")
    error.__cause__ = cause
    return error


def test_a_kernel_that_torch_lacks_is_named() -> None:
    cause = RuntimeError("\"fft_r2c\" not implemented for 'BFloat16'")
    assert told(failure(cause), HALF) == "torch has no bfloat16 kernel fft_r2c"


def test_a_class_that_does_not_generate_is_named() -> None:
    cause = TypeError("BertModel is not compatible with `.generate()`, as it has no head")
    assert told(failure(cause), GENERATES) == "BertModel has no `generate`"


def test_a_size_that_does_not_fit_is_told_by_the_class() -> None:
    cause = ValueError("Input image size (48*48) doesn't match model (32*32).")
    assert told(failure(cause), SIZE) == "Input image size (48*48) doesn't match model (32*32)"


def test_anything_else_is_no_limitation() -> None:
    unknown: list[tuple[Exception | None, Known]] = [
        (None, HALF),
        (KeyError("size"), SIZE),
        (RuntimeError("out of memory"), HALF),
    ]
    assert [told(failure(cause), known) for cause, known in unknown] == [None, None, None]


def test_words_are_cut_between_words() -> None:
    assert shortened("short") == "short"
    text = shortened("word " * 100)
    assert len(text) <= WORDS_MAX + 2
    assert text.endswith("word …")
