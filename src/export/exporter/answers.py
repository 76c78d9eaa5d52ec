"""What Python makes of texts: `python -m exporter.answers`.

In: `{"root", "folder", "class", "task", "embedding", "positions", "corpus", "pairs", "samples", "new_tokens"}` on
stdin, each sample the texts of one answer. Out: one JSON object: how the folder's tokenizer pads and cuts (`rules`),
its ids, masks and type ids of the corpus and of pairs, and what is answered to the samples: by sentence-transformers
for its folders, for others by transformers' own pipelines where it has one. Or `{"none": why}`, where the folder has
no tokenizer that Rust could read.
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
# The task whose texts have a mask in the place of a word.
MASKED = "fill-mask"
# A tokenizer that sets no limit says a number that no row has.
ENDLESS = 1_000_000
# Where nothing sets a limit.
UNSAID = 512
# So many words are told for each mask, as the pipeline does.
TOP = 5
# The longest span of tokens that answers a question, as transformers' pipeline had it while there was one.
SPAN = 15
# What changes scores before the largest is taken, by the library's class → the field of the generation config that asks
# for it. An example does the same.
SETTLING = {
    "RepetitionPenaltyLogitsProcessor": "repetition_penalty",
    "NoRepeatNGramLogitsProcessor": "no_repeat_ngram_size",
    "MinNewTokensLengthLogitsProcessor": "min_new_tokens",
    "SuppressTokensLogitsProcessor": "suppress_tokens",
    "SuppressTokensAtBeginLogitsProcessor": "begin_suppress_tokens",
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
    samples = _samples(tokenizer, request)
    if not samples:
        return {"none": "the tokenizer has no mask, in whose place a word could be told"}
    with torch.no_grad():
        answers = [find(model, tokenizer, sample, rules | request) for sample in samples]
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
        "unk_id": tokenizer.unk_token_id,
        "mask_id": tokenizer.mask_token_id,
        "pads_left": tokenizer.padding_side == "left",
        "cuts_left": tokenizer.truncation_side == "left",
        "names": list(tokenizer.model_input_names),
        "notes": [*note, *_saved(folder)],
    } | _meanings(folder)


def _meanings(folder: Path) -> Json:
    """What a config says of outputs: labels, how they are scored, and the tokens that end a text."""
    config: Any = transformers.AutoConfig.from_pretrained(folder)
    try:
        generation = transformers.GenerationConfig.from_pretrained(folder)
    except OSError:
        generation = transformers.GenerationConfig.from_model_config(config)
    return meanings(config) | {"ends": ends_of(generation)}


def ends_of(generation: Any) -> list[int]:
    """Tokens that end a text."""
    ends: Any = generation.eos_token_id
    return ends if isinstance(ends, list) else [ends] if ends is not None else []


def meanings(config: Any) -> Json:
    """Labels in order, and what the pipelines make scores of logits by."""
    if config.problem_type == "regression":
        scoring = "none"
    elif config.problem_type == "multi_label_classification" or config.num_labels == 1:
        scoring = "sigmoid"
    else:
        scoring = "softmax"
    return {"labels": [config.id2label[place] for place in range(config.num_labels)], "scoring": scoring}


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


def _samples(tokenizer: Any, request: Json) -> list[list[str]]:
    """The texts of each answer, and once more the first with the tokenizer's own special tokens inside."""
    samples = request["samples"]
    if request["task"] == MASKED:
        if tokenizer.mask_token is None:
            return []
        samples = [[" ".join([*text.split()[:-1], tokenizer.mask_token])] for (text,) in samples]
    *others, last = samples[0]
    return [*samples, [*others, _interrupted(tokenizer, last)]]


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


def pipeline(task: str, model: Any, **parts: Any) -> Any:
    """The library's own way from an input to an answer, where the program runs, too."""
    make: Any = transformers.pipeline
    return make(task, model=model, device="cpu", **parts)


def _embedding(model: Any, tokenizer: Any, sample: list[str], request: Json) -> Json:
    return {"sentence_embedding": model.encode(sample, show_progress_bar=False)[0].tolist()}


def _label(model: Any, tokenizer: Any, sample: list[str], request: Json) -> Json:
    found = pipeline("text-classification", model, tokenizer=tokenizer)(*sample, top_k=None, **_cut(request))
    return labelled(found, request["labels"])


def labelled(found: list[Json], labels: list[str]) -> Json:
    """What a pipeline says of all labels, best first: the best, and the scores in the labels' own order."""
    scores = {one["label"]: one["score"] for one in found}
    return {"label": found[0]["label"], "scores": [scores[label] for label in labels]}


def _tags(model: Any, tokenizer: Any, sample: list[str], request: Json) -> Json:
    found = pipeline("token-classification", model, tokenizer=tokenizer)(*sample)
    return {"entities": [entity | {"score": float(entity["score"])} for entity in found]}


def _masks(model: Any, tokenizer: Any, sample: list[str], request: Json) -> Json:
    filled = pipeline("fill-mask", model, tokenizer=tokenizer)(
        *sample, top_k=TOP, tokenizer_kwargs=_cut(request)
    )
    # Of a text with one mask the pipeline says no list of masks.
    masks = filled if isinstance(filled[0], list) else [filled]
    told = ("token", "token_str", "score")
    return {"masks": [[{name: word[name] for name in told} for word in words] for words in masks]}


def _span(model: Any, tokenizer: Any, sample: list[str], request: Json) -> Json:
    """The likeliest span of the context, as transformers' pipeline found it while there was one."""
    question, context = sample
    inputs = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True, **_cut(request))
    offsets = inputs.pop("offset_mapping")[0].tolist()
    inside = [place for place, part in enumerate(inputs.sequence_ids(0)) if part == 1]
    outputs = model(**inputs)
    starts, ends = (logits[0, inside].softmax(-1) for logits in (outputs.start_logits, outputs.end_logits))
    joint = torch.outer(starts, ends).triu().tril(SPAN - 1)
    first, last = divmod(int(joint.argmax()), len(inside))
    start, end = offsets[inside[first]][0], offsets[inside[last]][1]
    return {"answer": context[start:end], "start": start, "end": end, "score": float(joint.max())}


def _cut(request: Json) -> Json:
    return {"truncation": True, "max_length": request["max_length"]}


def _text(model: Any, tokenizer: Any, sample: list[str], request: Json) -> Json:
    """Greedy decoding by the library, of what its pipeline takes of a tokenizer."""
    inputs = tokenizer(sample, padding=True, return_tensors="pt", **_cut(request))
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


# Task → what is answered to a sample; `embedding` for folders of sentence-transformers.
ANSWERS = {
    "embedding": _embedding,
    "fill-mask": _masks,
    "question-answering": _span,
    "text-classification": _label,
    "text-generation": _text,
    "token-classification": _tags,
}


if __name__ == "__main__":
    main()
