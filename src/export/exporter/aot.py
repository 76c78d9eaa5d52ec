"""Programs for the engine aot, made when they are asked for: `python -m exporter.aot`.

In: the request of `pt2`, with the kind of device in every job. Out: the same, where a program is the graph of `pt2`
compiled to machine code by AOTInductor: `program.aot.cpu.pt2`. A package runs on the kind of device, and on processors
with the instructions, that it was compiled for; it says both in its metadata, for whoever opens it.
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from . import graphed, program, pt2, weights
from .__main__ import own_stdout
from .errors import stage
from .job import Job, Json

# Whatever changes numbers is as users have it: nothing is folded or fused otherwise, and half precisions are widened to
# float32 between the operators that inductor fuses. Weights of at most eight numbers stay weights: neither they nor
# what is computed of one number become literals in the code. Only so can they be held to eager's. Loops have one
# thread, as this process has.
SETTINGS = {"always_keep_tensor_constants": True, "joint_graph_constant_folding": False}
# How Linux calls sets of instructions that compilers use where the processor has them (`-march=native`).
INSTRUCTIONS = (
    *("abm", "adx", "amx", "avx", "bmi", "f16c", "fma", "gfni", "movbe", "popcnt", "sse", "ssse"),
    *("asimd", "atomics", "bf16", "i8mm", "sve"),
)


def compiled(data: Json) -> None:
    """Makes the packages of a job."""
    device = data["device"]
    job = Job.from_json({name: value for name, value in data.items() if name != "device"})

    def write(whole: program.Program, graph: torch.export.ExportedProgram, path: Path) -> None:
        package(whole, graph, device, path)

    pt2.beside(job, f"aot.{device}.pt2", graphed.of_model, write)


def package(whole: program.Program, graph: torch.export.ExportedProgram, device: str, path: Path) -> None:
    """Compiles a program's graph for a device."""
    facts = {"weights": json.dumps(held(whole, graph)), "processor": processor()}
    with stage("torch._inductor.aoti_compile_and_package"):
        # Tensors on a device have its number, and the graph's own assertions compare it.
        graph = move_to_device_pass(graph, device if device == "cpu" else f"{device}:0")
        settings = SETTINGS | {"aot_inductor.metadata": facts}
        torch._inductor.aoti_compile_and_package(graph, package_path=str(path), inductor_configs=settings)


def held(whole: program.Program, graph: torch.export.ExportedProgram) -> dict[str, Json]:
    """What a package makes of each parameter and buffer.

    It has a tied one under the name that the graph reads it by, and none that nothing reads.
    """
    signature = graph.graph_signature
    inputs = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    read = {inputs[node.name] for node in graph.graph.nodes if node.name in inputs and node.users}
    state = (
        *whole.model.named_parameters(prefix="model", remove_duplicate=False),
        *whole.model.named_buffers(prefix="model", remove_duplicate=False),
    )
    digests = weights.digests(whole)
    return {
        name: {
            "is_parameter": isinstance(tensor, nn.Parameter),
            "shape": list(tensor.shape),
            "constant": next((other for other, same in state if same is tensor and other in read), None),
            "sha256": digests[name],
        }
        for name, tensor in whole.tensors()
    }


def processor() -> str:
    """The sets of instructions of this processor; empty where Linux does not list them."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    line = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return " ".join(word for word in line.partition(":")[2].split() if word.startswith(INSTRUCTIONS))


def main() -> None:
    """Keeps stdout for events, then makes packages."""
    events = own_stdout()
    from .runner import run  # only now: libraries print while they are imported

    run(json.load(sys.stdin), events, compiled)


if __name__ == "__main__":
    main()
