"""The files of a checkpoint, looked at before anything is loaded from them.

In: a folder. Out: its files, whose weights are whole, or an `Unusable` that says what is wrong with it and
what to do about that.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

from .artifact import sha256
from .job import Json

CONFIG = "config.json"
SAFE, SAFE_INDEX = "model.safetensors", "model.safetensors.index.json"
TORCH, TORCH_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
# What a model, its tokenizer or its processor is described by: all that a program needs beside its weights.
DESCRIBED = ("*.json", "*.txt", "*.model", "*.jinja")
# How long the header of a safetensors file may be, as the format says.
HEADER_MOST = 100_000_000


class Unusable(Exception):
    """A checkpoint that nothing can be proved of: why, in one line, and what to do about it."""

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why, advice)
        self.why, self.advice = why, advice


def config_of(folder: Path) -> Json:
    """The checkpoint's config, if it is one of plain weights for a class of transformers itself."""
    _no_adapter(folder)
    config = described(folder, CONFIG)
    if config is None:
        raise Unusable(
            f"{folder} has no {CONFIG}",
            "name the folder that `save_pretrained` wrote: it has config.json and weights",
        )
    _no_code(config)
    _no_quantisation(config)
    return config


def described(folder: Path, name: str) -> Json | None:
    """What a JSON file of the folder holds; None where there is no such file."""
    path = folder / name
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Unusable(
            f"{name} is no JSON: {error}", "copy the file again from where it came from"
        ) from error


def _no_adapter(folder: Path) -> None:
    adapter = described(folder, "adapter_config.json")
    if adapter is None:
        return
    kind, base = adapter.get("peft_type", "LoRA"), adapter.get("base_model_name_or_path", "its base model")
    raise Unusable(
        f"an adapter ({kind}) of {base}, not a whole model",
        "merge it first: PeftModel.from_pretrained(base, DIR).merge_and_unload().save_pretrained(MERGED), then "
        "certify MERGED",
    )


def _no_code(config: Json) -> None:
    custom = config.get("auto_map")
    if not custom:
        return
    name, path = next(iter(custom.items()))
    raise Unusable(
        f"its code is its own: auto_map names {path} for {name}, and no code of a checkpoint is run here",
        "if a class of transformers computes the same, take auto_map out of config.json and name that class under "
        "architectures",
    )


def _no_quantisation(config: Json) -> None:
    quantised = config.get("quantization_config")
    if not quantised:
        return
    method = quantised.get("quant_method", "an unnamed method")
    bits = quantised.get("bits") or (4 if quantised.get("load_in_4bit") else None)
    raise Unusable(
        f"quantised ({method}{f', {bits} bits' if bits else ''}): its weights are no float tensors",
        "certify the checkpoint that it was made from",
    )


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights: each is there, and each safetensors file is as long as its header says."""
    for index in (SAFE_INDEX, TORCH_INDEX):
        listed = described(folder, index)
        if listed is not None:
            files = [folder / name for name in sorted(set(listed.get("weight_map", {}).values()))]
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                raise Unusable(
                    f"{len(missing)} of {len(files)} shards that {index} lists are missing, first {missing[0]}",
                    f"copy {missing[0]} into {folder}",
                )
            break
    else:
        files = [folder / name for name in (SAFE, TORCH) if (folder / name).is_file()][:1]
    if not files:
        raise Unusable(
            f"no weights: neither {SAFE} nor {TORCH}, nor an index of shards",
            "save the model with save_pretrained",
        )
    for file in files:
        if file.suffix == ".safetensors":
            _whole(file)
    return files


def _whole(file: Path) -> None:
    """Whether a safetensors file is as long as its header says."""
    again = f"copy {file.name} again: the file was cut or changed on its way"
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(HEADER_MOST, size):
            raise Unusable(f"{file.name} is no safetensors file: {size} bytes without a header", again)
        try:
            header = json.loads(opened.read(length))
        except ValueError as error:
            raise Unusable(f"the header of {file.name} is damaged", again) from error
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise Unusable(f"{file.name} has {size} bytes and should have {expected}", again)


def digests(files: Iterator[Path], root: Path) -> dict[str, str]:
    """The sha256 of files, by their path below the root."""
    return {file.relative_to(root).as_posix(): sha256(file) for file in sorted(files)}


def descriptions(folder: Path) -> list[Path]:
    """The files beside the weights that say how to use them, those of parts (`1_Pooling/config.json`) included."""
    indices = {SAFE_INDEX, TORCH_INDEX}
    found = {file for pattern in DESCRIBED for file in [*folder.glob(pattern), *folder.glob(f"*/{pattern}")]}
    return [file for file in sorted(found) if file.name not in indices]
