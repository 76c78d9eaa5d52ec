"""The weights of a program: their bits, and whether each of them matters.

In: an eager model. Out: a digest of every parameter and buffer, and the parameters that move no output.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from .job import Job
from .program import Program, Tensors, evaluate, run
from .reference import fresh
from .rule import Bound, size

# What a parameter is disturbed by, as a share of its own size: a tenth, and where that shows nothing, all of it.
STEPS = (0.1, 1.0)
# A gradient that promises a change of so many times the allowed error is taken at its word.
CERTAIN = 10.0


def stored(program: Program) -> dict[str, str]:
    """The digests of what a checkpoint holds of a model: parameters, and buffers that are saved with them."""
    names = {f"model.{name}" for name in program.model.state_dict()}
    return {name: digest for name, digest in digests(program).items() if name in names}


def held(program: Program, eager: dict[str, str]) -> dict[str, str]:
    """What the weights of a program are held to: eager's digests, taken before anything was traced.

    Of buffers that no checkpoint holds its own: classes compute them, and change them as they run (rotary frequencies
    by the length of a row).
    """
    return {name: eager.get(name, digest) for name, digest in digests(program).items()}


def digests(program: Program) -> dict[str, str]:
    """The sha256 of the bytes of every parameter and buffer."""
    return {name: hashlib.sha256(_bytes(value)).hexdigest() for name, value in sorted(program.tensors())}


def _bytes(value: Tensor) -> bytes:
    return value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def idle(model: nn.Module, job: Job, inputs: Tensors, bounds: dict[str, Bound]) -> list[str]:
    """Parameters whose disturbance moves no output, where it is compared, by more than the allowed rmse.

    One backward pass finds nearly all that do: with outputs weighted at random and in units of their limit, the
    length of a parameter's gradient times a disturbance is the change to expect. The others are disturbed one by one,
    but those that the pass did not reach at all are first disturbed together: most have no part in the outputs.
    """
    gradients = _gradients(fresh(model), job, inputs, bounds)
    with torch.no_grad():
        doubtful = {
            name: parameter
            for name, parameter in model.named_parameters()
            if not STEPS[0] * _size(parameter) * gradients.get(name, 0.0) >= CERTAIN
        }
        if not doubtful:
            return []
        before, _ = evaluate(fresh(model), job, inputs, [])

        def move(names: list[str]) -> bool:
            return any(
                _moves(model, job, inputs, [doubtful[name] for name in names], step, before, bounds)
                for step in STEPS
            )

        unreached = _still([name for name in doubtful if name not in gradients], move)
        # Each by itself: one of them may hide another, as a bias does what comes before a ReLU.
        return [name for name in doubtful if name in unreached or (name in gradients and not move([name]))]


def _still(names: list[str], move: Callable[[list[str]], bool]) -> list[str]:
    """Those that do not `move` an output: all where they do not together, else those of each half."""
    if not names or not move(names):
        return names
    middle = len(names) // 2
    return _still(names[:middle], move) + _still(names[middle:], move) if middle else []


def _gradients(model: nn.Module, job: Job, inputs: Tensors, bounds: dict[str, Bound]) -> dict[str, float]:
    """The length of every parameter's gradient; empty where the model has no way back."""
    model.requires_grad_(True)
    try:
        torch.manual_seed(job.seed)
        with torch.enable_grad():
            outputs, _ = run(model, job, inputs, [])
            total = torch.zeros(())
            for name, value in outputs.items():
                if value.requires_grad:
                    compared = value[bounds[name].compared]
                    weights = torch.randn(compared.shape, generator=torch.Generator().manual_seed(job.seed))
                    total = total + (weights * compared).sum() / (
                        bounds[name].limit * compared.numel() ** 0.5
                    )
            if total.requires_grad:
                total.backward()
    except Exception:  # noqa: BLE001  whatever a class says of its way back, every parameter is then disturbed by itself
        return {}
    finally:
        model.requires_grad_(False)
    lengths = {
        name: parameter.grad.norm().item()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    model.zero_grad()
    return lengths


def _moves(
    model: nn.Module,
    job: Job,
    inputs: Tensors,
    parameters: list[nn.Parameter],
    step: float,
    before: Tensors,
    bounds: dict[str, Bound],
) -> bool:
    with ExitStack() as disturbed:
        for parameter in parameters:
            disturbed.enter_context(_disturbed(parameter, step))
        after, _ = evaluate(fresh(model), job, inputs, [])
    return any(
        after[name].shape != value.shape or bounds[name].exceeded(bounds[name].distance(value, after[name]))
        for name, value in before.items()
    )


@contextmanager
def _disturbed(parameter: nn.Parameter, step: float) -> Iterator[None]:
    kept = parameter.detach().clone()
    noise = torch.randn(kept.shape, generator=torch.Generator().manual_seed(0))
    parameter.add_((step * _size(kept) * noise).to(kept.dtype))
    try:
        yield
    finally:
        parameter.copy_(kept)


def _size(parameter: Tensor) -> float:
    """Root mean square; 1 where all is zero."""
    return size(parameter) or 1.0
