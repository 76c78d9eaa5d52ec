"""The steps of one job, in order.

In: a `Job`. Out: its artifact folder.
"""

import platform
import time
from collections.abc import Callable
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
    model,
    program,
    reference,
    situations,
    weights,
)
from .job import Job, Json
from .prepared import Prepared, prepared
from .situations import Situation

FORMAT = 3

# Situations beside those that a job's checks make: what they are depends on the model.
More = Callable[[Job, Prepared], list[Situation]]


def versions() -> dict[str, str]:
    """The versions that decide what an export contains."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def export(job: Job, more: More | None = None, widen: reference.Widen = reference.widened) -> None:
    """Builds the model, takes references from it, also in `more` situations, traces it, writes the artifact."""
    start = time.monotonic()
    ready = prepared(job)
    eager, served, dims = ready.eager, ready.served, ready.dims
    cases, traced = ready.cases, ready.traced
    changed = situations.situations(job, ready.config, dims, traced)
    changed += more(job, ready) if more else []
    models = reference.Models(eager, served, job, widen)
    tensors = reference.references(models, dims, cases, changed)
    # After the first runs, in which RWKV halves weights of its own; and before anything is traced: what an adapter did
    # to a weight would be in the digest too.
    stored = weights.stored(program.Program(eager, job))
    facts = decoder = decoding_facts = None
    if job.generation:
        generated, facts, written = generation.generate(eager, job, dims)
        tensors |= {f"generate/{name}": value for name, value in generated.items()}
        if job.decoded_tokens:
            decoder, decoding_facts = decoding.decoder(served, job, written)
    if decoder:
        tensors |= decoder.tensors | reference.row_references(models, "decode", decoder.row)

    with artifact.folder(Path(job.directory)) as folder:
        adapters: dict[str, dict[str, str]] = {}

        def save(whole: program.Program, inputs: program.Tensors, file: str) -> None:
            artifact.save_program(program.trace(whole, inputs), folder / file)
            adapters.update((note["what"], note) for note in whole.adapters)

        whole = program.Program(served, job)
        save(whole, traced, "program.pt")
        digests = {"float32": weights.held(whole, stored)}
        if served is not eager:
            plain = program.Program(eager, job)
            save(plain, traced, f"program.{model.EAGER}.pt")
            digests[model.EAGER] = weights.held(plain, stored)
        if decoder:
            for file, step, example in decoder.programs():
                save(step, example, file)
        for name in job.half:
            halved = reference.converted(served, getattr(torch, name))
            tensors |= reference.half_references(halved, job, traced)
            inputs = reference.cast(traced, getattr(torch, name))
            half = program.Program(halved, job)
            stored = weights.stored(half)
            save(half, inputs, f"program.{name}.pt")
            digests[name] = weights.held(half, stored)
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
            "adapters": list(adapters.values()),
            "differences": differences.applying(eager, job),
            "idle": weights.idle(eager, job, traced, reference.bounds(job, tensors)),
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
