"""What torch says of TorchScript: `python -m exporter.deprecated`.

Out: a JSON list on stdout: each warning, `FutureWarning: …`, that the calls draw which this project makes of it.
"""

import io
import json
import warnings

import torch
from torch import nn

METHOD = "def answer(self) -> int:\n    return 1\n"


def warned() -> list[str]:
    """A module traced, given a method, saved, loaded and called, and one compiled from its source."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        traced = torch.jit.trace_module(nn.Linear(1, 1), {"forward": torch.zeros(1, 1)})
        traced.define(METHOD)
        archive = io.BytesIO()
        torch.jit.save(traced, archive)
        archive.seek(0)
        torch.jit.load(archive)(torch.zeros(1, 1))
        torch.jit.script(nn.ReLU())
    return sorted({f"{warning.category.__name__}: {warning.message}" for warning in caught})


if __name__ == "__main__":
    print(json.dumps(warned()))
