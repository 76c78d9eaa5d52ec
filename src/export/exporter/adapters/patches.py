"""What adapters are made of: ways to put one thing in another's place, and a note of whether that changed anything.

In: an owner, a name, and what stands there meanwhile. Out: a context after which everything is as it was. While an
adapter opens, its `Hold` is known here: what it puts in place tells it when it is used.
"""

import builtins
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..errors import ExportError, reason

# A module of upstream, whose attributes no type tells.
Upstream: TypeAlias = Any
Adapter = Callable[[Upstream], AbstractContextManager[None]]
# Which calls a replacement is for; it is given what the call is given.
Where = Callable[..., bool]


@dataclass
class Hold:
    """An adapter while it is open: whether it found what it is for, and whether it changed anything for this model.

    A function counts when it is called. A value cannot be seen being read: an adapter that places values alone
    counts as soon as it places one.
    """

    adapter: Adapter
    found: bool = False
    took: bool = False
    functions: int = 0
    values: int = 0

    @property
    def name(self) -> str:
        """The adapter's name, as the manifest has it."""
        return name_of(self.adapter)

    def described(self) -> dict[str, str]:
        """The adapter as the manifest lists it: its name, and the first line of its docstring."""
        return {"what": self.name, "why": first_line(self.adapter)}

    @property
    def active(self) -> bool:
        """Whether the model would have been traced differently without it."""
        return self.took or (self.values > 0 and self.functions == 0)


_opening: ContextVar[Hold | None] = ContextVar("_opening", default=None)


def name_of(function: Callable[..., Any]) -> str:
    """A function's name without the underscore of private ones."""
    return function.__name__.lstrip("_")


def first_line(function: Callable[..., Any]) -> str:
    """The first line of a docstring, which says what a function is for."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


@contextmanager
def held(hold: Hold, model: nn.Module) -> Iterator[None]:
    """The hold's adapter, open for that model.

    Raises:
        ExportError: it does not fit the class, with its name.
    """
    with ExitStack() as stack:
        token = _opening.set(hold)
        try:
            stack.enter_context(hold.adapter(model))
        except Exception as error:
            raise ExportError(f"adapter {hold.name}: {reason(error)}") from error
        finally:
            # What opens within the block belongs to no adapter any more.
            _opening.reset(token)
        yield


def took_hold(changed: bool = True) -> None:
    """Notes that the adapter that is being opened has found what it is for, where nothing is placed or hooked."""
    hold = _opening.get()
    if hold is not None:
        hold.found = True
        hold.took |= changed


def _noted(value: Any) -> Any:
    """The same value; functions, also those of a namespace, tell the adapter that is being opened of their use."""
    hold = _opening.get()
    if hold is None:
        return value
    hold.found = True
    if isinstance(value, staticmethod):
        return staticmethod(_noted(value.__func__))
    if isinstance(value, SimpleNamespace):
        return SimpleNamespace(**{name: _noted(part) for name, part in vars(value).items()})
    if not callable(value) or isinstance(value, type | nn.Module):
        hold.values += 1
        return value
    hold.functions += 1

    @functools.wraps(value)
    def noting(*args: Any, **named: Any) -> Any:
        hold.took = True
        return value(*args, **named)

    return noting


@contextmanager
def _placed(owner: object, name: str, value: Any) -> Iterator[None]:
    # Read from the dictionary: `getattr` would turn a static method into a plain function.
    own, original = name in vars(owner), vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


def _diverted(original: Callable[..., Any], value: Callable[..., Any], where: Where) -> Callable[..., Any]:
    """The value for the calls that `where` accepts, the original for all others."""
    noted = _noted(value)

    @functools.wraps(original)
    def either(*args: Any, **named: Any) -> Any:
        return (noted if where(*args, **named) else original)(*args, **named)

    return either


@contextmanager
def replaced(owner: object, name: str, value: Any, where: Where | None = None) -> Iterator[None]:
    """An attribute of a module, class or instance with another value while the block runs.

    It may be inherited: an instance's own attribute hides its class's. With `where`, a function is replaced for the
    calls that it accepts.

    Raises:
        ExportError: there is no such attribute, so that the replacement would be used by nobody.
    """
    if not hasattr(owner, name):
        raise ExportError(f"{_called(owner)} has no {name!r} to replace")
    value = _noted(value) if where is None else _diverted(getattr(owner, name), value, where)
    with _placed(owner, name, value):
        yield


@contextmanager
def shadowed(module: ModuleType, name: str, value: Any, where: Where | None = None) -> Iterator[None]:
    """A built-in name with another meaning in one module while the block runs; `where` is as in `replaced`.

    Raises:
        ExportError: there is no such built-in name, or the module has a meaning of its own for it.
    """
    if not hasattr(builtins, name) or name in vars(module):
        raise ExportError(f"{name!r} is no built-in name in {_called(module)}")
    value = _noted(value) if where is None else _diverted(getattr(builtins, name), value, where)
    with _placed(module, name, value):
        yield


@contextmanager
def registered(registry: Upstream, name: str, value: Callable[..., Any], where: Where) -> Iterator[None]:
    """A function of one of upstream's registries replaced, for the calls that `where` accepts, while the block runs."""
    original = registry[name]
    registry[name] = _diverted(original, value, where)
    try:
        yield
    finally:
        registry[name] = original


