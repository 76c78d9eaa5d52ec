"""What Python makes of texts: `python -m exporter.answers`.

In: `{"root", "folder", "class", "task", "embedding", "positions", "corpus", "pairs", "samples", "new_tokens"}` on
stdin. Out: one JSON object: how the folder's tokenizer pads and cuts (`rules`), its ids, masks and types of the corpus
and of pairs, and what the model answers to the samples: by sentence-transformers for its folders, by transformers for
others. Or `{"none": why}`, where the folder has no tokenizer that Rust could read.
"""

import copy
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from .__main__ import own_stdout
from .job import Json
from .stored import described

TOKENIZER = "tokenizer.json"
# The task whose answers are written token by token.
WRITES = "text-generation"
# A tokenizer that sets no limit says a number that no row has.
ENDLESS = 1_000_000
# Where nothing sets a limit.
UNSAID = 512
# What changes scores before the largest is taken, by the library's class → the field of the generation config that asks
# for it. An example does the same.
SETTLING = {
    "RepetitionPenaltyLogitsProcessor": "repetition_penalty",
    "NoRepeatNGramLogitsProcessor": "no_repeat_ngram_size",
    "MinNewTokensLengthLogitsProcessor": "min_new_tokens",
    "SuppressTokensLogitsProcessor": "suppress_tokens",
}


def main() -> None:
    """Answers the one request."""
    answers = own_stdout()
    print(json.dumps(answer(json.load(sys.stdin))), file=answers, flush=True)


def answer(request: Json) -> Json:
    """Rules, encodings and answers; or why there are none."""
    folder = Path(request["folder"])
    if not (folder / TOKENIZER).is_file():
        return {"none": f"the folder has no {TOKENIZER}, which is what Rust reads"}
    model, tokenizer = (_sentences if request["embedding"] else _head)(request)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    rules = rules_of(tokenizer, folder, request)
    if request["task"] == WRITES:
        rules["greedy"], unknown = greedy_of(model)
        if unknown:
            return {
                "none": f"generation_config.json asks for {', '.join(unknown)}, which no example does yet"
            }
    find = ANSWERS["embedding" if request["embedding"] else request["task"]]
    left, right = zip(*request["pairs"], strict=True)
    samples = [*request["samples"], _interrupted(tokenizer, request["samples"][0])]
    with torch.no_grad():
        answers = [find(model, tokenizer, text, rules | request) for text in samples]
    return {
        "rules": rules,
        "samples": samples,
        "corpus": encoded(tokenizer, rules, request["corpus"]),
        "pairs": encoded(tokenizer, rules, list(left), list(right)),
        "answers": answers,
    }


def _head(request: Json) -> tuple[Any, Any]:
    """The model by its class, and its tokenizer, by transformers."""
    folder = request["folder"]
    model = getattr(transformers, request["class"]).from_pretrained(folder, dtype=torch.float32)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


def _sentences(request: Json) -> tuple[Any, Any]:
    """The whole of a sentence-transformers folder, by that library."""
    # Only now: it is there for such folders alone.
    library: Any = importlib.import_module("sentence_transformers")
    whole = {"device": "cpu", "model_kwargs": {"dtype": torch.float32}}
    model = library.SentenceTransformer(request["root"], **whole)
    return model, model.tokenizer


def encoded(tokenizer: Any, rules: Json, *texts: list[str]) -> Json:
    """Texts as rows of one batch, padded to its longest, cut to the limit."""
    batch = tokenizer(*texts, padding=True, truncation=True, max_length=rules["max_length"])
    return {name: batch[name] for name in tokenizer.model_input_names if name in batch}


def rules_of(tokenizer: Any, folder: Path, request: Json) -> Json:
    """How Python pads and cuts, and which file it has that from, where files say different things."""
    limit, note = limit_of(
        {
            "sentence_bert_config.json": (request["embedding"] or {}).get("max_length"),
            "tokenizer_config.json": (described(folder, "tokenizer_config.json") or {}).get(
                "model_max_length"
            ),
            "the model's positions": request["positions"],
        },
        request["positions"],
    )
    return {
        "max_length": limit,
        "pad_id": tokenizer.pad_token_id or 0,
        "pad_type_id": tokenizer.pad_token_type_id,
        "pad_token": tokenizer.pad_token or "",
        "pads_left": tokenizer.padding_side == "left",
        "cuts_left": tokenizer.truncation_side == "left",
        "names": list(tokenizer.model_input_names),
        "notes": [*note, *_saved(folder)],
    } | _meanings(folder)


