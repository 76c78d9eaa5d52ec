"""Patches without which a class cannot be traced, or its trace would not hold at other sizes.

In: a model. Out: a context in which its class can be traced. Each patch says what it is for and why it is
needed, and computes what the code it replaces computes; references are taken without it.
"""

import builtins
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import masking_utils

Adapter = Callable[[nn.Module], AbstractContextManager[None]]


@contextmanager
def adapted(model: nn.Module) -> Iterator[None]:
    """Opens the patches that all models need under this transformers, and those for the model's type."""
    with ExitStack() as stack:
        for adapter in (*COMMON, *ADAPTERS.get(model.config.model_type, ())):
            stack.enter_context(adapter(model))
        yield


@contextmanager
def replaced(owner: object, name: str, value: Any) -> Iterator[None]:
    """An attribute of a module or class with another value while the block runs."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def _masks_by_broadcasting(_model: nn.Module) -> Iterator[None]:
    """transformers 4 builds attention masks with `torch.vmap`, and indexes under it by an autograd function.

    The tracer can record neither. Mask functions are made of comparisons and indexing, which broadcast.
    """

    def expanded(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda batch, head, query, key: function(
            batch[:, None, None, None], head[:, None, None], query[:, None], key
        )

    with (
        replaced(masking_utils, "_vmap_for_bhqkv", expanded),
        replaced(masking_utils, "TransformGetItemToIndex", nullcontext),
    ):
        yield


@contextmanager
def _images_as_one(model: nn.Module) -> Iterator[None]:
    """LLaVA makes a Python list of the projected images, and concatenates it again.

    A trace bakes its length. One "image" that holds all patches in the same order makes a list of one.
    """
    hook = model.model.multi_modal_projector.register_forward_hook(
        lambda _module, _inputs, projected: projected.flatten(0, 1).unsqueeze(0)
    )
    try:
        yield
    finally:
        hook.remove()


def _bloom_gelu(model: nn.Module) -> AbstractContextManager[None]:
    """BLOOM's GELU is an autograd function in Python, which TorchScript cannot save.

    Its forward is a plain formula, a function of its own.
    """
    module = sys.modules[type(model).__module__]
    return replaced(
        module, "GeLUFunction", SimpleNamespace(apply=module.bloom_gelu_forward)
    )


@contextmanager
def _lists_of_sizes(_model: nn.Module) -> Iterator[None]:
    """`torch.tensor([height, width])` makes a constant of traced sizes; stacking them keeps what they are."""

    def stacking(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def make(data: Any, *rest: Any, **named: Any) -> Tensor:
            if not _holds_tensor(data):
                return function(data, *rest, **named)
            return _stacked(data).to(**{k: named[k] for k in ("dtype", "device") if k in named})

        return make

    with (
        replaced(torch, "tensor", stacking(torch.tensor)),
        replaced(torch, "as_tensor", stacking(torch.as_tensor)),
    ):
        yield


def _splits_by_sizes(_model: nn.Module) -> AbstractContextManager[None]:
    """`Tensor.split` calls `int` on a traced size, which bakes it; pieces of that size keep it.

    Only the number of pieces stays what it was in the traced run.
    """
    original = Tensor.split

    def split(self: Tensor, split_size: Any, dim: int = 0) -> Any:
        if not isinstance(split_size, Tensor):
            return original(self, split_size, dim)
        whole = self.shape[dim]
        pieces = -(-builtins.int(whole) // builtins.int(split_size))
        last = whole - split_size * (pieces - 1)
        return original(self, [split_size] * (pieces - 1) + [last], dim)

    return replaced(Tensor, "split", split)


def _holds_tensor(data: Any) -> bool:
    """Whether a list, at any depth, has a tensor for an element."""
    return isinstance(data, list | tuple) and any(
        isinstance(item, Tensor) or _holds_tensor(item) for item in data
    )


def _stacked(data: Any) -> Tensor:
    if isinstance(data, list | tuple):
        return torch.stack([_stacked(item) for item in data])
    return torch.as_tensor(data)


class _SizeKept(type):
    """The type `int`, but for traced sizes, which stay tensors."""

    def __call__(cls, value: Any = 0, *rest: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(torch.int64)
        return builtins.int(value, *rest)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, builtins.int)


class _Int(metaclass=_SizeKept):
    pass


@contextmanager
def _sizes_kept(model: nn.Module) -> Iterator[None]:
    """Code that calls `int` on a size makes it a constant of the trace.

    In the model's own module `int` keeps sizes as tensors, as transformers' `torch_int` does where it is used.
    """
    names = vars(sys.modules[type(model).__module__])
    names["int"] = _Int
    try:
        yield
    finally:
        del names["int"]


def _tf_padding(model: nn.Module) -> AbstractContextManager[None]:
    """MobileNet's padding in the manner of TensorFlow, by a formula instead of branches on the size.

    `apply_tf_padding`: padded so that the strides cover the whole size, s * ceil(size / s) - s + kernel - size.
    """

    def pad(features: Tensor, conv: nn.Conv2d) -> Tensor:
        padding: list[Any] = []
        for axis in (1, 0):
            size, stride = features.shape[axis - 2], conv.stride[axis]
            whole = (size + stride - 1) // stride * stride
            missing = torch.clamp(
                torch.as_tensor(whole - size + conv.kernel_size[axis] - stride), min=0
            )
            before = missing // 2
            padding += [
                before * conv.dilation[axis],
                (missing - before) * conv.dilation[axis],
            ]
        return nn.functional.pad(features, padding, "constant", 0.0)

    return replaced(sys.modules[type(model).__module__], "apply_tf_padding", pad)


@contextmanager
def _biases_not_cached(model: nn.Module) -> Iterator[None]:
    """LeViT looks up its attention biases once; a trace must hold the look-up, not what an earlier run found.

    `LevitAttention.train` forgets what was looked up.
    """
    model.train().eval()
    try:
        yield
    finally:
        model.train().eval()


def _pixtral_without_lists(model: nn.Module) -> AbstractContextManager[None]:
    """Pixtral's vision tower makes lists with an item for each image, which bakes the number of images.

    `PixtralVisionModel.forward` for images of one size: the same patches in the same order, the same positions for
    every image, and a mask that lets a patch see its own image only.
    """

    def forward(pixel_values: Tensor, **_switches: Any) -> Any:
        embeds = model.patch_conv(pixel_values)
        images, _, height, width = embeds.shape
        patches = embeds.flatten(2).transpose(1, 2).flatten(0, 1).unsqueeze(0)
        patches = model.ln_pre(patches)
        image = torch.arange(images).repeat_interleave(height * width)
        apart = image[:, None] != image[None, :]
        mask = torch.zeros_like(apart, dtype=patches.dtype)
        mask = mask.masked_fill(apart, torch.finfo(patches.dtype).min)[None, None]
        grid = torch.meshgrid(
            torch.arange(height), torch.arange(width), indexing="ij"
        )
        positions = torch.stack([ids.flatten() for ids in grid], -1).repeat(images, 1)
        return model.transformer(
            patches,
            attention_mask=mask,
            position_embeddings=model.patch_positional_embedding(patches, positions),
            position_ids=positions,
        )

    return replaced(model, "forward", forward)


class _Choice:
    """Runs all of several modules alike; what the one chosen by `index()` returned."""

    def __init__(self, modules: list[nn.Module], index: Callable[[], Tensor]) -> None:
        self.modules, self.index = modules, index

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._chosen([module(*args, **named) for module in self.modules])

    def _chosen(self, returned: list[Any]) -> Any:
        if isinstance(returned[0], tuple):
            return tuple(self._chosen(list(parts)) for parts in zip(*returned, strict=True))
        return torch.stack(returned)[self.index()]


@contextmanager
def _both_domains(model: nn.Module) -> Iterator[None]:
    """ZoeDepth lets a classifier choose between its heads for inside and outside, in Python.

    `ZoeDepthMultipleMetricDepthEstimationHeads.forward` looks modules up by the domain's name; here each look-up
    gives all of that kind, and the classifier's vote, a tensor, picks among what they return.
    """
    heads = model.metric_head
    votes: list[Tensor] = []
    chosen = (heads.seed_bin_regressors, heads.conditional_log_binomial)

    def vote() -> Tensor:
        return votes[-1].sum(dim=0).argmax()

    original = nn.ModuleDict.__getitem__

    def look_up(self: nn.ModuleDict, name: str) -> Any:
        if any(self is one for one in chosen):
            return _Choice(list(self.values()), vote)
        if self is heads.attractors:
            return [
                _Choice(list(alike), vote) for alike in zip(*self.values(), strict=True)
            ]
        return original(self, name)

    def note(_module: nn.Module, _inputs: Any, logits: Tensor) -> None:
        votes.append(logits)

    hook = heads.mlp_classifier.register_forward_hook(note)
    try:
        with replaced(nn.ModuleDict, "__getitem__", look_up):
            yield
    finally:
        hook.remove()


@torch.jit.script
def _key_points(scores: Tensor, threshold: float, border: int, most: int) -> tuple[Tensor, Tensor]:
    """Key points (x, y) and scores of every image, as many as the richest has, zeros after the last.

    `SuperPointInterestPointDecoder._extract_keypoints` for scores [images, height, width]; it takes the whole
    height for an eighth of it.
    """
    found: list[Tensor] = []
    values: list[Tensor] = []
    longest = 0
    for image in scores:
        points = torch.nonzero(image > threshold)
        bottom = image.shape[0] * 8 - border
        right = image.shape[1] * 8 - border
        inside = (
            (points[:, 0] >= border)
            & (points[:, 0] < bottom)
            & (points[:, 1] >= border)
            & (points[:, 1] < right)
        )
        points = points[inside]
        value = image[points[:, 0], points[:, 1]]
        if most >= 0 and most < len(points):
            value, order = torch.topk(value, most, dim=0)
            points = points[order]
        found.append(points.flip(1).to(scores.dtype))
        values.append(value)
        longest = max(longest, len(points))
    keypoints = torch.zeros(
        [len(found), longest, 2], dtype=scores.dtype, device=scores.device
    )
    padded = torch.zeros(
        [len(found), longest], dtype=scores.dtype, device=scores.device
    )
    for i, (points, value) in enumerate(zip(found, values)):
        keypoints[i, : len(points)] = points
        padded[i, : len(points)] = value
    return keypoints, padded


def _points_in_script(model: nn.Module) -> AbstractContextManager[None]:
    """SuperPoint, alone or inside a matcher, goes over its images, and over the points of each, in Python.

    `SuperPointForKeypointDetection.forward` with that loop in TorchScript, and descriptors of all images at once.
    """
    detector = getattr(model, "keypoint_detector", model)
    module = sys.modules[type(detector).__module__]

    def forward(pixel_values: Tensor, **_switches: Any) -> Any:
        height, width = pixel_values.shape[-2:]
        encoded = detector.encoder(pixel_values[:, :1])[0]
        points, describing = detector.keypoint_decoder, detector.descriptor_decoder
        keypoints, scores = _key_points(
            points._get_pixel_scores(encoded),
            points.keypoint_threshold,
            points.border_removal_distance,
            points.max_keypoints,
        )
        found = scores > 0
        dense = describing.relu(describing.conv_descriptor_a(encoded))
        dense = nn.functional.normalize(describing.conv_descriptor_b(dense), p=2, dim=1)
        descriptors = describing._sample_descriptors(keypoints, dense, 8)
        descriptors = descriptors.transpose(1, 2) * found.unsqueeze(-1)
        return module.SuperPointKeypointDescriptionOutput(
            keypoints=keypoints.float() / torch.tensor([width, height]),
            scores=scores.float(),
            descriptors=descriptors.float(),
            mask=found.int(),
        )

    return replaced(detector, "forward", forward)


@contextmanager
def _patches_of_any_number(model: nn.Module) -> Iterator[None]:
    """DepthPro counts its patches by `len`, puts them together in a loop, and takes `math.log2` of a size.

    In its module `len` and `log2` keep sizes as tensors, and `merge_patches` lays all patches out, then drops the
    rows and columns at which two of them overlap.
    """
    names = vars(sys.modules[type(model).__module__])

    def length(values: Any) -> Any:
        return values.shape[0] if isinstance(values, Tensor) else builtins.len(values)

    def log2(value: Any) -> Any:
        return torch.log2(value) if isinstance(value, Tensor) else math.log2(value)

    def merge(patches: Tensor, batch_size: Any, padding: Any) -> Tensor:
        count, hidden, side, _ = patches.shape
        count = count // batch_size
        across = (count**0.5).to(torch.int64)
        if count < 4:
            padding = 0
        padding = min(builtins.int(side) // 4, builtins.int(padding))
        grid = patches.reshape(count, batch_size, hidden, side, side)[: across**2]
        grid = grid.reshape(across, across, batch_size, hidden, side, side)
        whole = grid.permute(2, 3, 0, 4, 1, 5).reshape(
            batch_size, hidden, across * side, across * side
        )
        line = torch.arange(across * side)
        patch, place = line // side, line % side
        doubled = ((patch > 0) & (place < padding)) | (
            (patch < across - 1) & (place >= side - padding)
        )
        kept = line[~doubled]
        return whole[:, :, kept][:, :, :, kept]

    module = sys.modules[type(model).__module__]
    names["len"] = length
    try:
        with (
            replaced(module, "math", SimpleNamespace(log2=log2)),
            replaced(module, "merge_patches", merge),
        ):
            yield
    finally:
        del names["len"]


COMMON: list[Adapter] = [_lists_of_sizes, _splits_by_sizes] + (
    [_masks_by_broadcasting] if hasattr(masking_utils, "_vmap_for_bhqkv") else []
)
ADAPTERS: dict[str, list[Adapter]] = {
    "bloom": [_bloom_gelu],
    "depth_anything": [_sizes_kept],
    "depth_pro": [_patches_of_any_number],
    "levit": [_biases_not_cached],
    "llava": [_images_as_one],
    "mobilenet_v1": [_tf_padding],
    "mobilenet_v2": [_tf_padding],
    "pixtral": [_pixtral_without_lists],
    "superpoint": [_points_in_script],
    "zoedepth": [_both_domains],
}
