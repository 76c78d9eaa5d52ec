"""What adapters are made of: replacements that take hold of something, and a note of whether they did."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import ModuleType
from typing import Any

import pytest
import samples
from torch import nn, ones
from transformers import BertModel

from exporter import adapters
from exporter.adapters.patches import Hold, held, hooked, of_tensor, replaced, rows_of, shadowed
from exporter.errors import ExportError


class Layer(nn.Module):
    """Doubles."""

    factor = 2

    def forward(self, value: Any) -> Any:
        """Twice the value."""
        return value * self.factor


def test_what_does_not_exist_cannot_be_replaced() -> None:
    with (
        pytest.raises(ExportError, match="Layer has no 'backward_pass' to replace"),
        replaced(Layer, "backward_pass", None),
    ):
        pass


def test_an_instance_may_hide_what_its_class_has() -> None:
    layer = Layer()
    with replaced(layer, "forward", lambda value: value):
        assert layer(1) == 1
    assert layer(1) == 2
    assert "forward" not in vars(layer)


def test_a_static_method_is_put_back_as_one() -> None:
    class Owner:
        @staticmethod
        def one() -> int:
            return 1

    with replaced(Owner, "one", staticmethod(lambda: 2)):
        assert Owner().one() == 2
    assert Owner().one() == 1


def test_only_built_in_names_are_shadowed() -> None:
    module = ModuleType("somewhere")
    with shadowed(module, "len", rows_of, of_tensor):
        assert (module.len(ones(3, 2)), module.len("four")) == (3, 4)
        with (
            pytest.raises(ExportError, match="'len' is no built-in name in somewhere"),
            shadowed(module, "len", 1),
        ):
            pass
    assert not hasattr(module, "len")
    with pytest.raises(ExportError, match="'longest' is no built-in name"), shadowed(module, "longest", max):
        pass


def active(adapter: Any, *values: Any) -> bool:
    """Whether an adapter is active once its model has run on these values."""
    hold, layer = Hold(adapter), Layer()
    with held(hold, layer):
        for value in values:
            layer(value)
    return hold.active


def _triples(layer: Any) -> AbstractContextManager[None]:
    """Three times the value.

    And more words.
    """
    return replaced(layer, "forward", lambda value: 3 * value)


def test_a_function_counts_once_it_is_called() -> None:
    assert active(_triples, 1)
    assert not active(_triples)


def test_a_function_counts_only_for_the_calls_that_it_is_for() -> None:
    def adapter(layer: Any) -> AbstractContextManager[None]:
        return replaced(layer, "forward", lambda value: value, lambda value: value < 0)

    assert active(adapter, 1, -1)
    assert not active(adapter, 1)


def test_a_hook_counts_once_it_is_called() -> None:
    def adapter(layer: Any) -> AbstractContextManager[None]:
        return hooked(layer.register_forward_hook, lambda _module, _given, made: made)

    assert active(adapter, 1)
    assert not active(adapter)


def test_a_value_counts_as_soon_as_it_is_placed() -> None:
    assert active(lambda layer: replaced(layer, "factor", 3))


def test_an_adapter_that_places_nothing_is_not_active() -> None:
    @contextmanager
    def adapter(_layer: Any) -> Iterator[None]:
        yield

    assert not active(adapter, 1)


def test_what_is_replaced_while_the_model_runs_belongs_to_no_adapter() -> None:
    hold, layer = Hold(_triples), Layer()
    with held(hold, layer), replaced(layer, "factor", 3):
        pass
    assert not hold.active


def test_an_adapter_is_described_by_its_first_line() -> None:
    assert Hold(_triples).described() == {"what": "triples", "why": "Three times the value."}


def test_an_adapter_that_does_not_fit_is_named() -> None:
    """Whatever it stumbles over: an attribute that is gone, or an error of its own."""

    def _replaces_what_is_gone(model: nn.Module) -> AbstractContextManager[None]:
        return replaced(model, "backward_pass", None)

    def _stumbles(_model: nn.Module) -> AbstractContextManager[None]:
        raise KeyError("size")

    for adapter, told in [
        (_replaces_what_is_gone, "adapter replaces_what_is_gone: Layer has no 'backward_pass' to replace"),
        (_stumbles, "adapter stumbles: KeyError: 'size'"),
    ]:
        with pytest.raises(ExportError) as raised, held(Hold(adapter), Layer()):
            pass
        assert str(raised.value) == told


def test_an_adapter_that_finds_nothing_to_replace_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def _looks_for_layers(model: nn.Module) -> Iterator[None]:
        with ExitStack() as stack:
            for layer in model.modules():
                if hasattr(layer, "factor"):
                    stack.enter_context(replaced(layer, "factor", 3))
            yield

    monkeypatch.setitem(adapters.ADAPTERS, "bert", [_looks_for_layers])
    model = BertModel(samples.CONFIG)
    told = "adapter looks_for_layers: BertModel has nothing for it to replace"
    with pytest.raises(ExportError, match=told), adapters.adapted(model):
        pass
    layer = Layer()
    model.add_module("doubling", layer)
    with adapters.adapted(model):
        assert layer(1) == 3
    # What all models have to do with need not be in each.
    with adapters.adapted(model, without="looks_for_layers"):
        pass
