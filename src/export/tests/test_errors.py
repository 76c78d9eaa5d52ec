import pytest

from exporter.errors import ExportError, nearest, reason, stage


def test_a_reason_is_the_type_and_the_last_line() -> None:
    assert reason(ValueError("first\n\n  last  \n")) == "ValueError: last"


def test_an_error_without_words_is_told_by_its_type() -> None:
    assert reason(KeyError()) == "KeyError"


def test_an_export_error_is_told_whole_and_without_its_type() -> None:
    assert reason(ExportError("one\n  two")) == "one two"


@pytest.mark.parametrize("error", [ImportError("no x\nadvice"), RuntimeError("Could not export x\nadvice")])
def test_errors_that_end_in_advice_are_told_by_their_first_line(error: Exception) -> None:
    assert reason(error) == f"{type(error).__name__}: {str(error).splitlines()[0]}"


def test_a_stage_names_what_foreign_code_raised_and_keeps_it() -> None:
    cause = ValueError("wrong")
    with pytest.raises(ExportError, match=r"^building X: ValueError: wrong$") as caught, stage("building X"):
        raise cause
    assert caught.value.__cause__ is cause


def test_a_stage_leaves_an_export_error_as_it_is() -> None:
    own = ExportError("said already")
    with pytest.raises(ExportError) as caught, stage("building X"):
        raise own
    assert caught.value is own


def test_a_misspelt_name_gets_a_hint_and_a_strange_one_none() -> None:
    assert nearest("hiden_size", ["hidden_size", "vocab_size"]) == "; nearest: hidden_size"
    assert nearest("zzz", ["hidden_size"]) == ""