def _meanings(folder: Path) -> Json:
    """What a config says of outputs: labels, whether each is scored by itself, and the tokens that end a text."""
    config: Any = transformers.AutoConfig.from_pretrained(folder)
    try:
        generation = transformers.GenerationConfig.from_pretrained(folder)
    except OSError:
        generation = transformers.GenerationConfig.from_model_config(config)
    ends: Any = generation.eos_token_id
    return {
        "labels": [config.id2label[place] for place in range(config.num_labels)],
        "scored_alone": config.num_labels == 1 or config.problem_type == "multi_label_classification",
        "ends": ends if isinstance(ends, list) else [ends] if ends is not None else [],
    }


def greedy_of(model: Any) -> tuple[Json, list[str]]:
    """What a checkpoint's generation config asks of scores in greedy decoding, by field; and what no example does.

    The library itself says which of its processors that config makes: none is forgotten.
    """
    config = copy.deepcopy(model.generation_config)
    config.update(do_sample=False, num_beams=1)
    model._prepare_special_tokens(config, kwargs_has_attention_mask=True, device=torch.device("cpu"))
    made = [type(processor).__name__ for processor in model._get_logits_processor(config, 1)]
    asked = {SETTLING[name]: getattr(config, SETTLING[name]) for name in made if name in SETTLING}
    unknown = [name for name in made if name not in SETTLING]
    return asked, [*unknown, *(["stop_strings"] if config.stop_strings else [])]


def _interrupted(tokenizer: Any, text: str) -> str:
    """A text with the tokenizer's own special tokens inside it."""
    words = text.split()
    special = list(dict.fromkeys(tokenizer.all_special_tokens))
    return " ".join([words[0], *special, *words[1:]])


def limit_of(said: dict[str, Any], positions: int | None) -> tuple[int, list[str]]:
    """How many tokens a text is cut to, by what says it, in the order in which Python asks; and what is worth a note.

    Python cuts to the first number, whatever the model can take: a longer text than that fails in it.
    """
    limits = {where: int(limit) for where, limit in said.items() if limit and limit < ENDLESS}
    if not limits:
        return UNSAID, [f"nothing says how long a text may be: it is cut to {UNSAID} tokens"]
    where, limit = next(iter(limits.items()))
    others = [f"{other} says {number}" for other, number in limits.items() if number != limit]
    if positions and limit > positions:
        return positions, [
            f"{where} says {limit}, which the model fails at: texts are cut to its {positions} positions"
        ]
    if others:
        return limit, [
            f"texts are cut to {limit} tokens, as {where} says, which goes before: {', '.join(others)}"
        ]
    return limit, []


def _saved(folder: Path) -> list[str]:
    """What tokenizer.json itself keeps of padding and truncation: Python's calls set both anew."""
    saved = described(folder, TOKENIZER) or {}
    kept = {name: saved.get(name) for name in ("truncation", "padding")}
    words = [name for name, value in kept.items() if value]
    if not words:
        return []
    return [
        f"{TOKENIZER} keeps {' and '.join(words)} of its own: Python sets them anew in each call, so does the example"
    ]


def _embedding(model: Any, tokenizer: Any, text: str, request: Json) -> Json:
    return {"sentence_embedding": model.encode([text], show_progress_bar=False)[0].tolist()}


def _label(model: Any, tokenizer: Any, text: str, request: Json) -> Json:
    """The pipeline's scores: how likely each label is, where they exclude each other; else each by itself."""
    logits = model(**_inputs(tokenizer, text, request)).logits[0]
    scores = logits.sigmoid() if request["scored_alone"] else logits.softmax(-1)
    return {"label": model.config.id2label[int(scores.argmax())], "scores": scores.tolist()}


def _text(model: Any, tokenizer: Any, text: str, request: Json) -> Json:
    """Greedy decoding by the library, of what its pipeline takes of a tokenizer."""
    inputs = _inputs(tokenizer, text, request)
    tokens = model.generate(
        inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        do_sample=False,
        num_beams=1,
        max_new_tokens=request["new_tokens"],
        pad_token_id=tokenizer.pad_token_id,
    )
    new = tokens[0, inputs["input_ids"].shape[1] :]
    return {"text": tokenizer.decode(new, skip_special_tokens=True), "tokens": new.tolist()}


def _inputs(tokenizer: Any, text: str, request: Json) -> Any:
    return tokenizer(
        [text], padding=True, truncation=True, max_length=request["max_length"], return_tensors="pt"
    )


# Task → what a model answers to a text; `embedding` for folders of sentence-transformers.
ANSWERS = {"embedding": _embedding, "text-classification": _label, "text-generation": _text}


if __name__ == "__main__":
    main()
