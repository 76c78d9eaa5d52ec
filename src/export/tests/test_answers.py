"""What Python makes of texts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import CHECKPOINTS
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

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
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        model_max_length=8,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(tmp_path)
    return tmp_path


def config(**changes: Any) -> BertConfig:
    sizes: dict[str, Any] = {
        "vocab_size": 8,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    sizes |= {"intermediate_size": 8, "max_position_embeddings": 16} | changes
    return BertConfig(**sizes)


def ask(folder: Path, **request: Any) -> Json:
    asked: Json = {
        "root": str(folder),
        "folder": str(folder),
        "class": "BertForSequenceClassification",
        "task": "text-classification",
        "embedding": None,
        "positions": 16,
        "corpus": ["one", "one two three one two three one two three"],
        "pairs": [["one", "two"]],
        "samples": [["one two"]],
        "new_tokens": 4,
    }
    return answers.answer(asked | request)


def test_texts_are_cut_and_padded_as_python_does_whatever_tokenizer_json_keeps(folder: Path) -> None:
    BertForSequenceClassification(config()).save_pretrained(folder)
    said = ask(folder)
    assert said["corpus"]["input_ids"] == [[2, 4, 3, 0, 0, 0, 0, 0], [2, 4, 5, 6, 4, 5, 6, 3]]
    assert said["corpus"]["attention_mask"] == [[1, 1, 1, 0, 0, 0, 0, 0], [1] * 8]
    assert said["pairs"]["token_type_ids"] == [[0, 0, 0, 1, 1]]
    assert said["rules"]["notes"] == [
        "texts are cut to 8 tokens, as tokenizer_config.json says, which goes before: the model's positions says 16",
        "tokenizer.json keeps truncation of its own: Python sets them anew in each call, so does the example",
    ]


LIMITS: dict[str, tuple[list[Any], tuple[int, str]]] = {
    "the folder's own goes first": (
        [256, 512, 512],
        (
            256,
            "256 tokens, as sentence_bert_config.json says, which goes before: tokenizer_config.json says 512",
        ),
    ),
    "though another be smaller": ([256, 128, 512], (256, "tokenizer_config.json says 128")),
    "all say the same": ([512, 512, 512], (512, "")),
    "one says nothing": ([None, 128, 512], (128, "the model's positions says 512")),
    "a number that means nothing": ([None, 10**30, 512], (512, "")),
    "more than the model has": (
        [512, 512, 128],
        (128, "sentence_bert_config.json says 512, which the model fails at"),
    ),
    "nothing": ([None, None, None], (512, "nothing says how long a text may be")),
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_first_limit_that_python_asks_for_wins(name: str) -> None:
    limits, (expected, told) = LIMITS[name]
    names = ["sentence_bert_config.json", "tokenizer_config.json", "the model's positions"]
    limit, notes = answers.limit_of(dict(zip(names, limits, strict=True)), limits[2])
    assert limit == expected
    assert told in "".join(notes) if told else not notes


def test_labels_that_do_not_exclude_each_other_are_scored_each_by_itself(folder: Path) -> None:
    labels = {"id2label": {0: "good", 1: "bad"}, "label2id": {"good": 0, "bad": 1}}
    sums = {}
    for kind in ("single_label_classification", "multi_label_classification"):
        torch.manual_seed(0)
        BertForSequenceClassification(config(problem_type=kind, **labels)).save_pretrained(folder)
        said = ask(folder)
        assert said["rules"]["labels"] == ["good", "bad"]
        assert said["answers"][0]["label"] in labels["label2id"]
        sums[kind] = sum(said["answers"][0]["scores"])
    assert sums["single_label_classification"] == pytest.approx(1)
    assert sums["multi_label_classification"] != pytest.approx(1)


def written(folder: Path, **asked: Any) -> Json:
    """What a small model writes whose generation config asks for that."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 8,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(**sizes, intermediate_size=8, eos_token_id=None))
    model.generation_config.update(**asked)
    model.save_pretrained(folder)
    return ask(folder, **{"class": "LlamaForCausalLM", "task": "text-generation"})


def test_what_a_generation_config_asks_of_scores_is_told_and_what_is_for_sampling_alone_is_not(
    folder: Path,
) -> None:
    plain = written(folder, do_sample=True, temperature=0.5, top_k=3)
    assert plain["rules"]["greedy"] == {}
    first = plain["answers"][0]["tokens"][0]
    asked = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "suppress_tokens": [first]}
    said = written(folder, **asked)
    assert said["rules"]["greedy"] == asked
    assert first not in said["answers"][0]["tokens"]


def test_what_no_example_does_with_scores_is_named(folder: Path) -> None:
    said = written(folder, bad_words_ids=[[5, 6]])
    assert said == {
        "none": "generation_config.json asks for NoBadWordsLogitsProcessor, which no example does yet"
    }


def test_one_sample_has_the_tokenizers_own_special_tokens_inside(folder: Path) -> None:
    BertForSequenceClassification(config()).save_pretrained(folder)
    said = ask(folder)
    assert said["samples"] == [["one two"], ["one [UNK] [PAD] two"]]
    assert len(said["answers"]) == 2


def test_a_folder_without_a_tokenizer_that_rust_reads_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config().to_dict()))
    assert ask(tmp_path) == {"none": "the folder has no tokenizer.json, which is what Rust reads"}


def answered(folder: Path, name: str, task: str) -> Json:
    """What is said of a tiny checkpoint of that name."""
    torch.manual_seed(0)
    CHECKPOINTS[name](folder)
    question = ["what", "one two three one two three"]
    samples = [question if task == "question-answering" else question[1:]]
    config = json.loads((folder / "config.json").read_text())
    asked = {"class": config["architectures"][0], "task": task, "samples": samples, "positions": 64}
    return ask(folder, **asked)


def test_entities_are_told_where_they_stand_in_the_text(tmp_path: Path) -> None:
    said = answered(tmp_path, "entities", "token-classification")
    found = said["answers"][0]["entities"]
    assert found, "random weights leave some"
    assert {entity["entity"] for entity in found} <= {"B-PER", "I-PER"}, "what has no label is left out"
    text = said["samples"][0][0]
    # The tokenizer writes a space as U+0120.
    assert all(
        entity["word"].replace("\u0120", "") == text[entity["start"] : entity["end"]].strip()
        for entity in found
    )


def test_each_mask_has_its_likeliest_words(tmp_path: Path) -> None:
    said = answered(tmp_path, "masks", "fill-mask")
    assert said["samples"][0] == ["one two three one two [MASK]"]
    assert [len(answer["masks"]) for answer in said["answers"]] == [1, 2], (
        "the last sample has one inside, too"
    )
    scores = [word["score"] for word in said["answers"][0]["masks"][0]]
    assert len(scores) == answers.TOP and scores == sorted(scores, reverse=True)


def test_a_question_is_answered_by_a_part_of_its_context(tmp_path: Path) -> None:
    said = answered(tmp_path, "answers", "question-answering")
    for (_, context), found in zip(said["samples"], said["answers"], strict=True):
        assert found["answer"] == context[found["start"] : found["end"]] != ""
        assert 0 < found["score"] < 1


def test_a_number_is_no_label_and_keeps_its_size(folder: Path) -> None:
    BertForSequenceClassification(config(num_labels=1, problem_type="regression")).save_pretrained(folder)
    said = ask(folder)
    assert said["rules"]["scoring"] == "none"
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    tokens = {"input_ids": torch.tensor([[2, 4, 5, 3]])}
    assert said["answers"][0]["scores"] == pytest.approx(model(**tokens).logits[0].tolist())
