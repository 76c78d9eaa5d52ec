import pytest
import samples

from exporter.errors import ExportError
from exporter.job import Job


def test_the_first_case_is_traced() -> None:
    assert samples.job().traced.name == "traced"


def test_a_case_is_found_by_its_name() -> None:
    assert samples.job().case("sequence").sizes == {"batch": 2, "sequence": 19}


def test_a_case_that_is_not_there_is_named() -> None:
    with pytest.raises(ExportError, match="bert has no case 'sequenc'; nearest: sequence"):
        samples.job().case("sequenc")


def test_inputs_are_found_by_their_kind() -> None:
    assert [entry.name for entry in samples.job().of_kind("mask")] == ["attention_mask"]


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(TypeError, match="unheard_of"):
        samples.job(unheard_of=1)


@pytest.mark.parametrize("key", ["class", "generation", "seed"])
def test_a_missing_key_is_an_error(key: str) -> None:
    whole = {"class": "X", "generation": None, "seed": 0}
    del whole[key]
    with pytest.raises((KeyError, TypeError)):
        Job.from_json(whole | {"source": {"package": "p", "version": "1", "overlay": {}}} | _lists())


def _lists() -> dict[str, list[str]]:
    return {name: [] for name in ("cases", "inputs", "outputs", "half")}
