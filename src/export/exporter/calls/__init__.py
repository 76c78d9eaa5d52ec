"""How a model is called where its `forward` alone is not what it is used for.

In: a model and named inputs. Out: named outputs. Each call says what it adds to `forward` and where upstream does
the same; the eager references and the trace both go through it, and the class itself stays untouched. An entry's
inputs and outputs are those of its call. The tables' keys are names of classes, those of `VIEWS` model types.
"""

import inspect
from collections.abc import Mapping

from torch import Tensor

from ..adapters.patches import Upstream
from ..foreign import config_of
from . import pictures, series, sounds
from .kinds import Call, Derive, View

CALLS: dict[str, Call] = {**pictures.CALLS, **series.CALLS, **sounds.CALLS}
DERIVED: dict[str, Derive] = sounds.DERIVED
VIEWS: dict[str, View] = pictures.VIEWS


def forward_of(model: Upstream) -> Call:
    """The model itself, or the call that its class needs; without the model as an argument in both cases."""
    call = CALLS.get(type(model).__name__)
    return model if call is None else lambda **inputs: call(model, **inputs)


def parameters_of(model: Upstream) -> Mapping[str, inspect.Parameter]:
    """What `forward_of` takes by name."""
    call = CALLS.get(type(model).__name__)
    return inspect.signature(call or model.forward).parameters


def completed(model: Upstream, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs, and those that follow from them; a step is given no sounds, from which any would follow."""
    derive = DERIVED.get(type(model).__name__)
    return inputs if derive is None or sounds.HEARD not in inputs else inputs | derive(inputs)


def viewed(model: Upstream, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The outputs, without what they hold beyond the task's."""
    view = VIEWS.get(config_of(model).model_type)
    if view is None:
        return outputs
    length = inputs["input_ids"].shape[1]
    return {name: view(model, value, length) for name, value in outputs.items()}
