from exporter.trials import _longer, _multiples


def test_sizes_follow_the_number_that_the_class_asks_for() -> None:
    axes = {"frames": {"dynamic": [40, 56]}, "target": {"dynamic": [8, 13]}, "images": {"per": "batch"}}
    message = "expects `padded_feature_length` to be a multiple of `n_window * 2` (100), but got 40."
    assert _multiples(axes, message) == axes | {"frames": {"dynamic": [100, 200]}}
    plain = "height must be a multiple of 14"
    assert _multiples({"image": {"dynamic": [32, 48]}}, plain) == {"image": {"dynamic": [14, 28]}}


def test_a_complaint_without_a_number_or_sizes_without_a_choice_are_left_alone() -> None:
    assert _multiples({"frames": {"dynamic": [40, 56]}}, "sizes differ") is None
    assert _multiples({"sequence": {"dynamic": [12, 19]}}, "a multiple of 4") is None


def test_a_row_of_text_has_room_for_its_placeholders() -> None:
    axes = {"images": {"per": "batch"}}
    message = "16 placeholders do not fit a row of 12 tokens"
    assert _longer(axes, message) == axes | {"sequence": {"dynamic": [20, 27]}}
    assert _longer(axes, "sizes differ") is None
