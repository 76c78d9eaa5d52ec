import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import transformers

from exporter import package
from exporter.errors import ExportError
from exporter.find import find
from exporter.job import Source
from exporter.model import find_class

HERE = Path(__file__).parent


def source(name: str) -> Source:
    return Source(name, "0+0", {})


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path; what is imported from it is forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def acme(below: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The package of these tests, as if it were installed."""
    shutil.copytree(HERE / "acme", below / "acme")
    monkeypatch.setattr("exporter.model._check_version", lambda _: None)
    return source("acme")


def test_classes_of_a_package_are_found_whether_it_registers_them_or_not(acme: Source) -> None:
    assert package.adopt(acme) == ["acme", "acme-tagger"]
    model = find("Acme", None, {})
    assert (model.task, model.class_name) == ("text-generation", "AcmeForCausalLM")
    assert model.reasons[0] == "model type acme: acme has it"
    tagger = find("acme_tagger", None, {})
    assert (tagger.task, tagger.class_name) == ("token-classification", "AcmeTagger")
    built = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(
            "acme", hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9
        )
    )
    assert type(built).__name__ == "AcmeForCausalLM"
    # The package's `__init__` does not name it.
    assert find_class(acme, "AcmeForCausalLM").__name__ == "AcmeForCausalLM"


def test_a_model_type_that_a_package_lacks_is_told_with_those_it_has(acme: Source) -> None:
    with pytest.raises(ExportError, match="package acme has no model type 'bert'; it has: acme, acme-tagger"):
        package.check_asked(acme, "bert", package.adopt(acme))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(:\n", "importing broken.modeling_broken: SyntaxError"),
        ("import nowhere_to_be_found\n", "importing broken.modeling_broken: ModuleNotFoundError: No module"),
        ("x = 1\n", "package broken has no config class"),
    ],
)
def test_what_is_wrong_with_a_package_is_told_in_one_line(below: Path, text: str, told: str) -> None:
    (below / "broken").mkdir()
    (below / "broken" / "modeling_broken.py").write_text(text)
    with pytest.raises(ExportError, match=told):
        package.adopt(source("broken"))


def test_a_config_without_a_model_is_no_architecture(below: Path) -> None:
    (below / "lone").mkdir()
    (below / "lone" / "configuration_lone.py").write_text(
        "from transformers import PretrainedConfig\nclass LoneConfig(PretrainedConfig):\n    model_type = 'lone'\n"
    )
    assert package.adopt(source("lone")) == ["lone"]
    with pytest.raises(ExportError, match="lone has no class that transformers exports"):
        find("lone", None, {})


def test_a_package_that_is_not_there_is_told(below: Path) -> None:
    with pytest.raises(ExportError, match="importing gone: ModuleNotFoundError"):
        package.adopt(source("gone"))
