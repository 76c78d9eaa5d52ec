"""What a checkpoint is, and what is said of folders that nothing can be proved of."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from samples import BERT
from transformers import BertConfig, BertForSequenceClassification, BertModel

from exporter import checkpoint
from exporter.job import Json
from exporter.sentence import pooled

ENTRIES = [
    {"name": "bert", "class": "BertForMaskedLM", "task": "fill-mask"},
    {"name": "gte", "class": "BertModel", "task": "feature-extraction"},
]
SOURCE = {"package": "transformers", "version": transformers.__version__, "overlay": {}}
DIMS = {"vocabulary": ["vocab_size"], "hidden": ["hidden_size"]}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trunk as `save_pretrained` writes it, in shards."""
    folder = tmp_path_factory.mktemp("saved")
    BertModel(BertConfig(**BERT)).save_pretrained(folder, max_shard_size="2KB")
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """The same trunk in one file, to be spoilt."""
    target = tmp_path / "model"
    BertModel.from_pretrained(saved).save_pretrained(target)
    return target


def ask(path: Path | str, **request: Any) -> Json:
    usual = {
        "revision": None,
        "budget": None,
        "task": None,
        "source": SOURCE,
        "dims": DIMS,
        "entries": ENTRIES,
    }
    return checkpoint.answer({"checkpoint": str(path)} | usual | request)


