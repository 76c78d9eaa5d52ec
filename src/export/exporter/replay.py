"""One run of a program in Python: `python -m exporter.replay program.pt inputs outputs`.

In: a TorchScript archive, or a graph that `torch.export.save` wrote (`.pt2`), and its inputs, as safetensors named 0,
1, … Out: what it returns, in the same form.
"""

import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn


def main() -> None:
    """Loads, runs, saves; one thread, as the exporter and the engine use."""
    program_path, inputs_path, outputs_path = sys.argv[1:]
    torch.set_num_threads(1)
    load = _graph if program_path.endswith(".pt2") else torch.jit.load
    program = load(program_path)
    inputs = load_file(inputs_path)
    with torch.no_grad():
        outputs = program(*(inputs[str(place)] for place in range(len(inputs))))
    kept = {str(place): value.clone().contiguous() for place, value in enumerate(outputs)}
    save_file(kept, outputs_path)


def _graph(path: str) -> nn.Module:
    """A graph, to be called like the module that it was made from."""
    return torch.export.load(path).module()


if __name__ == "__main__":
    main()
