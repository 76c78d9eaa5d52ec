"""Tiny checkpoints of every task that an example is written for: `python src/export/tests/checkpoints.py FOLDER`.

Out: a folder in it for each, as `save_pretrained` leaves it: random weights, large enough that answers differ, and a
tokenizer or processor. Weights of this kind are what the examples are tried on where no hub is in reach.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

TEXTS = (
    "The capital of France is Paris.",
    "A man is eating a piece of bread.",
    "I do not like this film at all: it is slow, and the end is silly.",
    "Gravity bends light; that was seen first in 1919.",
)
# Weights of this spread give answers that differ from text to text.
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}
POSITIONS = 64
ENTITIES = ("O", "B-PER", "I-PER")
THINGS = ("cat", "dog", "house", "tree")
LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ")


def labels(names: tuple[str, ...]) -> dict[str, Any]:
    """What a config says of labels."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}


def bpe(special: list[str], post: Any = None) -> Tokenizer:
    """A tokenizer that was trained on a few sentences."""
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    if post is not None:
        tokenizer.post_processor = post
    return tokenizer


def bert(folder: Path, class_name: str, **config: Any) -> None:
    """An encoder with a head."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe(special, processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))),
        **{f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")},
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    sizes = SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS}
    model = getattr(transformers, class_name)(transformers.BertConfig(**sizes, **config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def llama(folder: Path, **asked: Any) -> None:
    """A decoder whose generation config asks for that."""
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe(["<|end|>", "<|pad|>"]),
        eos_token="<|end|>",
        pad_token="<|pad|>",
        padding_side="left",
        model_max_length=2 * POSITIONS,
    )
    config = transformers.LlamaConfig(
        **SIZES,
        vocab_size=len(tokenizer),
        num_key_value_heads=2,
        max_position_embeddings=2 * POSITIONS,
        eos_token_id=0,
        bos_token_id=None,
        pad_token_id=1,
    )
    model = transformers.LlamaForCausalLM(config)
    model.generation_config.update(**asked)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def vit(folder: Path, processor: Any) -> None:
    """What says what is in a picture."""
    config = transformers.ViTConfig(**SIZES, image_size=64, patch_size=16, **labels(THINGS))
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def wav2vec2(folder: Path, class_name: str, **config: Any) -> None:
    """What listens."""
    sizes = SIZES | {"conv_dim": [32] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    whole = transformers.Wav2Vec2Config(
        **sizes,
        vocab_size=len(LETTERS),
        pad_token_id=0,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        **config,
    )
    getattr(transformers, class_name)(whole).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: place for place, letter in enumerate(LETTERS)}))
    transformers.Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)


def whisper(folder: Path, **asked: Any) -> None:
    """What writes down what it hears, as its generation config asks."""
    special = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        "<|en|>",
        "<|de|>",
        "<|transcribe|>",
        "<|notimestamps|>",
    ]
    # The last comes behind all words, as what marks times does behind it: tokens after that one are no words.
    known = json.loads(bpe(special[:-1]).to_str())["model"]
    tokenizer: Any = transformers.WhisperTokenizer(
        vocab=known["vocab"],
        merges=[tuple(merge) for merge in known["merges"]],
        additional_special_tokens=special[1:],
    )
    sizes = {f"{side}_{name}": SIZES[of] for side in ("encoder", "decoder") for name, of in ENCODED.items()}
    config = transformers.WhisperConfig(
        **sizes,
        d_model=SIZES["hidden_size"],
        init_std=SIZES["initializer_range"],
        vocab_size=len(tokenizer),
        num_mel_bins=16,
        max_source_positions=50,
        max_target_positions=POSITIONS,
        decoder_start_token_id=1,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0),
    )
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=1,
        no_timestamps_token_id=len(tokenizer) - 1,
        eos_token_id=0,
        pad_token_id=0,
        **asked,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(folder)


# Part of an encoder or a decoder → its size.
ENCODED = {
    "layers": "num_hidden_layers",
    "attention_heads": "num_attention_heads",
    "ffn_dim": "intermediate_size",
}
LANGUAGES: dict[str, Any] = {
    "is_multilingual": True,
    "lang_to_id": {"<|en|>": 2, "<|de|>": 3},
    "task": "transcribe",
}
LANGUAGES |= {"task_to_id": {"transcribe": 4}, "suppress_tokens": [9, 12], "begin_suppress_tokens": [0, 20]}
SQUARE = {"height": 64, "width": 64}
SETTLED: dict[str, Any] = {
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
    "suppress_tokens": [5, 9],
    "min_new_tokens": 4,
}
# Name → what makes its folder.
CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "labels": lambda folder: bert(folder, "BertForSequenceClassification", **labels(ENTITIES)),
    "entities": lambda folder: bert(folder, "BertForTokenClassification", **labels(ENTITIES)),
    "masks": lambda folder: bert(folder, "BertForMaskedLM"),
    "answers": lambda folder: bert(folder, "BertForQuestionAnswering"),
    "writer": llama,
    "settled": lambda folder: llama(folder, **SETTLED),
    "pictures": lambda folder: vit(folder, transformers.ViTImageProcessor(size=SQUARE)),
    "cropped": lambda folder: vit(
        folder,
        transformers.CLIPImageProcessor(size={"shortest_edge": 72}, crop_size=SQUARE),
    ),
    "shared": lambda folder: vit(
        folder,
        transformers.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.8),
    ),
    "letters": lambda folder: wav2vec2(folder, "Wav2Vec2ForCTC"),
    "speech": lambda folder: whisper(folder, is_multilingual=False),
    "languages": lambda folder: whisper(folder, **LANGUAGES),
    "sounds": lambda folder: wav2vec2(folder, "Wav2Vec2ForSequenceClassification", **labels(THINGS)),
}


def main() -> None:
    """Writes all of them."""
    (root,) = map(Path, sys.argv[1:])
    for name, make in CHECKPOINTS.items():
        torch.manual_seed(0)
        make(root / name)


if __name__ == "__main__":
    main()
