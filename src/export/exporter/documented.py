"""Inputs by what a class documents of their shapes.

In: an eager model. Out: pictures as rows of patches with a grid that says how they lie, where its forward takes one:
how wide a row is, its docstring says in terms of its config; and other inputs that it cannot do without.
"""

import ast
import operator
import re
from collections.abc import Callable

from torch import nn
from torch.nn.modules.conv import _ConvNd
from transformers import PreTrainedModel

from .calls import parameters_of
from .foreign import config_of
from .job import Json

GRIDS = ("grid_thw", "image_grid_thw")
IMAGES = ("pixel_values", "hidden_states")
# A picture of two rows of patches, each four wide.
GRID = [1, 2, 4]
# Where flat patches go in, the layers that read them, and how many a tiny picture has a side.
PATCH_LISTS = ("image_patches", "pixel_values")
PATCH_LAYERS = ("patch_embedding", "patch_embeddings", "vision_embed_tokens")
SQUARE = 4
# The axis of all rows, of which every picture has as many as its grid.
PATCHES = {"patches": {"per": "batch", "count": 8}}
USUAL = "channels * temporal_patch_size * patch_size**2"
OPERATORS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.FloorDiv: operator.floordiv,
}


def packed(eager: nn.Module) -> Json | None:
    """The inputs of a model that takes a grid; None where it takes none."""
    takes = parameters_of(eager)
    grid = next((name for name in GRIDS if name in takes), None)
    images = next((name for name in IMAGES if name in takes), None)
    towers = [module for module in eager.modules() if _tower(module)]
    if grid is None or images is None or not towers:
        return None
    try:
        row = _row(towers[-1])
    except (KeyError, SyntaxError):
        row = [1]
    return {
        images: {"shape": ["patches", *row], "fill": "normal"},
        grid: {"shape": ["batch", 3], "fill": {"values": GRID}},
    }


def cut(eager: nn.Module, rows: Json) -> Json | None:
    """The same with rows that are no rows yet, but patches of pixels, where a convolution reads them."""
    convolutions = (module for module in eager.modules() if isinstance(module, _ConvNd))
    first = next(convolutions, None)
    if first is None or first.kernel_size != first.stride:
        return None
    return {
        name: port | {"shape": [port["shape"][0], first.in_channels, *first.kernel_size]}
        if name in IMAGES
        else port
        for name, port in rows.items()
    }


def patches(eager: nn.Module, leading: str | int) -> Json | None:
    """The inputs of a model that takes each picture as a list of flat patches: a linear layer reads them."""
    takes = parameters_of(eager)
    name = next((name for name in PATCH_LISTS if name in takes), None)
    layers = (layer for path, layer in eager.named_modules() if path.rpartition(".")[2] in PATCH_LAYERS)
    first = next((layer for layer in layers if isinstance(layer, nn.Linear)), None)
    if name is None or first is None:
        return None
    count = SQUARE * SQUARE
    offered = {
        name: {"shape": [leading, count, first.in_features], "fill": "normal"},
        "spatial_shapes": {"shape": [leading, 2], "fill": {"values": [SQUARE, SQUARE]}},
        "pixel_attention_mask": {"shape": [leading, count], "fill": {"values": [1] * count}},
    }
    return {name: port for name, port in offered.items() if name in takes}


def documented(eager: nn.Module, name: str) -> Json | None:
    """A float input by the shape that the docstring gives it: batch, sizes of the config, and axes by name."""
    said = re.search(rf"{name} \(`torch\.\w*Tensor` of shape `\(([^`]*)\)`", eager.forward.__doc__ or "")
    if said is None or "Long" in said[0]:
        return None
    sizes = vars(config_of(eager))

    def symbol(word: str) -> str | int:
        if word.isdigit() or type(sizes.get(word)) is int:
            return int(sizes.get(word, word))
        return {"batch_size": "batch", "sequence_length": "sequence"}.get(word, word.removeprefix("num_"))

    words = [word.strip() for word in said[1].split(",")]
    return (
        {"shape": [symbol(word) for word in words], "fill": "normal"}
        if all(map(str.isidentifier, words))
        else None
    )


def _tower(module: nn.Module) -> bool:
    return isinstance(module, PreTrainedModel) and any(name in parameters_of(module) for name in GRIDS)


def _row(tower: nn.Module) -> list[int]:
    """The sizes of one row, by the shape that the docstring gives all rows."""
    said = re.search(
        rf"({'|'.join(IMAGES)}) \(`torch\.\w+` of shape `\(([^`]*)\)`", tower.forward.__doc__ or ""
    )
    config = tower.config
    sizes: Json = {"temporal_patch_size": 1} | vars(config)
    sizes["channels"] = next(
        (sizes[name] for name in ("num_channels", "in_channels", "in_chans") if name in sizes), 3
    )
    expressions = said[2].split(",")[1:] if said and said[2].count(",") else [USUAL]
    return [_value(ast.parse(expression.strip(), mode="eval").body, sizes) for expression in expressions]


def _value(node: ast.expr, sizes: Json) -> int:
    """The value of a product or a sum of sizes; `KeyError` for whatever is not known."""
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name) if type(sizes.get(name)) is int:
            return sizes[name]
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](_value(left, sizes), _value(right, sizes))
    raise KeyError(ast.unparse(node))
