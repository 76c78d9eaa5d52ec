"""How far rounding may move an eager output: the yardstick of the numerical rule.

In: an eager run. Out: the same run on a processor that rounds otherwise.

IEEE 754 fixes sums, products, quotients and square roots of two numbers to the last bit on every machine. Kernels
differ in sums of many terms, whose order and intermediate precision are theirs to choose, and in functions that no
standard fixes. A `Disturbed` run changes exactly these:

- A sum of n terms is computed from terms that are off by √n · u, up or down at random, u = 2⁻²⁴. That is what n
  roundings in any order come to with high probability, put into the terms (Higham and Mary, "A new approach to
  probabilistic rounding error analysis", SIAM J. Sci. Comput. 41(5), 2019, theorem 3.1). A product of one term is
  exact.
- A function's values are off by 2 · u, one unit in the last place, which is what vector libraries promise (SLEEF's
  `u10`: 1.0 ULP).
- Whole numbers stay: sums of them are exact in any order, and masks are made of them.

In half precision kernels sum in float32 and round once, so operands are widened, disturbed as float32, and the result
is rounded back: most elements stay what they were, some change by one unit in the last place. Where a bias follows a
product, engines are free to round between the two (TorchScript's optimiser does), so the disturbed run does. One in two
draws rounds the square root in `rsqrt` as well, as kernels without vectors do.

This is stochastic arithmetic (Monte Carlo arithmetic; Parker 1997) where processors really differ: it measures how the
model's own conditioning passes rounding on, and no luck of one processor's kernels is in it.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map, tree_map_only

from .choices import Watched, ranks

UNIT = 2.0**-24
HALVES = (torch.bfloat16, torch.float16)
# Random signs; a run reads them from a place of its own, round and round.
POOL = 1 << 20


class Sum(NamedTuple):
    """A sum within an operator: which operand to disturb, and how many terms it has, given the arguments."""

    operand: int
    terms: Callable[[Any], float]


def _inner(arguments: Any) -> float:
    return arguments[0].shape[-1]


def _inner_of_second(arguments: Any) -> float:
    return arguments[1].shape[-1]


def _keys(arguments: Any) -> float:
    return arguments[1].shape[-2]


def _fan_in(arguments: Any) -> float:
    weight, is_transposed, groups = arguments[1], arguments[6], arguments[8]
    return weight[:, 0].numel() / groups if is_transposed else weight[0].numel()


def _along(arguments: Any) -> float:
    return arguments[0].shape[arguments[1]] if arguments[0].ndim else 1


def _reduced(arguments: Any) -> float:
    """All terms at most; how many go into one result is seen from the result (`Disturbed._run`)."""
    return arguments[0].numel()


def _layer(arguments: Any) -> float:
    return math.prod(arguments[1])


def _group(arguments: Any) -> float:
    return arguments[0][0].numel() / arguments[6]


def _butterflies(arguments: Any) -> float:
    """A fast Fourier transform adds as often as its length has binary digits."""
    return math.log2(max(arguments[0].shape[-1], 2))


SUMS: dict[str, tuple[Sum, ...]] = {
    "mm": (Sum(1, _inner),),
    "bmm": (Sum(1, _inner),),
    "mv": (Sum(1, _inner),),
    "dot": (Sum(1, _inner),),
    "addmm": (Sum(2, _inner_of_second),),
    "baddbmm": (Sum(2, _inner_of_second),),
    "addmv": (Sum(2, _inner_of_second),),
    "convolution": (Sum(1, _fan_in),),
    "_softmax": (Sum(0, _along),),
    "_safe_softmax": (Sum(0, _along),),
    "_log_softmax": (Sum(0, _along),),
    "cumsum": (Sum(0, _along),),
    "cumprod": (Sum(0, _along),),
    "logcumsumexp": (Sum(0, _along),),
    "native_layer_norm": (Sum(0, _layer),),
    "_fused_rms_norm": (Sum(0, _layer),),
    "native_group_norm": (Sum(0, _group),),
    "_cdist_forward": (Sum(0, _inner),),
    # Queries times keys, and weights times values, in one kernel.
    "_scaled_dot_product_flash_attention_for_cpu": (Sum(0, _inner), Sum(2, _keys)),
    "_fft_r2c": (Sum(0, _butterflies),),
    "_fft_c2r": (Sum(0, _butterflies),),
    "_fft_c2c": (Sum(0, _butterflies),),
    **dict.fromkeys(
        (
            *("sum", "mean", "prod", "var", "var_mean", "std", "std_mean", "logsumexp"),
            *("norm", "linalg_vector_norm", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
            *("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d"),
        ),
        (Sum(0, _reduced),),
    ),
}
# A product with a bias → the product alone.
PRODUCTS = {"addmm": torch.ops.aten.mm.default, "baddbmm": torch.ops.aten.bmm.default}
FUNCTIONS = frozenset(
    (
        *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "pow", "rsqrt"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "polar", "angle"),
        *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "erfinv", "lgamma", "digamma"),
        *(
            "sigmoid",
            "logit",
            "log_sigmoid_forward",
            "softplus",
            "gelu",
            "silu",
            "mish",
            "elu",
            "celu",
            "selu",
        ),
        *("hardswish", "hardsigmoid", "addcmul", "addcdiv", "lerp"),
        *(
            "_softmax",
            "_safe_softmax",
            "_scaled_dot_product_flash_attention_for_cpu",
            "_log_softmax",
            "logsumexp",
            "native_layer_norm",
            "_fused_rms_norm",
            "native_group_norm",
        ),
        *("native_batch_norm", "_native_batch_norm_legit_no_training", "_weight_norm_interface"),
        *("upsample_linear1d", "upsample_bilinear2d", "_upsample_bilinear2d_aa", "upsample_bicubic2d"),
        *("_upsample_bicubic2d_aa", "upsample_trilinear3d", "grid_sampler_2d", "grid_sampler_3d"),
    )
)


class Role(NamedTuple):
    """What an operator is to a disturbed run."""

    name: str
    in_place: bool
    sums: tuple[Sum, ...]
    is_function: bool


class Disturbed(Watched):
    """Runs what is inside as another processor may; every draw gives other roundings, and the same ones each time.

    It lists the choices that were made of them.
    """

    def __init__(self, draw: int) -> None:
        super().__init__()
        self.place = draw * 104_729 % POOL
        self.is_odd = draw % 2 == 1
        # Made before the run: some classes are called with `torch.randint` replaced.
        self.pool = _pool()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Passes an operator on, disturbed where kernels differ."""
        named, role = kwargs or {}, _role(func)
        if not role:
            return (
                super().__torch_dispatch__(func, types, args, named) if ranks(func) else func(*args, **named)
            )
        name, in_place, sums, is_function = role
        if in_place:
            result = func(*args, **named)
            return result.copy_(self._disturbed(result, 2 * UNIT))
        if any(isinstance(value, Tensor) and value.dtype in HALVES for value in args):
            # The type that comes out may be another than goes in: softmax can be asked for float32.
            plain = func(*args, **named)
            product = PRODUCTS.get(name)
            if product and not named:
                bias, *factors = args
                return bias + self.__torch_dispatch__(product, types, tuple(factors))
            if name == "rsqrt" and self.is_odd:
                return args[0].sqrt().reciprocal()
            wide = tree_map_only(Tensor, _widened, args), tree_map(_wide, named)
            return tree_map(_typed_as, self._run(func, sums, is_function, *wide), plain)
        return self._run(func, sums, is_function, args, named)

    def _run(
        self,
        func: Any,
        sums: tuple[Sum, ...],
        is_function: bool,
        args: tuple[Any, ...],
        named: dict[str, Any],
    ) -> Any:
        """An operator on float32 operands: terms are disturbed where it sums, values where it is a function."""
        result, operands = None, list(args)
        for place, count in sums:
            terms = count(args)
            if count is _reduced:
                result = func(*args, **named)
                # One addition is IEEE's, whatever the order.
                terms = terms / max(_first(result).numel(), 1) - 1
            if terms > 1:
                result, operands[place] = None, self._disturbed(args[place], UNIT * math.sqrt(terms))
        if result is None:
            result = func(*operands, **named)
        if is_function:
            result = _with_first(result, self._disturbed(_first(result), 2 * UNIT))
        return result

    def _disturbed(self, value: Tensor, size: float) -> Tensor:
        """Every element times 1 ± `size`, but for whole numbers."""
        if value.is_complex():
            return torch.view_as_complex(self._disturbed(torch.view_as_real(value), size))
        if value.dtype is not torch.float32:
            return value
        moved = torch.addcmul(value, value, self._signs(value.numel()).view(value.shape), value=size)
        return torch.where(value == value.trunc(), value, moved)

    def _signs(self, count: int) -> Tensor:
        if count > POOL:
            return self.pool.repeat(-(-count // POOL))[:count]
        if self.place + count > POOL:
            self.place = (self.place + count) % min(997, POOL - count + 1)
        self.place += count
        return self.pool[self.place - count : self.place]


@cache
def _pool() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 2, (POOL,), generator=generator).mul_(2).sub_(1).float()


@cache
def _role(func: Any) -> Role | None:
    """What is disturbed of an operator; `exp_` is `exp` in place."""
    called = func.overloadpacket.__name__
    name = called.removesuffix("_")
    sums, is_function = SUMS.get(name, ()), name in FUNCTIONS
    return Role(name, called != name, sums, is_function) if sums or is_function else None


def _first(result: Any) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


def _with_first(result: Any, first: Tensor) -> Any:
    return (first, *result[1:]) if isinstance(result, tuple) else first


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.dtype in HALVES else value


def _wide(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _widened(value)
    return torch.float32 if value in HALVES else value


def _typed_as(value: Any, like: Any) -> Any:
    return value.to(like.dtype) if isinstance(value, Tensor) else value