@contextmanager
def hooked(register: Callable[..., Any], hook: Callable[..., Any], **options: Any) -> Iterator[None]:
    """A hook of a module while the block runs; `register` is the module's method that takes it."""
    handle = register(_noted(hook), **options)
    try:
        yield
    finally:
        handle.remove()


def of_tensor(value: Any = None, *_: Any) -> bool:
    """Whether a call's first argument is a tensor: the `where` of built-in names that make numbers of sizes."""
    return isinstance(value, Tensor)


# What sizes are while `torch.export` runs a model; TorchScript's tracer makes tensors of them.
SYMBOLS = (torch.SymInt, torch.SymFloat)


def whole(size: Any) -> Any:
    """What `int` is to a size, as the tracer's own number."""
    return size.to(torch.int64) if isinstance(size, Tensor) else torch.sym_int(size)


def at_least(size: Any, floor: int) -> Any:
    """What `max` is to a size and a number, as the tracer's own number."""
    return torch.clamp(size, min=floor) if isinstance(size, Tensor) else torch.sym_max(size, floor)


def of_sizes(*values: Any) -> bool:
    """Whether the tracer's own numbers are among a call's arguments: the `where` of names that compare them."""
    return any(isinstance(value, (Tensor, *SYMBOLS)) for value in values)


def smaller(first: Any, second: Any) -> Any:
    """What `min` is to two numbers, as the tracer's own number."""
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        return torch.minimum(torch.as_tensor(first), torch.as_tensor(second))
    return torch.sym_min(first, second)


def _int_but_for(kinds: tuple[type, ...]) -> type:
    """The type `int`, but what is of these kinds stays what it is to the tracer."""
    kept = _noted(whole)

    class But(type):
        def __call__(cls, value: Any = 0, *rest: Any) -> Any:
            return kept(value) if isinstance(value, kinds) else builtins.int(value, *rest)

        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, builtins.int)

    return But("int", (), {})


@contextmanager
def whole_sizes(module: ModuleType, kinds: tuple[type, ...] = (Tensor, *SYMBOLS)) -> Iterator[None]:
    """While the block runs, `int` makes no constants of sizes in one module, as upstream's `torch_int` does not."""
    with shadowed(module, "int", _int_but_for(kinds)):
        yield


def rows_of(values: Tensor) -> Any:
    """What `len` is to a tensor, as the tracer's own number."""
    return values.shape[0]


def _called(owner: object) -> str:
    """What an owner of attributes is called in an error."""
    named = owner if isinstance(owner, type | ModuleType) else type(owner)
    return named.__name__


def module_of(model: nn.Module) -> ModuleType:
    """The Python module that defines a model's class."""
    return sys.modules[type(model).__module__]


def rewritten(function: Callable[..., Any], changes: dict[str, str], **names: Any) -> Callable[..., Any]:
    """A function of upstream with pieces of its text replaced, for one too long to be written anew.

    `changes` has a pattern for each piece, which must be found once; `names` is what the new pieces refer to.

    Raises:
        ExportError: a pattern is not found once.
    """
    plain = inspect.unwrap(function)
    text = textwrap.dedent(inspect.getsource(plain))
    text = text[text.index("def ") :]
    for pattern, piece in changes.items():
        text, found = re.subn(pattern, piece, text, flags=re.DOTALL)
        if found != 1:
            raise ExportError(f"{plain.__qualname__} has {found} places for {pattern!r}, not one")
    scope = vars(sys.modules[plain.__module__]) | names
    exec(text, scope)  # upstream's own text
    written: Callable[..., Any] = scope[plain.__name__]
    return written
