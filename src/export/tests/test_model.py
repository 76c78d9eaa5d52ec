import pytest
import transformers

from exporter.errors import ExportError
from exporter.job import Source
from exporter.model import find_class


def source(package: str, version: str) -> Source:
    return Source(package, version, {})


def test_a_class_is_found_in_the_version_that_is_pinned() -> None:
    assert find_class(source("transformers", transformers.__version__), "BertModel") is transformers.BertModel


def test_a_package_in_another_version_than_the_pin_is_refused() -> None:
    with pytest.raises(
        ExportError, match=r"has \d.* of transformers, spec/versions.yaml pins 1.0.0; run: just setup"
    ):
        find_class(source("transformers", "1.0.0"), "BertModel")


def test_a_package_that_is_not_there_is_refused() -> None:
    with pytest.raises(ExportError, match="has no version of no-such-package"):
        find_class(source("no-such-package", "1.0.0"), "BertModel")
