"""Images of any size in one row of patches, as tensors.

In: `image_grid_thw`, the frames, height and width of every image in patches. Out: what transformers computes from
it in Python, by loops over its list, for a trace would bake that. The functions take what theirs take.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from .adapters.patches import hooked


def patch_positions(
    grid_thw: Tensor,
    spatial_merge_size: int | Tensor,
    include_temporal: bool = False,
    kwargs: dict[str, Any] | None = None,
) -> Tensor:
    """`vision_utils.get_vision_position_ids`: frame, row and column of every patch, in blocks that are merged."""
    sizes = grid_thw.prod(-1)
    image = torch.arange(grid_thw.shape[0]).repeat_interleave(sizes)
    place = torch.arange(image.shape[0]) - (sizes.cumsum(0) - sizes)[image]
    _, height, width = grid_thw[image].unbind(-1)
    merge = spatial_merge_size
    if isinstance(merge, Tensor):
        merge = merge[image]
    block, inner = place % (height * width) // merge**2, place % merge**2
    row = block // (width // merge) * merge + inner // merge
    column = block % (width // merge) * merge + inner % merge
    frame = [place // (height * width)] if include_temporal else []
    return torch.stack([*frame, row, column], -1)


def merged_order(grid_thw: Tensor, merge: int) -> Tensor:
    """Where the patches of blocks that are merged stand, in rows of patches that are not in such order."""
    sizes = grid_thw.prod(-1)
    image = torch.arange(grid_thw.shape[0]).repeat_interleave(sizes)
    _, height, width = grid_thw[image].unbind(-1)
    frame, row, column = patch_positions(grid_thw, merge, include_temporal=True).unbind(-1)
    return (sizes.cumsum(0) - sizes)[image] + (frame * height + row) * width + column


def window_order(
    grid_thw: Tensor,
    spatial_merge_size: int,
    window_size: int,
    patch_size: int,
    kwargs: Any = None,
) -> tuple[Tensor, Tensor]:
    """`vision_utils.get_vision_window_index`: merged patches by window, and where windows begin in patches."""
    side, unit = window_size // spatial_merge_size // patch_size, spatial_merge_size**2
    grid = grid_thw // grid_thw.new_tensor([1, spatial_merge_size, spatial_merge_size])
    sizes = grid.prod(-1)
    image = torch.arange(grid.shape[0]).repeat_interleave(sizes)
    place = torch.arange(image.shape[0]) - (sizes.cumsum(0) - sizes)[image]
    _, height, width = grid[image].unbind(-1)
    frame, row, column = (
        place // (height * width),
        place % (height * width) // width,
        place % width,
    )
    # Windows are counted as if the last row and column of them were never full.
    rows, columns = grid[:, 1] // side + 1, grid[:, 2] // side + 1
    windows = grid[:, 0] * rows * columns
    first = (windows.cumsum(0) - windows)[image]
    rows, columns = rows[image], columns[image]
    window = first + (frame * rows + row // side) * columns + column // side
    window, order = torch.sort(window, stable=True)
    counts = torch.unique_consecutive(window, return_counts=True)[1]
    return order, nn.functional.pad((counts * unit).cumsum(0), (1, 0)).int()


def token_positions(
    model: Any,
    input_ids: Tensor,
    mm_token_type_ids: Tensor,
    image_grid_thw: Tensor | None = None,
    video_grid_thw: Tensor | None = None,
    attention_mask: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """`Qwen2VLModel.get_rope_index`: frame, row and column of every token; words count up in all three.

    An image takes as many steps as it has rows or columns, whichever are more.
    """
    merge = model.config.vision_config.spatial_merge_size
    real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    real = real.bool()
    step = (real & (mm_token_type_ids == 0)).long()
    inside, begun = [torch.zeros_like(input_ids)] * 3, torch.zeros_like(input_ids)
    for kind, grid in ((1, image_grid_thw), (2, video_grid_thw)):
        if grid is None:
            continue
        here = real & (mm_token_type_ids == kind)
        frames, height, width = (grid // grid.new_tensor([1, merge, merge])).unbind(-1)
        sizes = frames * height * width
        ends = sizes.cumsum(0)
        order = (here.flatten().cumsum(0) - 1).clamp(min=0).view_as(input_ids)
        image = torch.searchsorted(ends, order, right=True).clamp(max=grid.shape[0] - 1)
        height, width = height[image], width[image]
        place = order - (ends - sizes)[image]
        places = (
            place // (height * width),
            place % (height * width) // width,
            place % width,
        )
        inside = [total + here * own for total, own in zip(inside, places, strict=True)]
        length = torch.maximum(height, width)
        step = step + (here & (place == 0)) * length
        begun = begun + (here & (place > 0)) * length
    start = step.cumsum(-1) - step - begun
    positions = torch.stack([(start + own) * real for own in inside])
    highest = positions.amax((0, 2))
    return positions, (highest + 1 - real.sum(-1))[:, None]


class _Whole:
    """Boundaries of one segment of any length, for code that takes lists of lengths from them."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __getitem__(self, _: slice) -> "_Whole":
        return self

    def __sub__(self, _: "_Whole") -> "_Whole":
        return self

    def tolist(self) -> list[int]:
        return [self.length]


_mask: ContextVar[Tensor | None] = ContextVar("_mask", default=None)


def masked(eager: Callable[..., Any]) -> Callable[..., Any]:
    """The module's eager attention, with the mask of the block around it; see `needs_mask`."""

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **given: Any
    ) -> Any:
        mask = _mask.get() if attention_mask is None else attention_mask
        return eager(module, query, key, value, mask, **given)

    return attention


def needs_mask(
    _module: nn.Module, _query: Tensor, _key: Tensor, _value: Tensor, attention_mask: Any = None, **_: Any
) -> bool:
    """Whether a call of eager attention is within `in_one_segment`, and has no mask of its own."""
    return attention_mask is None and _mask.get() is not None


@contextmanager
def in_one_segment(attentions: list[nn.Module]) -> Iterator[None]:
    """Attention that loops over a list of segments sees all of them at once, and a mask keeps them apart."""

    def enter(
        module: nn.Module, args: tuple[Any, ...], given: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden = args[0] if args else given["hidden_states"]
        ends, length = given["cu_seqlens"], hidden.shape[-2]
        segment = torch.searchsorted(ends[1:], torch.arange(length).to(ends), right=True)
        apart = segment[:, None] != segment
        lowest = torch.finfo(hidden.dtype).min
        _mask.set(torch.zeros_like(apart, dtype=hidden.dtype).masked_fill(apart, lowest)[None, None])
        return args, given | {"cu_seqlens": _Whole(length)}

    def leave(_module: nn.Module, _args: Any, _returned: Any) -> None:
        _mask.set(None)

    with ExitStack() as stack:
        for attention in attentions:
            stack.enter_context(hooked(attention.register_forward_pre_hook, enter, with_kwargs=True))
            stack.enter_context(hooked(attention.register_forward_hook, leave))
        yield
