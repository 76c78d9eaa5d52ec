"""The steps of one job, in order.

In: a `Job`. Out: its artifact folder.
"""

import platform
import time
from dataclasses import asdict
from pathlib import Path

import torch
import transformers
from torch import nn

from . import (
    artifact,
    attention,
    decoding,
    differences,
    faults,
    generation,
    inputs,
    model,
    program,
    reference,
    situations,
    weights,
)
from .job import Job, Json

FORMAT = 3


def versions() -> dict[str, str]:
    """The versions that decide what an export contains."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def export(job: Job) -> None:
    """Builds the model, takes references from it, traces it, writes the artifact."""
    start = time.monotonic()
    eager = model.build(job)
    faults.prepare(job, eager)
    program.check_inputs(eager, job)
    config = model.config_of(eager)
    dims = model.resolve_dims(job, config)
    cases = {case.name: inputs.fill(job, config, dims, case, job.padding) for case in job.cases}
    traced = cases[job.traced.name]
    if job.weights == "random":
        model.settle(eager, lambda: program.evaluate(eager, job, traced, []))
    changed = situations.situations(job, config, dims, traced)
    served = attention.served(job, eager, traced, faults.prepare)
    models = reference.Models(eager, served, job)
    tensors = reference.references(models, dims, cases, changed)
    facts = decoder = decoding_facts = None
    if job.generation:
        generated, facts, written = generation.generate(eager, job, dims)
        tensors |= {f"generate/{name}": value for name, value in generated.items()}
        if job.decoded_tokens:
            decoder, decoding_facts = decoding.decoder(served, job, written)
    if decoder:
        tensors |= decoder.tensors | reference.row_references(models, "decode", decoder.row)

    with artifact.folder(Path(job.directory)) as folder:
        whole = program.Program(served, job)
        artifact.save_program(program.trace(whole, traced), folder / "program.pt")
        if served is not eager:
            plain = program.Program(eager, job)
            artifact.save_program(program.trace(plain, traced), folder / f"program.{model.EAGER}.pt")
        if decoder:
            step = program.trace(decoding.Step(decoder), decoder.example())
            artifact.save_program(step, folder / program.DECODE)
        digests = {"float32": weights.digests(whole)}
        for name in job.half:
            halved = reference.converted(served, getattr(torch, name))
            tensors |= reference.half_references(halved, job, traced)
            half = program.Program(halved, job)
            script = program.trace(half, reference.cast(traced, getattr(torch, name)))
            artifact.save_program(script, folder / f"program.{name}.pt")
            digests[name] = weights.digests(half)
        layers = program.find_layers(eager, job, traced)
        if job.fault:
            for name, faulty in faults.plant(job, eager, served, layers, cases, decoder).items():
                artifact.save_program(faulty, folder / name)
        artifact.save_tensors(tensors, folder / "cases.safetensors")
        manifest = _manifest(job, whole, dims) | {
            "situations": [{"name": one.name, **one.facts} for one in changed],
            "attention": attention.names(job, served, eager),
            "layers": layers,
            "generation": facts,
            "decoding": decoding_facts,
            "digests": digests,
            "adapters": whole.adapters,
            "differences": differences.applying(eager, job),
            "idle": weights.idle(eager, job, traced, reference.limits(job, tensors)),
            "seconds": round(time.monotonic() - start, 3),
        }
        artifact.save_manifest(manifest, folder / "manifest.json")


def _manifest(job: Job, whole: program.Program, dims: dict[str, int]) -> Json:
    eager = whole.model
    parameters = {name: value for name, value in whole.tensors() if isinstance(value, nn.Parameter)}
    model_type = model.config_of(eager).model_type
    return {
        "format": FORMAT,
        "key": f"{job.key}-{job.code.get(model_type, job.code[''])}",
        "model": job.model,
        "task": job.task,
        "class": type(eager).__name__,
        "module": type(eager).__module__,
        "model_type": model_type,
        "model_types": model.model_types(eager),
        "checkpoint": job.checkpoint,
        "weights": job.weights,
        "seed": job.seed,
        "versions": versions() | {job.source.package: job.source.version},
        "dims": dims,
        "cases": [asdict(case) for case in job.cases],
        "inputs": [entry.name for entry in job.inputs],
        "outputs": [entry.name for entry in job.outputs],
        "parameters": {
            "count": sum(tensor.numel() for tensor in parameters.values()),
            "tensors": {name: list(tensor.shape) for name, tensor in parameters.items()},
        },
    }
