"""The checks of this project's suite, in eager Python: a test a check and model, in one process after one import.

A check without a test here is one that eager Python has nothing to say to: `optimised` is about what libtorch makes of
a program.
"""

import copy
import hashlib
import itertools
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from conftest import Subject, rms
from exporter.contract import check as keeps_contract
from exporter.job import Case, Input
from exporter.program import Tensors
from torch import Tensor
from transformers import GenerationConfig

# How many times what the rule allows an output must change where an input did.
CLEARLY = 100.0
# Tokens of a chunk.
CHUNK = 5


def test_loads(subject: Subject) -> None:
    assert type(subject.model).__name__ == subject.job.class_name
    found = {**dict(subject.model.named_parameters()), **dict(subject.model.named_buffers())}
    shapes = {f"model.{name}": list(value.shape) for name, value in subject.model.named_parameters()}
    assert shapes == subject.manifest["parameters"]["tensors"]
    digests = {f"model.{name}": digest(value) for name, value in found.items()}
    assert digests == subject.manifest["digests"]["float32"]


def test_output_contract(subject: Subject) -> None:
    for case in subject.manifest["cases"]:
        outputs = subject.run(subject.inputs(case["name"]))
        keeps_contract(subject.job, Case(**case), dict(subject.manifest["dims"]), outputs)
        for port in subject.job.outputs:
            in_range(outputs[port.name], port.range, subject.manifest["dims"].get("vocabulary"))


def test_matches_reference(subject: Subject) -> None:
    subject.matches("traced")


def test_generalises(subject: Subject) -> None:
    for case in subject.manifest["cases"]:
        if case["name"] != "traced":
            subject.matches(case["name"])


def test_deterministic(subject: Subject) -> None:
    inputs = subject.inputs("traced")
    equal(subject.run(inputs), subject.run(inputs))


def test_batch_invariant(subject: Subject) -> None:
    exact = subject.outputs("traced")
    for one in subject.situations("row"):
        found, error = subject.run(subject.inputs(one["name"])), subject.outputs(one["name"], "error/float32")
        for port in subject.job.outputs:
            row = exact[port.name]
            for dim, symbol in enumerate(port.shape):
                if width := subject.job.rows.get(str(symbol)):
                    row = row.narrow(dim, one["row"] * width, width)
            subject.agrees(found[port.name], row, error[port.name])


def test_padding_invariant(subject: Subject) -> None:
    exact = subject.outputs("traced")
    for one in subject.situations("padding"):
        found, error = subject.run(subject.inputs(one["name"])), subject.outputs(one["name"], "error/float32")
        for port in subject.job.outputs:
            values = [found[port.name], error[port.name]]
            for dim, symbol in enumerate(port.shape):
                if symbol == one["axis"]:
                    length = values[0].shape[dim] - one["before"] - one["after"]
                    values = [value.narrow(dim, one["before"], length) for value in values]
            subject.agrees(values[0], exact[port.name], values[1])


def test_causal(subject: Subject) -> None:
    inputs, exact = subject.inputs("traced"), subject.outputs("traced")
    before = subject.run(inputs)
    for one in subject.situations("token"):
        changed, error = subject.inputs(one["name"]), subject.outputs(one["name"], "error/float32")
        after, name = subject.run(changed), one["input"]
        ends = (inputs[name] != changed[name]).int().argmax(1)
        axis = next(port for port in subject.job.inputs if port.name == name).shape[1]
        following = [port for port in subject.job.outputs if port.shape[1:2] == (axis,)]
        assert following
        for port in following:
            earlier = torch.arange(exact[port.name].shape[1]) < ends[:, None]
            keep = earlier.reshape(*earlier.shape, *[1] * (exact[port.name].ndim - 2))
            subject.agrees(after[port.name], exact[port.name], error[port.name], keep)
            rows = torch.arange(len(ends))
            moved = before[port.name][rows, ends] != after[port.name][rows, ends]
            assert moved.flatten(1).any(1).all()


def test_responsive(subject: Subject) -> None:
    inputs, exact = subject.inputs("traced"), subject.outputs("traced")
    error = subject.outputs("traced", "error/float32")
    before = subject.run(inputs)
    for port in subject.job.outputs:
        value = before[port.name]
        assert value.any()
        for dim, symbol in enumerate(port.shape):
            if symbol in subject.job.traced.sizes and value.shape[dim] > 1:
                assert not (value == value.narrow(dim, 0, 1)).all()
    seen = {name: ~value.isnan() for name, value in error.items()}
    limits = {name: subject.limit(exact[name][seen[name]], error[name][seen[name]]) for name in exact}
    for port in subject.job.inputs:
        if port.kind in ("values", "grid"):
            continue
        after = subject.run({**inputs, port.name: changed(port, inputs)})
        shares = [rms(after[name].double() - before[name].double()) / limits[name] for name in before]
        assert max(shares) >= CLEARLY, port.name


def test_every_parameter(subject: Subject) -> None:
    found = subject.manifest["idle"]
    assert [name for name in found if not any(fnmatchcase(name, excuse) for excuse in subject.idle)] == []