def configured(**values: Any) -> Callable[[Path], None]:
    """Changes keys of config.json; None takes one out."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text()) | values
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    return change


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def written(name: str, value: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(json.dumps(value))


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return changed


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


BAD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no config": (without("config.json"), "has no config.json", "name the folder that"),
    "config is no JSON": (
        lambda folder: (folder / "config.json").write_text("{"),
        "config.json is no JSON",
        "copy the file again",
    ),
    "custom code": (
        configured(auto_map={"AutoModel": "modeling_own.OwnModel"}),
        "auto_map names modeling_own.OwnModel for AutoModel",
        "take auto_map out",
    ),
    "adapter": (
        written("adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "org/base"}),
        "an adapter (LORA) of org/base, not a whole model",
        "merge_and_unload",
    ),
    "gptq": (
        configured(quantization_config={"quant_method": "gptq", "bits": 4}),
        "quantised (gptq, 4 bits)",
        "certify the checkpoint that it was made from",
    ),
    "awq": (
        configured(quantization_config={"quant_method": "awq", "bits": 4}),
        "quantised (awq, 4 bits)",
        "made from",
    ),
    "bitsandbytes": (
        configured(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "quantised (bitsandbytes, 4 bits)",
        "made from",
    ),
    "unknown model type": (configured(model_type="berd"), "has no model type 'berd'; nearest: bert", "newer"),
    "no model type": (
        configured(model_type=None),
        "config.json names no model_type",
        "as transformers spells it",
    ),
    "no class": (
        configured(architectures=None),
        "config.json names no class under architectures",
        "--task: fill-mask",
    ),
    "unknown class": (
        configured(architectures=["BertModle"]),
        "has no model class 'BertModle'; nearest: BertModel",
        "under architectures",
    ),
    "class of another architecture": (
        configured(architectures=["RobertaModel"]),
        "config.json is of model type bert, and its class RobertaModel is of roberta",
        "agree",
    ),
    "several classes": (
        configured(architectures=["BertModel", "BertForMaskedLM"]),
        "config.json names several architectures: BertModel, BertForMaskedLM",
        "BertModel is for feature-extraction, BertForMaskedLM is for fill-mask",
    ),
    "class without a task": (
        configured(architectures=["BertForPreTraining"]),
        "BertForPreTraining is no class of a task",
        "name a class with a head",
    ),
    "head that the weights lack": (
        configured(architectures=["BertForSequenceClassification"]),
        "the checkpoint lacks 2 of the weights of BertForSequenceClassification, first classifier.bias",
        "name the class that the weights are of",
    ),
    "missing weight": (
        weights(lambda tensors: tensors.pop("pooler.dense.bias")),
        "the checkpoint lacks 1 of the weights of BertModel, first pooler.dense.bias",
        "save the whole model again",
    ),
    "wrong shape": (
        configured(intermediate_size=12),
        "3 of the weights have other shapes than config.json makes BertModel",
        "use the config.json that the weights were saved with",
    ),
    "truncated": (cut, "and should have", "was cut or changed on its way"),
    "empty file": (
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        "is no safetensors file: 0 bytes",
        "copy model.safetensors again",
    ),
    "damaged header": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\x04" + bytes(7) + b"{{{{" + bytes(9)),
        "the header of model.safetensors is damaged",
        "copy model.safetensors again",
    ),
    "no weights": (
        without("model.safetensors"),
        "no weights: neither model.safetensors nor",
        "save_pretrained",
    ),
    "pooling of a kind of its own": (
        lambda folder: sentence(folder, {"pooling_mode_lasttoken": True}),
        "pooling by lasttoken; known is one of mean, cls, max",
        "take modules.json out",
    ),
    "a module more": (
        lambda folder: sentence(folder, {"pooling_mode_cls_token": True}, "Dense"),
        "modules.json is made of Transformer, Pooling, Dense",
        "take modules.json out",
    ),
}


def sentence(folder: Path, pooling: Json, *more: str, path: str = "") -> None:
    """Makes a sentence-transformers folder of one."""
    kinds = ["Transformer", "Pooling", *more]
    paths = [path, "1_Pooling", *(f"{place}_{kind}" for place, kind in enumerate(more, 2))]
    modules = [
        {"idx": place, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_folder_is_told_by_what_is_wrong_with_it_and_what_to_do(name: str, folder: Path) -> None:
    spoil, why, advice = BAD[name]
    assert "found" in ask(folder), "nothing is wrong with the folder before"
    spoil(folder)
    said = ask(folder)
    assert why in said["refused"], said
    assert advice in said["advice"], said
    assert "\n" not in said["refused"] + said["advice"]


def test_a_missing_shard_is_named(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    shutil.copytree(saved, folder)
    assert len(ask(folder)["found"]["files"]) == 3
    gone = sorted(folder.glob("*.safetensors"))[1]
    gone.unlink()
    said = ask(folder)
    assert f"missing, first {gone.name}" in said["refused"]
    assert said["advice"].startswith(f"copy {gone.name} into")


def test_what_is_neither_a_folder_nor_a_repository_is_told_without_asking_a_hub(tmp_path: Path) -> None:
    assert ask(tmp_path / "nowhere")["refused"].startswith("there is no folder")
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    assert ask(file, scratch=str(tmp_path / "plain"))["refused"].startswith(
        "transformers does not read model.gguf"
    )
    file.write_bytes(b"GGML")
    assert ask(file)["refused"].endswith("is a file, neither a folder with a config.json nor GGUF")
    assert ask(tmp_path, revision="main")["advice"] == "leave --revision out"


def test_a_trunk_is_what_its_config_says(folder: Path) -> None:
    found = ask(folder)["found"]
    assert (found["class_name"], found["task"], found["near"]) == ("BertModel", "feature-extraction", "gte")
    assert found["dims"] == {"vocabulary": 32, "hidden": 8}
    assert found["positions"] == 16
    assert found["embedding"] is None
    assert {"config.json", "model.safetensors"} <= found["files"].keys()
    assert "token_type_ids" in found["takes"]


def test_a_head_without_an_entry_takes_the_inputs_of_its_architecture(tmp_path: Path) -> None:
    BertForSequenceClassification(BertConfig(**BERT)).save_pretrained(tmp_path)
    found = ask(tmp_path)["found"]
    assert (found["class_name"], found["task"]) == ("BertForSequenceClassification", "text-classification")
    assert found["near"] == "bert"


def test_several_classes_are_told_apart_by_their_task(folder: Path) -> None:
    configured(architectures=["BertModel", "BertForMaskedLM"])(folder)
    assert ask(folder, task="feature-extraction")["found"]["class_name"] == "BertModel"
    assert ask(folder, task="translation")["refused"].endswith("which are not for translation")


def test_another_class_than_the_config_names_is_not_loaded_for_a_task(folder: Path) -> None:
    said = ask(folder, task="fill-mask")
    assert said["refused"] == "config.json names BertModel, which is not for fill-mask"


def test_weights_without_a_place_are_told_and_do_no_harm(folder: Path) -> None:
    weights(lambda tensors: tensors.update({"cls.seq.weight": torch.ones(2, 2)}))(folder)
    assert ask(folder)["found"]["unexpected"] == ["cls.seq.weight"]


def test_weights_that_torch_saved_are_read(folder: Path) -> None:
    file = folder / "model.safetensors"
    torch.save(load_file(file), folder / "pytorch_model.bin")
    file.unlink()
    assert "pytorch_model.bin" in ask(folder)["found"]["files"]


def test_a_pickle_that_would_run_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"pooler.dense.bias": Bomb(tmp_path / "ran")}, folder / "pytorch_model.bin")
    assert "does not load these weights" in ask(folder)["refused"]
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_folder_of_sentence_transformers_has_its_pooling(folder: Path) -> None:
    sentence(folder, {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "Normalize")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    found = ask(folder)["found"]
    assert found["embedding"] == {"pooling": "mean", "normalised": True, "max_length": 12}
    assert "1_Pooling/config.json" in found["files"]


def test_the_transformer_of_a_sentence_folder_may_be_in_a_folder_of_its_own(
    folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "sentence"
    root.mkdir()
    folder.rename(root / "0_Transformer")
    sentence(root, {"pooling_mode_cls_token": True}, path="0_Transformer")
    found = ask(root)["found"]
    assert found["folder"] == str(root / "0_Transformer") and found["root"] == str(root)
    assert {"modules.json", "0_Transformer/model.safetensors", "0_Transformer/config.json"} <= found[
        "files"
    ].keys()


def test_poolings_read_real_positions_alone() -> None:
    hidden = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    expected = {"mean": [2.0, -3.0], "max": [3.0, -2.0], "cls": [1.0, -4.0]}
    assert {name: pooled(hidden, mask, name)[0].tolist() for name in expected} == expected


def test_the_positions_of_what_a_decoder_writes_bound_a_row() -> None:
    model: Any = torch.nn.Module()
    model.config = transformers.WhisperConfig(max_target_positions=60)
    assert checkpoint._positions(model) == 60
