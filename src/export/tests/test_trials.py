import pytest
import samples
import torch
from torch import Tensor, nn

from exporter.errors import ExportError
from exporter.job import Case
from exporter.trials import (
    _asked_for,
    _corrected,
    _drop_unread,
    _longer,
    _multiples,
    _own_outputs,
    _told,
    measure,
)


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


@pytest.mark.parametrize(
    "message",
    [
        "Image features and image tokens do not match, tokens: 16, features: 8",
        "features 8 do not match the image tokens",
    ],
)
def test_a_picture_has_as_many_placeholders_as_the_class_counts_features(message: str) -> None:
    draft = samples.draft("image-text-to-text", placeholders={"image_token_id": 8})
    assert _corrected(draft, {"image_token_id": 8}, message, Case("traced", {"batch": 2}))
    assert draft.placeholders == {"image_token_id": 4}


def test_outputs_are_those_of_the_task_that_the_class_has_or_else_its_own() -> None:
    draft = samples.draft("text-to-audio")
    own = {"logits": {"shape": ["batch", 4]}}
    assert _own_outputs(draft, {"waveform": None}, own) == {"waveform": None} | own
    assert _own_outputs(draft, {"logits": None}, own | {"states": {}}) == own


class _Asked(nn.Module):
    """Looks at pictures for what words say, and asks for them."""

    main_input_name = "pixel_values"
    config = samples.CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3)

    def forward(
        self, pixel_values: Tensor, input_ids: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        if input_ids is None:
            raise ValueError("pass either `input_ids` or `conditional_pixel_values`")
        assert not input_ids.is_floating_point()
        return {"logits": torch.rand(*input_ids.shape, 32)}


def test_boxes_go_in_where_the_class_asks_for_them() -> None:
    class Boxed(nn.Module):
        """Reads words at places."""

        config = samples.CONFIG

        def forward(self, input_ids: Tensor, bbox: Tensor | None = None) -> Tensor:
            return input_ids

    failure = ExportError("Boxed.forward: ValueError: You have to specify bbox")
    assert _asked_for(samples.draft(), Boxed(), [failure]) == set()
    failure.__cause__ = ValueError("You have to specify bbox")
    assert _asked_for(samples.draft(), Boxed(), [failure]) == {"bbox"}
    assert _asked_for(samples.draft(), samples.Reader(), [failure]) == set()


def test_what_the_class_asks_for_has_the_shape_that_it_documents() -> None:
    class Seeing(nn.Module):
        """Reads words beside features of a picture."""

        config = samples.CONFIG

        def forward(self, input_ids: Tensor, visual_feats: Tensor | None = None) -> Tensor:
            """Args: visual_feats (`torch.FloatTensor` of shape `(batch_size, num_features, hidden_size)`): seen."""
            return input_ids

    failure = ExportError("Seeing.forward: ValueError: `visual_feats` cannot be `None`")
    failure.__cause__ = ValueError("`visual_feats` cannot be `None`")
    port = {"shape": ["batch", "features", samples.CONFIG.hidden_size], "fill": "normal"}
    assert _told(Seeing(), _asked_for(samples.draft(), Seeing(), [failure])) == {"visual_feats": port}


def test_words_go_in_where_the_class_asks_for_them() -> None:
    pictures = {"name": "pixel_values", "dtype": "float32", "fill": {"kind": "normal"}}
    pictures["shape"] = ["batch", 2, "image", "image"]
    axes = {name: {"dynamic": sizes} for name, sizes in {"batch": [2, 3], "sequence": [12, 19]}.items()}
    base = {"axes": axes | {"image": {"dynamic": [8, 12]}}}
    draft = samples.draft(contract={"inputs": [pictures]}, base=base)
    measure(draft, _Asked(), {"dims": {"vocabulary": ["vocab_size"]}, "new_tokens": 16, "entries": []})
    shape = ["batch", "sequence"]
    assert draft.inputs["input_ids"] == {"shape": shape, "fill": "tokens"}
    assert draft.inputs["attention_mask"] == {"shape": shape, "fill": "mask"}


class _Masked(nn.Module):
    """Reads words, and where they are only if it is told to look."""

    config = samples.CONFIG

    def __init__(self, looks: bool) -> None:
        super().__init__()
        self.looks = looks

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        seen = input_ids * attention_mask if self.looks else input_ids
        return {"logits": seen[..., None].float().expand(*input_ids.shape, 32)}


@pytest.mark.parametrize(("looks", "without"), [(False, ["attention_mask"]), (True, [])])
def test_a_mask_that_no_output_depends_on_is_left_out(looks: bool, without: list[str]) -> None:
    draft = samples.draft()
    _drop_unread(draft, _Masked(looks), {"dims": {"vocabulary": ["vocab_size"]}, "new_tokens": 16})
    assert draft.without == without
