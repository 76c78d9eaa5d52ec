from typing import Any

import pytest
import samples
import torch
from torch import Tensor

from exporter.errors import ExportError
from exporter.inputs import fill, padding_id, special_ids
from exporter.job import Case, Json

DIMS = {"vocabulary": 32}


def filled(padding: str = "right", sizes: dict[str, int] | None = None, **changes: Any) -> dict[str, Tensor]:
    job = samples.job(**changes)
    case = Case("traced", sizes or job.traced.sizes)
    return fill(job, samples.CONFIG, DIMS, case, padding)


def port(kind: str, shape: list[str | int], dtype: str = "float32", **fill: Any) -> Json:
    return {"name": kind, "dtype": dtype, "shape": shape, "fill": {"kind": kind, **fill}}


def test_values_depend_on_nothing_but_seed_case_and_name() -> None:
    alone, beside = filled(), filled(inputs=[port("normal", ["batch", 3]), samples.TOKENS, samples.MASK])
    assert torch.equal(alone["input_ids"], beside["input_ids"])
    assert not torch.equal(alone["input_ids"], filled(seed=1)["input_ids"])


@pytest.mark.parametrize(("padding", "place"), [("right", -1), ("left", 0)])
def test_the_first_row_is_whole_and_every_further_one_shorter(padding: str, place: int) -> None:
    mask = filled(padding, {"batch": 3, "sequence": 12})["attention_mask"]
    assert mask.sum(-1).tolist() == [12, 10, 8]
    assert mask[1:, place].tolist() == [0, 0]


def test_without_padding_every_position_is_real() -> None:
    assert filled("none")["attention_mask"].all()


def test_padded_places_hold_the_padding_token_and_real_ones_no_special_token() -> None:
    inputs = filled(sizes={"batch": 3, "sequence": 12})
    tokens, real = inputs["input_ids"], inputs["attention_mask"] == 1
    assert (tokens[~real] == samples.CONFIG.pad_token_id).all()
    assert not set(tokens[real].tolist()) & special_ids(samples.CONFIG)


def test_special_ids_are_found_in_inner_configs_and_lists() -> None:
    config = samples.config(eos_token_id=[2, 7], text_config={"image_token_index": 9}, unk_token_id=None)
    assert {0, 2, 7, 9} <= special_ids(config)
    assert None not in special_ids(config)


def test_a_config_without_padding_pads_with_zero() -> None:
    assert padding_id(samples.config(pad_token_id=None)) == 0
    assert padding_id(samples.config(pad_token_id=5)) == 5


def test_placeholders_stand_behind_the_first_real_token_of_every_row() -> None:
    job = samples.job(placeholders={"image_token_id": 3})
    config = samples.config(image_token_id=9)
    inputs = fill(job, config, DIMS, Case("traced", {"batch": 3, "sequence": 12}), "left")
    for tokens, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
        start = int(mask.argmax())
        assert tokens[start + 1 : start + 4].tolist() == [9, 9, 9]
        assert (tokens == 9).sum() == 3


def test_padding_never_cuts_a_placeholder() -> None:
    job = samples.job(placeholders={"image_token_id": 10})
    config = samples.config(image_token_id=9)
    inputs = fill(job, config, DIMS, Case("traced", {"batch": 8, "sequence": 12}), "right")
    held = (inputs["input_ids"] == 9) & (inputs["attention_mask"] == 1)
    assert held.sum(-1).tolist() == [10] * 8


def test_more_placeholders_than_a_row_has_room_for_are_an_error() -> None:
    job = samples.job(placeholders={"image_token_id": 12})
    config = samples.config(image_token_id=9)
    with pytest.raises(ExportError, match="12 placeholders do not fit a row of 12 tokens"):
        fill(job, config, DIMS, job.traced, "none")


def test_token_types_say_where_placeholders_stand() -> None:
    mm_token_type_ids = port("mm_token_type_ids", ["batch", "sequence"], "int64")
    job = samples.job(
        placeholders={"image_token_id": 3}, inputs=[samples.TOKENS, samples.MASK, mm_token_type_ids]
    )
    inputs = fill(job, samples.config(image_token_id=9), DIMS, job.traced, "right")
    assert torch.equal(inputs["mm_token_type_ids"] == 1, inputs["input_ids"] == 9)


def test_positions_count_real_tokens() -> None:
    positions = port("positions", ["batch", "sequence"], "int64")
    inputs = filled("left", inputs=[samples.TOKENS, samples.MASK, positions])
    assert inputs["positions"][1].tolist() == [0, 0, *range(10)]


def test_boxes_have_their_corners_in_order() -> None:
    boxes = filled(inputs=[port("boxes", ["batch", 5, 4], "int64")])["boxes"]
    assert (boxes[..., :2] <= boxes[..., 2:]).all()


def test_integers_stay_within_their_bounds() -> None:
    values = filled(inputs=[port("integers", ["batch", 100], "int64", low=3, high=6)])["integers"]
    assert set(values.unique().tolist()) == {3, 4, 5}


def test_a_grid_goes_row_by_row_and_fills_up_with_minus_one() -> None:
    grid = filled(inputs=[port("grid", [1, 5, 2], "int64", columns=2, rows=2)])["grid"]
    assert grid[0].tolist() == [[0, 0], [1, 0], [0, 1], [1, 1], [-1, -1]]


def test_a_grid_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ExportError, match="has 3 places, its grid 4"):
        filled(inputs=[port("grid", [1, 3, 2], "int64", columns=2, rows=2)])


def test_an_unknown_fill_and_an_unknown_size_are_errors() -> None:
    with pytest.raises(ExportError, match="'spirals' has an unknown fill 'spirals'"):
        filled(inputs=[port("spirals", ["batch"])])
    with pytest.raises(ExportError, match="no size for 'mels' of input 'normal'"):
        filled(inputs=[port("normal", ["batch", "mels"])])


def test_a_vocabulary_of_special_tokens_alone_is_an_error() -> None:
    job = samples.job()
    with pytest.raises(ExportError, match="no ordinary token in a vocabulary of 3"):
        fill(job, samples.CONFIG, {"vocabulary": 3}, job.traced, "right")


def test_a_text_ends_in_the_end_token_also_where_the_padding_is_the_same() -> None:
    """One end token in every row's real tokens, the last of them; what follows is hidden by the mask."""
    text = {**samples.TOKENS, "fill": {"kind": "text"}}
    job = samples.job(inputs=[text, samples.MASK])
    config = samples.config(pad_token_id=2, eos_token_id=2)
    inputs = fill(job, config, DIMS, Case("traced", {"batch": 3, "sequence": 12}), "right")
    for tokens, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
        real = tokens[mask == 1].tolist()
        assert (real[0], real[-1], real.count(2)) == (1, 2, 1)
        assert set(tokens[mask == 0].tolist()) <= {2}
