import pytest

from exporter.errors import ExportError
from exporter.find import classes, classes_of, find, model_type, tasks
from exporter.job import Json
from exporter.kin import entries_like, entries_sized_like, folder_of, parts_of, sources, taken


@pytest.mark.parametrize("name", ["qwen3-vl", "qwen3_vl", "Qwen3VL"])
def test_a_name_may_have_any_spelling(name: str) -> None:
    assert model_type(name) == "qwen3_vl"


def test_an_architecture_is_known_for_the_first_task_that_it_has_a_class_for() -> None:
    found = find("bert", None, {})
    assert (found.task, found.class_name) == ("fill-mask", "BertForMaskedLM")
    assert found.checkpoint == "google-bert/bert-base-uncased"


def test_a_task_that_is_asked_for_counts() -> None:
    assert find("bert", "text-classification", {}).class_name == "BertForSequenceClassification"


def test_a_roster_row_lends_its_code_to_a_named_variant_and_corrects_the_checkpoint() -> None:
    found = find("my-variant", None, {"model_type": "llama", "checkpoint": "me/mine"})
    assert (found.model_type, found.class_name, found.checkpoint) == ("llama", "LlamaForCausalLM", "me/mine")


def test_a_name_that_nothing_has_is_an_error_with_the_nearest() -> None:
    with pytest.raises(ExportError, match=r"has no model type 'brt'; nearest: .*bert"):
        find("brt", None, {})


def test_a_task_without_a_class_is_an_error_with_those_that_have_one() -> None:
    with pytest.raises(
        ExportError, match=r"bert has no class for task depth-estimation; it has one for .*fill-mask"
    ):
        find("bert", "depth-estimation", {})


def row(model_type: str, class_name: str, task: str) -> dict[str, str | None]:
    """What the roster knows of a name."""
    return {"model_type": model_type, "class": class_name, "task": task}


def test_a_tower_that_takes_the_grid_of_its_pictures_sees() -> None:
    found = find("qwen3-vl-vision", None, row("qwen3_vl_vision", "Qwen3VLVisionModel", "feature-extraction"))
    assert found.task == "image-feature-extraction"
    language = row("qwen3_vl", "Qwen3VLModel", "feature-extraction")
    assert find("qwen3-vl", None, language).task == "feature-extraction"


def test_towers_for_text_and_pictures_are_for_scoring_whether_or_not_forward_has_their_loss() -> None:
    for name, class_name in (("aimv2", "Aimv2Model"), ("clip", "CLIPModel")):
        found = find(name, None, row(name, class_name, "feature-extraction"))
        assert found.task == "zero-shot-image-classification"


def test_a_type_that_is_a_config_alone_runs_what_the_roster_says() -> None:
    hint = row("vision-encoder-decoder", "VisionEncoderDecoderModel", "image-to-text")
    assert find("nougat", None, hint).class_name == "VisionEncoderDecoderModel"


def test_of_a_whole_without_a_forward_its_first_part_is_run() -> None:
    found = find("bark", None, row("bark", "BarkModel", "text-to-audio"))
    assert (found.class_name, found.task) == ("BarkSemanticModel", "text-generation")


def test_a_task_whose_auto_model_lacks_the_class_gives_way_to_one_that_has_it() -> None:
    hint = row("bart", "BartForConditionalGeneration", "table-question-answering")
    assert find("tapex", None, hint).task == "text2text-generation"


def test_base_models_serve_the_features_of_what_they_take() -> None:
    assert classes("vit", "image-feature-extraction") == ["ViTModel"]
    assert classes("vit", "feature-extraction") == []
    assert classes("bert", "feature-extraction") == ["BertModel"]


def test_classes_and_tasks_are_found_both_ways() -> None:
    assert "WhisperForConditionalGeneration" in classes_of("SPEECH_SEQ_2_SEQ")
    assert tasks("WhisperForConditionalGeneration") == {"automatic-speech-recognition"}


def test_kin_are_told_by_the_code_they_were_written_from() -> None:
    assert folder_of("MistralForCausalLM") == "mistral"
    assert folder_of("NoSuchClass") is None
    assert "llama" in sources("mistral")
    entries = [
        {"name": name, "class": class_name, "task": "text-generation"}
        for name, class_name in [("gpt2", "GPT2LMHeadModel"), ("llama", "LlamaForCausalLM")]
    ]
    assert [entry["name"] for entry in entries_like("MistralForCausalLM", entries)] == ["llama"]


