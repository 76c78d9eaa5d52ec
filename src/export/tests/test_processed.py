"""What Python's processors make of pictures and sounds."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from checkpoints import CHECKPOINTS
from safetensors.torch import load_file

from exporter import processed
from exporter.job import Json
from exporter.stored import Unusable


def ask(folder: Path, name: str, class_name: str, task: str) -> Json:
    """What is said of a tiny checkpoint of that name."""
    torch.manual_seed(0)
    CHECKPOINTS[name](folder)
    return processed.answer(
        {"folder": str(folder), "class": class_name, "task": task, "scratch": str(folder)}
    )


def test_a_picture_is_answered_with_labels_and_stored_as_the_model_is_given_it(tmp_path: Path) -> None:
    said = ask(tmp_path, "cropped", "ViTForImageClassification", "image-classification")
    assert said["steps"]["resize"] == {"shortest_edge": 72}
    assert (said["steps"]["crop"], said["steps"]["filter"]) == ([64, 64], "CatmullRom")
    stored = load_file(tmp_path / "python.safetensors")
    assert {tuple(value.shape) for value in stored.values()} == {(1, 3, 64, 64)}
    assert len(stored) == len(said["samples"]) == len(said["answers"])
    # Of one colour, whatever the size: it comes out as the steps say.
    plain = next(place for place, (path,) in enumerate(said["samples"]) if path.endswith("plain.png"))
    mean, std = said["steps"]["mean"][0], said["steps"]["std"][0]
    assert stored[str(plain)][0, 0, 0, 0].item() == pytest.approx((200 - mean) / std)
    assert all(sum(answer["scores"]) == pytest.approx(1) for answer in said["answers"])


def test_what_was_said_is_spelled_without_blanks(tmp_path: Path) -> None:
    said = ask(tmp_path, "letters", "Wav2Vec2ForCTC", "automatic-speech-recognition")
    assert said["steps"]["letters"][:6] == ["", "<s>", "</s>", "<unk>", " ", "E"]
    assert all(set(answer) == {"text"} and "<pad>" not in answer["text"] for answer in said["answers"])
    assert any(answer["text"] for answer in said["answers"])
    stored = load_file(tmp_path / "python.safetensors")
    assert all(value.mean().abs() < 1e-3 for value in stored.values()), "it is normalised"


REFUSED: dict[str, tuple[Any, str]] = {
    "a step of its own": (
        transformers.PoolFormerImageProcessor,
        "PoolFormerImageProcessor has a step _preprocess of its own",
    ),
    "two crops": (
        lambda: transformers.ConvNextImageProcessor(do_center_crop=True),
        "ConvNextImageProcessor crops twice",
    ),
    "padding": (lambda: transformers.ViTImageProcessor(do_pad=True), "pads pictures"),
    "two edges": (
        lambda: transformers.ViTImageProcessor(size={"shortest_edge": 64, "longest_edge": 128}),
        "resizes to {'longest_edge': 128, 'shortest_edge': 64}",
    ),
    "a crop that may be larger": (
        lambda: transformers.CLIPImageProcessor(size={"shortest_edge": 32}),
        "crops to [224, 224] what may be smaller",
    ),
    "a filter without a name": (lambda: transformers.ViTImageProcessor(resample=0), "resizes by filter 0"),
}


def test_a_share_of_a_picture_is_a_crop_of_a_larger_one_and_large_pictures_are_taken_whole() -> None:
    def steps(edge: int) -> tuple[Json, list[int] | None]:
        found = processed.picture_steps(
            transformers.ConvNextImageProcessor(size={"shortest_edge": edge}, crop_pct=0.8)
        )
        return found["resize"], found["crop"]

    assert steps(64) == ({"shortest_edge": 80}, [64, 64])
    assert steps(384) == ({"height": 384, "width": 384}, None)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_example_does_to_a_picture_is_named(name: str) -> None:
    make, why = REFUSED[name]
    with pytest.raises(processed.NotPlain) as told:
        processed.picture_steps(make())
    assert why in str(told.value) and str(told.value).endswith("which no example does yet")


def test_numbers_have_the_defaults_that_the_folder_leaves_out(tmp_path: Path) -> None:
    assert processed.numbers(tmp_path) is None
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "CLIPImageProcessor"}')
    found = processed.numbers(tmp_path)
    assert found is not None
    assert (found["class"], found["crop_size"]) == ("CLIPImageProcessor", {"height": 224, "width": 224})
    assert found["image_mean"] == pytest.approx([0.48145466, 0.4578275, 0.40821073])
    (tmp_path / "preprocessor_config.json").write_text(
        '{"feature_extractor_type": "Wav2Vec2FeatureExtractor"}'
    )
    found = processed.numbers(tmp_path)
    assert found is not None
    assert found["sampling_rate"] == 16000


def test_a_processor_that_does_not_load_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "NoSuchProcessor"}')
    with pytest.raises(Unusable, match="transformers does not load the processor of") as told:
        processed.numbers(tmp_path)
    assert "or take preprocessor_config.json out of the folder" in told.value.advice
