"""What Python makes of texts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from exporter import answers
from exporter.job import Json

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "one", "two", "three"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer of a few words, which keeps a truncation of its own."""
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(3)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", model_max_length=8
    ).save_pretrained(tmp_path)
    return tmp_path


def config(**changes: Any) -> BertConfig:
    sizes: Json = {"vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return BertConfig(**sizes | {"intermediate_size": 8, "max_position_embeddings": 16} | changes)


def ask(folder: Path, **request: Any) -> Json:
    asked: Json = {
        "folder": str(folder),
        "class": "BertModel",
        "task": "feature-extraction",
        "embedding": {"pooling": "mean", "normalised": True, "max_length": 5},
        "positions": 16,
        "corpus": ["one", "one two three one two three"],
        "pairs": [["one", "two"]],
        "samples": ["one two"],
        "new_tokens": 4,
    }
    return answers.answer(asked | request)


def test_an_embedding_is_made_by_the_published_recipe_and_files_that_differ_are_told(folder: Path) -> None:
    torch.manual_seed(0)
    model = BertModel(config()).eval()
    model.save_pretrained(folder)
    said = ask(folder)
    assert said["corpus"]["input_ids"] == [[2, 4, 3, 0, 0], [2, 4, 5, 6, 3]]
    assert said["corpus"]["attention_mask"] == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert said["rules"]["max_length"] == 5
    told = "\n".join(said["rules"]["notes"])
    assert "5 by sentence_bert_config.json, 8 by tokenizer_config.json, 16 by the model's positions" in told
    assert "tokenizer.json keeps truncation of its own" in told
    with torch.no_grad():
        hidden = model(torch.tensor([[2, 4, 5, 3]])).last_hidden_state
    expected = torch.nn.functional.normalize(hidden.mean(1))[0]
    assert torch.allclose(torch.tensor(said["answers"][0]["sentence_embedding"]), expected, atol=1e-6)


def test_labels_that_do_not_exclude_each_other_are_scored_each_by_itself(folder: Path) -> None:
    labels = {"id2label": {0: "good", 1: "bad"}, "label2id": {"good": 0, "bad": 1}}
    asked: Json = {"class": "BertForSequenceClassification", "task": "text-classification", "embedding": None}
    sums = {}
    for kind in ("single_label_classification", "multi_label_classification"):
        torch.manual_seed(0)
        BertForSequenceClassification(config(problem_type=kind, **labels)).save_pretrained(folder)
        said = ask(folder, **asked)
        assert said["rules"]["labels"] == ["good", "bad"]
        assert said["answers"][0]["label"] in labels["label2id"]
        sums[kind] = sum(said["answers"][0]["scores"])
    assert sums["single_label_classification"] == pytest.approx(1)
    assert sums["multi_label_classification"] != pytest.approx(1)


def test_a_folder_without_a_tokenizer_that_rust_reads_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config().to_dict()))
    assert ask(tmp_path) == {"none": "the folder has no tokenizer.json, which is what Rust reads"}
