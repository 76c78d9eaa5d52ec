"""What the tables of calls hold."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

# A model and named inputs, to what stands for the outputs of its `forward`.
Call = Callable[..., Any]
# Named inputs, to those that follow from them.
Derive = Callable[[dict[str, Tensor]], dict[str, Tensor]]
# A model, an output and the length of the text, to the part of the output that the task promises.
View = Callable[[nn.Module, Tensor, int], Tensor]
