"""A GGUF file as a folder of plain weights.

In: the file, and a folder to write to. Out: what `save_pretrained` writes there of the model that transformers reads
from the file, in float32, and of its tokenizer. Whatever precision the file has, these weights are proved.
"""

from pathlib import Path
from typing import Any

import torch
import transformers

from .errors import reason
from .stored import Unusable

# What such a file begins with.
MAGIC = b"GGUF"


def is_packed(checkpoint: str) -> bool:
    """Whether a checkpoint is such a file."""
    path = Path(checkpoint)
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


def unpack(file: Path, folder: Path) -> Path:
    """Writes the folder; transformers' loader of such files is the reference for what is in them."""
    try:
        plain = transformers.GgufConfig(dequantize=True)
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, quantization_config=plain, dtype=torch.float32
        )
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:
        raise Unusable(
            f"transformers does not read {file.name}: {reason(error)}",
            "certify the checkpoint that it was made from",
        ) from error
    # What was read is plain; transformers remembers that the file was not, and would not save it.
    model.hf_quantizer = None
    vars(model.config).pop("quantization_config", None)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
