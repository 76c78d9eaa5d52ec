import pytest
import samples
import torch

from exporter.contract import check
from exporter.errors import ExportError

DIMS = {"vocabulary": 32}


def judge(logits: torch.Tensor, **changes: object) -> None:
    job = samples.job(outputs=[samples.LOGITS | changes])
    check(job, job.traced, DIMS, {"logits": logits})


def test_outputs_that_are_as_promised_pass() -> None:
    judge(torch.randn(2, 12, 32))


def test_another_shape_is_an_error_that_names_both() -> None:
    with pytest.raises(ExportError, match=r"\[batch=2, sequence=12, vocabulary=32\].*returned \[2, 11, 32\]"):
        judge(torch.randn(2, 11, 32))


def test_a_symbol_without_a_size_takes_one_size_and_keeps_it() -> None:
    judge(torch.randn(2, 5, 5), shape=["batch", "places", "places"])
    with pytest.raises(ExportError, match=r"promises logits"):
        judge(torch.randn(2, 5, 6), shape=["batch", "places", "places"])


def test_another_element_type_is_an_error() -> None:
    with pytest.raises(ExportError, match="as float32, BertForMaskedLM returned float64"):
        judge(torch.randn(2, 12, 32, dtype=torch.float64))


def test_values_that_are_not_finite_are_an_error() -> None:
    logits = torch.randn(2, 12, 32)
    logits[1, 3, 5] = torch.inf
    with pytest.raises(ExportError, match="logits is not finite at case traced"):
        judge(logits)


def test_one_number_throughout_is_an_error() -> None:
    with pytest.raises(ExportError, match="logits is constant at case traced"):
        judge(torch.ones(2, 12, 32))
