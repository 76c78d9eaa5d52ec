import samples
from torch import Tensor, nn

from exporter.ports import FLOATS, forms, placeholders, take_dims, take_inputs

DATA = {"dims": {"vocabulary": ["vocab_size"]}, "new_tokens": 16}


def test_inputs_that_forward_does_not_take_are_left_out_with_the_reason() -> None:
    types = {**samples.TOKENS, "name": "token_type_ids"}
    draft = samples.draft(contract={"inputs": [samples.TOKENS, types]})
    take_inputs(draft, samples.Reader())
    assert draft.without == ["token_type_ids"]
    assert draft.reasons == ["without token_type_ids: forward does not take them"]
    assert draft.inputs == {}


def test_a_class_that_sees_gets_pictures() -> None:
    draft = samples.draft()
    take_inputs(draft, samples.Viewer())
    assert draft.inputs == {"pixel_values": {"shape": FLOATS["pixel_values"][0], "fill": "normal"}}
    assert draft.without == ["input_ids", "attention_mask"]


def test_checks_whose_input_is_gone_are_left_out_with_the_reason() -> None:
    facts = {"grows": "input_ids", "mask": None, "positions": None, "logits": "logits"}
    draft = samples.draft(contract={"causal": "input_ids", "generation": facts})
    take_inputs(draft, samples.Viewer())
    assert draft.omit == {"causal": "forward takes no input_ids", "generates": "forward takes no input_ids"}


def test_pictures_are_tried_in_every_other_form() -> None:
    draft = samples.draft()
    take_inputs(draft, samples.Viewer())
    tried = [form["pixel_values"]["shape"] for form in forms(draft, samples.Viewer())]
    assert tried == FLOATS["pixel_values"]


def test_words_come_in_one_form() -> None:
    draft = samples.draft()
    assert list(forms(draft, samples.Reader())) == [{}]


def test_placeholders_are_tried_in_several_numbers_for_pictures_in_text_alone() -> None:
    reader = samples.Reader()
    reader.config = samples.config(image_token_id=9)
    assert placeholders(samples.draft(), reader) == [{}]
    held = placeholders(samples.draft("image-text-to-text"), reader)
    assert {"image_token_id": 16} in held
    assert all(one.keys() == {"image_token_id"} for one in held)


def test_channels_that_no_config_keeps_are_those_of_the_first_convolution() -> None:
    draft = samples.draft(contract={"outputs": []})
    take_inputs(draft, samples.Viewer())
    dims, reasons = take_dims(draft, samples.Viewer(), DATA)
    assert dims == {"channels": 2}
    assert reasons == ["dim channels: BertConfig has none; the first convolution takes 2"]


def test_a_size_under_a_name_of_its_own_is_found() -> None:
    output = {**samples.LOGITS, "shape": ["batch", "hidden"]}
    reader = samples.Reader()
    reader.config = samples.config(embed_dim=8)
    dims, reasons = take_dims(samples.draft(contract={"outputs": [output]}), reader, DATA)
    assert dims == {"hidden": ["embed_dim"]}
    assert reasons == ["dim hidden: embed_dim of BertConfig"]


def test_a_size_that_the_task_finds_is_not_looked_for() -> None:
    output = {**samples.LOGITS, "shape": ["batch", "hidden"]}
    known = {**DATA, "dims": {"hidden": ["hidden_size"]}}
    dims, _ = take_dims(samples.draft(contract={"outputs": [output]}), samples.Reader(), known)
    assert dims == {}


def test_a_model_without_convolutions_leaves_channels_open() -> None:
    class Blind(samples.Viewer):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Identity()

    draft = samples.draft(contract={"outputs": []})
    take_inputs(draft, Blind())
    assert take_dims(draft, Blind(), DATA) == ({}, [])


def test_a_placeholder_that_is_inherited_and_not_known_is_taken_away() -> None:
    reader = samples.Reader()
    reader.config = samples.config(image_token_id=9)
    draft = samples.draft("image-text-to-text", base={"placeholders": {"image_token_index": 4}})
    held = placeholders(draft, reader)[0]
    assert held == {"image_token_index": None, "image_token_id": 16}
    draft.placeholders = held
    assert draft.job(DATA).placeholders == {"image_token_id": 16}
    draft.base["placeholders"] = {"image_token_id": 4}
    assert placeholders(draft, reader) == [{}]


def test_a_vocabulary_is_looked_for_where_no_output_is_as_wide() -> None:
    reader = samples.Reader()
    reader.config = samples.config()
    reader.config.own_config = samples.config()
    contract = {"outputs": [{**samples.LOGITS, "shape": ["batch", 2]}]}
    data = {**DATA, "dims": {"vocabulary": ["text_config.vocab_size"]}}
    draft = samples.draft(contract=contract)
    dims, _ = take_dims(draft, reader, data)
    assert "vocabulary" not in dims
    reader.config.own_config.text_config = samples.config()
    dims, _ = take_dims(draft, reader, data)
    assert dims == {"vocabulary": ["own_config.text_config.vocab_size"]}


class _Patched(nn.Module):
    """Reads each picture as a list of flat patches."""

    main_input_name = "pixel_values"
    config = samples.CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding = nn.Linear(12, 4)

    def forward(self, pixel_values: Tensor, spatial_shapes: Tensor) -> Tensor:
        return self.patch_embedding(pixel_values)


def test_pictures_go_in_as_flat_patches_where_a_linear_layer_reads_them() -> None:
    draft = samples.draft()
    take_inputs(draft, _Patched())
    assert {
        "pixel_values": {"shape": ["batch", 16, 12], "fill": "normal"},
        "spatial_shapes": {"shape": ["batch", 2], "fill": {"values": [4, 4]}},
    } in list(forms(draft, _Patched()))


class _Listed(nn.Module):
    """Takes the patches under a name of their own."""

    main_input_name = "pixel_values"
    config = samples.CONFIG

    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding = nn.Linear(12, 4)

    def forward(self, image_patches: Tensor, pixel_values: Tensor | None = None) -> Tensor:
        return self.patch_embedding(image_patches)


def test_patches_that_have_a_name_of_their_own_stand_for_the_pictures() -> None:
    draft = samples.draft()
    form = {"pixel_values": None, "image_patches": {"shape": ["batch", 16, 12], "fill": "normal"}}
    assert form in list(forms(draft, _Listed()))
    draft.inputs = form
    assert "pixel_values" not in [port["name"] for port in draft.ports]