@pytest.mark.parametrize(
    ("model_type", "class_name", "said", "task"),
    [
        ("clip", "CLIPModel", "feature-extraction", "zero-shot-image-classification"),
        ("clip_vision_model", "CLIPVisionModel", "feature-extraction", "image-feature-extraction"),
        ("encodec", "EncodecModel", "feature-extraction", "audio-to-audio"),
        ("qwen2_vl", "Qwen2VLForConditionalGeneration", "image-to-text", "image-text-to-text"),
        ("pix2struct", "Pix2StructForConditionalGeneration", "image-text-to-text", "image-to-text"),
        ("blip-2", "Blip2ForConditionalGeneration", "image-text-to-text", "image-text-to-text"),
        (
            "voxtral",
            "VoxtralForConditionalGeneration",
            "automatic-speech-recognition",
            "audio-text-to-text",
        ),
        (
            "whisper",
            "WhisperForConditionalGeneration",
            "automatic-speech-recognition",
            "automatic-speech-recognition",
        ),
        ("hubert", "HubertForCTC", "automatic-speech-recognition", "automatic-speech-recognition"),
    ],
)
def test_the_rosters_task_gives_way_to_what_the_class_takes_and_returns(
    model_type: str, class_name: str, said: str, task: str
) -> None:
    found = find(model_type, None, {"model_type": model_type, "class": class_name, "task": said})
    assert (found.task, found.class_name) == (task, class_name)


def test_entries_of_like_sizes_are_those_that_say_much_of_a_config_and_little_else() -> None:
    def entry(name: str, task: str = "text-generation", **config: int) -> Json:
        return {"name": name, "task": task, "base": {"config": {"hidden_size": 32} | config}}

    entries = [
        entry("half", head_dim=8),
        entry("whole", head_dim=8, intermediate_size=64),
        entry("other sizes", head_dim=16),
        entry("more besides", head_dim=8, number_of_experts=4),
        entry("other task", "fill-mask", head_dim=8),
    ]
    wanted = {"head_dim": 8, "intermediate_size": 64}
    found = entries_sized_like(wanted, "text-generation", {"hidden_size": 32}, entries)
    assert [entry["name"] for entry in found] == ["whole", "half"]


@pytest.mark.parametrize(
    ("name", "class_name", "task"),
    [
        ("bart-classification", "BartForSequenceClassification", "text-classification"),
        ("speecht5-tts", "SpeechT5ForTextToSpeech", "text-to-audio"),
        ("speecht5_tts", "SpeechT5ForTextToSpeech", "text-to-audio"),
    ],
)
def test_a_name_may_be_a_type_and_words_of_a_class_of_it(name: str, class_name: str, task: str) -> None:
    found = find(name, None, {})
    assert (found.class_name, found.task) == (class_name, task)
    assert found.reasons[0].endswith(f"the name says whose code {name} runs")


def test_words_that_no_class_of_the_type_has_are_no_name() -> None:
    with pytest.raises(ExportError, match="no model type 'bart-foo'"):
        find("bart-foo", None, {})


def test_what_a_forward_takes_is_read_off_its_code() -> None:
    assert {"input_ids", "attention_mask", "labels"} <= taken("BertForMaskedLM")
    assert "labels" not in taken("BertModel")
    assert taken("NoSuchClass") == frozenset()


def test_what_takes_the_same_is_like_a_class_behind_those_that_its_code_is_from() -> None:
    names = [("vit", "ViTForImageClassification"), ("beit", "BeitForImageClassification")]
    entries = [{"name": name, "class": class_name} for name, class_name in names]
    near = [entry["name"] for entry in entries_like("ViTMSNForImageClassification", entries)]
    assert near[0] == "vit"


def test_a_part_is_made_as_other_entries_make_it() -> None:
    small = {"hidden_size": 8}
    entries = [
        {"class": "MimiModel", "base": {"config": small}},
        {"class": "CLIPModel", "base": {"config": {"text_config": small, "vision_config": {}}}},
    ]
    assert parts_of("KyutaiSpeechToTextForConditionalGeneration", {}, entries)["codec_config"] == small
    assert parts_of("CLIPSegModel", {}, entries) == {}
    assert parts_of("CLIPModel", {}, entries) == {"text_config": small}
    assert parts_of("CLIPModel", {"text_config": {}}, entries) == {}
