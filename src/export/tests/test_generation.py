import torch

from exporter.generation import LATE, late_token


def test_a_token_that_is_first_seen_late_can_end_the_text() -> None:
    row = [*range(LATE), 90, 91]
    assert late_token(torch.tensor([row, [0] * len(row)])) == 90


def test_a_token_that_another_row_had_before_cannot() -> None:
    early = [90, *range(1, LATE)]
    late = [0] * LATE
    assert late_token(torch.tensor([[*early, 3], [*late, 90]])) is None


def test_a_text_that_repeats_itself_has_no_end() -> None:
    assert late_token(torch.zeros(2, LATE + 5, dtype=torch.int64)) is None
