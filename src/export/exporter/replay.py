"""A model's stored cases once more, in Python: `python -m exporter.replay artifacts/bert 2 1e-6`.

In: an artifact, and the numerical rule's factor and floor. Out: per case and output, how far Python's own run of `program.pt` is from the stored references.
Exit status 1 when the numerical rule fails: then the artifact is at fault, not the engine that runs it.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

ROW = "{:<16}{:<28}{:>12}{:>12}{:>12}  {}"


def main() -> None:
    """Runs every case and prints a table."""
    folder, k, floor = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    manifest = json.loads((folder / "manifest.json").read_text())
    tensors = load_file(folder / "cases.safetensors")
    torch.set_num_threads(1)
    program = torch.jit.load(folder / "program.pt")
    print(ROW.format("case", "output", "max abs", "error", "allowed", ""))
    agrees = True
    for case in (case["name"] for case in manifest["cases"]):
        inputs = [tensors[f"{case}/input/{name}"] for name in manifest["inputs"]]
        with torch.no_grad():
            outputs = program(*inputs)
        for name, output in zip(manifest["outputs"], outputs, strict=False):
            eager, exact = (
                tensors[f"{case}/{dtype}/{name}"].double()
                for dtype in ("float32", "float64")
            )
            error, allowed = (
                _rmse(output.double(), exact),
                k * _rmse(eager, exact) + floor * _rmse(exact, 0 * exact),
            )
            worst = (output.double() - exact).abs().max().item()
            agrees &= error <= allowed
            figures = (f"{value:.2e}" for value in (worst, error, allowed))
            print(
                ROW.format(
                    case, name, *figures, "agrees" if error <= allowed else "DIFFERS"
                )
            )
    sys.exit(not agrees)


def _rmse(value: Tensor, reference: Tensor) -> float:
    return (value - reference).square().mean().sqrt().item()


if __name__ == "__main__":
    main()