def test_reloads(subject: Subject, tmp_path: Path) -> None:
    subject.model.save_pretrained(tmp_path)
    reloaded = type(subject.model).from_pretrained(tmp_path, attn_implementation=subject.job.attention).eval()
    inputs = subject.inputs("traced")
    equal(subject.run(inputs), subject.run(inputs, reloaded))


def test_half(subject: Subject) -> None:
    for precision in subject.job.half:
        dtype = getattr(torch, precision)
        half = copy.deepcopy(subject.model).to(dtype)
        inputs = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in subject.inputs("traced").items()
        }
        found, error = subject.run(inputs, half), subject.outputs("traced", f"error/{precision}")
        for name, eager in subject.outputs("traced", precision).items():
            subject.agrees(found[name], eager, error[name])


def test_generates(subject: Subject) -> None:
    names, facts = subject.job.generation, subject.manifest["generation"]
    held = ("generate/input/", names.positions)
    prompts = {
        name.removeprefix(held[0]): value
        for name, value in subject.tensors.items()
        if name.startswith(held[0]) and not name.endswith(f"/{held[1]}")
    }
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=facts["new_tokens"],
        use_cache=True,
        eos_token_id=facts["eos"],
        pad_token_id=facts["pad"],
        decoder_start_token_id=facts["start"],
    )
    with torch.no_grad():
        tokens = subject.model.generate(**prompts, generation_config=config)
    expected = subject.tensors["generate/tokens"]
    assert torch.equal(tokens[:, -expected.shape[1] :], expected)


def test_decodes(subject: Subject) -> None:
    names, facts = subject.job.generation, subject.manifest["decoding"]
    row, written = subject.inputs("decode"), subject.tensors["decode/tokens"]
    exact, error = (subject.outputs("decode", kind)[names.logits] for kind in ("float64", "error/float32"))
    prompt, length = facts["prompt"], row[names.grows].shape[1]
    everyone, by_token = list(range(len(written))), [*range(prompt, length + 1)]
    first = max(-(-prompt // 2), CHUNK, facts["prefill"] or 0)
    chunks = [*range(first, length, CHUNK), length]
    ways = [([everyone], by_token), ([[one] for one in everyone], by_token), ([everyone], chunks)]
    for groups, ends in ways:
        for rows in groups:
            own = {name: value[rows] for name, value in row.items()}
            for start, end, logits in steps(subject, own, ends):
                subject.agrees(logits, exact[rows, start:end], error[rows, start:end])
                if end >= prompt:
                    assert torch.equal(logits[:, -1].argmax(-1), written[rows, end - prompt])


def steps(subject: Subject, row: Tensors, ends: list[int]) -> Iterator[tuple[int, int, Tensor]]:
    """Reads a row with the class's own cache, a step up to each end: where it began and ended, and its logits."""
    names, model = subject.job.generation, subject.model
    own = [name for name in (names.grows, names.mask, names.positions) if name]
    given = {name: value for name, value in row.items() if name not in own}
    cache = None
    with torch.no_grad():
        if names.grows == "decoder_input_ids":
            heard = {name: value for name, value in given.items() if name != "attention_mask"}
            reader, mask = model.get_encoder(), {k: v for k, v in given.items() if k == "attention_mask"}
            given = {"encoder_outputs": reader(**heard, **mask), **mask}
        for start, end in itertools.pairwise([0, *ends]):
            step = {names.grows: row[names.grows][:, start:end]}
            step |= {names.mask: row[names.mask][:, :end]} if names.mask else {}
            step |= {names.positions: row[names.positions][:, start:end]} if names.positions else {}
            made = model(**given, **step, past_key_values=cache, use_cache=True)
            cache = made.past_key_values
            yield start, end, getattr(made, names.logits)


def changed(port: Input, inputs: Tensors) -> Tensor:
    """An input with other values that are just as valid."""
    value = inputs[port.name].clone()
    match port.kind:
        case "tokens" | "text":
            return value.roll(1, -1)
        case "mask":
            value[..., 0] = 0
            return value
        case "positions":
            return value.max() - value
        case "integers":
            low, high = port.fill["low"], port.fill["high"]
            value[..., ::2] = (value[..., ::2] - low + 1) % (high - low) + low
            return value
        case "uniform":
            return 1 - value
        case "boxes":
            return value // 2
        case "ones":
            return value - 0.5 if value.is_floating_point() else 1 - value
        case _:
            return -value


def in_range(value: Tensor, expected: str, vocabulary: int | None) -> None:
    """What the task promises of an output's values."""
    assert value.isfinite().all()
    if expected == "unit":
        assert 0 <= value.min() <= value.max() <= 1
    elif expected == "normalised":
        assert (value.norm(dim=-1) - 1).abs().max() <= 1e-4
    elif expected == "token-ids":
        assert 0 <= value.min() <= value.max() < vocabulary


def equal(first: Tensors, second: Tensors) -> None:
    """The same bits."""
    for name, value in first.items():
        assert torch.equal(value, second[name])


def digest(value: Tensor) -> str:
    """The sha256 of a tensor's bytes."""
    flat = value.detach().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()
