"""Patches for models of images and videos."""

import builtins
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from .common import Adapter, replaced, rewritten


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
            missing = torch.clamp(torch.as_tensor(whole - size + conv.kernel_size[axis] - stride), min=0)
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
        grid = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
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
            return [_Choice(list(alike), vote) for alike in zip(*self.values(), strict=True)]
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
    keypoints = torch.zeros([len(found), longest, 2], dtype=scores.dtype, device=scores.device)
    padded = torch.zeros([len(found), longest], dtype=scores.dtype, device=scores.device)
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


def _neighbours(length: Any, kernel: int, dilation: int) -> tuple[Tensor, Tensor]:
    """For each place of a line the places [length, kernel] of its neighbours, and how far these are off.

    natten's `get_window_start` and `get_pb_start`: neighbours lie a dilation apart, and a place near an end has those
    that are nearest to it on the line; distances are counted from the farthest on the left, `1 - kernel`.
    """
    place = torch.arange(length)
    rest, step = place % dilation, place // dilation
    steps = (length - rest + dilation - 1) // dilation
    first = torch.minimum((step - kernel // 2).clamp(min=0), steps - kernel)
    window = first[:, None] + torch.arange(kernel)
    return rest[:, None] + dilation * window, window - step[:, None] + kernel - 1


@contextmanager
def _neighbours_gathered(model: nn.Module) -> Iterator[None]:
    """NAT and DiNAT call kernels of natten, which a trace cannot hold.

    `natten2dqkrpb` and `natten2dav` on [batch, head, height, width, size] with the neighbours gathered.
    """

    def gathered(grid: Tensor, kernel: int, dilation: int) -> Tensor:
        rows, _ = _neighbours(grid.shape[2], kernel, dilation)
        columns, _ = _neighbours(grid.shape[3], kernel, dilation)
        return grid[:, :, rows[:, None, :, None], columns[None, :, None, :]]

    def scores(query: Tensor, key: Tensor, bias: Tensor, kernel: int, dilation: int) -> Tensor:
        _, rows = _neighbours(key.shape[2], kernel, dilation)
        _, columns = _neighbours(key.shape[3], kernel, dilation)
        near = bias[:, rows[:, None, :, None], columns[None, :, None, :]]
        keys = gathered(key, kernel, dilation)
        return ((query[..., None, None, :] * keys).sum(-1) + near).flatten(-2)

    def context(attention: Tensor, value: Tensor, kernel: int, dilation: int) -> Tensor:
        weights = attention.unflatten(-1, (kernel, kernel)).unsqueeze(-1)
        return (weights * gathered(value, kernel, dilation)).sum((-3, -2))

    module = sys.modules[type(model).__module__]
    with (
        replaced(module, "natten2dqkrpb", scores),
        replaced(module, "natten2dav", context),
    ):
        yield


@torch.jit.script
def _kept(boxes: Tensor, scores: Tensor, limit: float) -> Tensor:
    """`torchvision.ops.nms`: which boxes no better one covers by more than the limit, the best first.

    Boxes [boxes, 4] are corners; libtorch has no such operator.
    """
    order = torch.argsort(scores, stable=True, descending=True)
    boxes = boxes[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    covered = torch.zeros_like(scores, dtype=torch.bool)
    for i in range(len(order)):
        if not bool(covered[i]):
            low = torch.maximum(boxes[i, :2], boxes[:, :2])
            high = torch.minimum(boxes[i, 2:], boxes[:, 2:])
            common = (high - low).clamp(min=0).prod(dim=1)
            again = common / (areas[i] + areas - common) > limit
            again[: i + 1] = False
            covered = covered | again
    return order[~covered]


@torch.jit.script
def _first_stage(boxes: Tensor, logits: Tensor, level_ids: Tensor, count: int, levels: int) -> Tensor:
    """The proposals [images, count] that DETA's first stage hands on.

    The loop of `DetaModel.forward` over images, with `torchvision.ops.batched_nms` on levels instead of classes.
    """
    chosen: list[Tensor] = []
    for box, logit in zip(boxes, logits):
        kept: list[Tensor] = []
        # A level's best thousand; where it has fewer, others come along, and are judged with their own level.
        best = torch.cat(
            [torch.topk(logit.sigmoid() * (level_ids == level), 1000)[1] for level in range(levels)]
        )
        for level in range(levels):
            mine = best[level_ids[best] == level]
            kept.append(mine[_kept(box[mine], logit[mine], 0.9)])
        keep = torch.cat(kept)
        keep = keep[torch.argsort(logit[keep], descending=True)]
        if len(keep) < count:
            keep = torch.topk(logit, count)[1]
        each = torch.arange(levels, device=level_ids.device)
        ordered = level_ids[keep][None] == each[:, None]
        mask = (ordered & (ordered.cumsum(1) <= count // levels)).any(0)
        missing = count - int(mask.sum())
        if missing > 0:
            mask[torch.nonzero(~mask)[:missing]] = True
        chosen.append(keep[mask])
    return torch.stack(chosen)


@contextmanager
def _deta_in_script(model: nn.Module) -> Iterator[None]:
    """DETA goes over images in Python, calls torchvision's operators, and makes numbers of the sizes of its maps.

    The same selection in TorchScript, one gathering for all images, and sizes that stay tensors.
    """
    module = sys.modules[type(model).__module__]
    forward = rewritten(
        module.DetaModel.forward,
        {
            r"for b in range\(batch_size\):.*?torch\.stack\(topk_proposals\)": (
                "topk_proposals = first_stage("
                "proposal_boxes, proposal_logit, level_ids, topk, len(spatial_shapes))"
            ),
            r"torch\.stack\(\s*\[object_query_embedding.*?\]\s*\)": (
                "object_query_embedding.gather(1, topk_proposals.unsqueeze(-1).expand(-1, -1, num_channels))"
            ),
        },
        first_stage=_first_stage,
    )
    attention = rewritten(
        module.multi_scale_deformable_attention,
        {r"height\.item\(\) \* width\.item\(\)": "height * width"},
    )
    with (
        replaced(module.DetaModel, "forward", forward),
        replaced(module, "multi_scale_deformable_attention", attention),
    ):
        yield


@torch.jit.script
def _table_tokens(
    features: Tensor,
    attention: list[Tensor],
    recurrent: list[Tensor],
    generator: list[Tensor],
    steps: int,
) -> Tensor:
    """Probabilities [images, written, tokens] of the tags of a table, until each image has its last one.

    `SLANetSLAHead.forward`, which stops by a branch on what it has written.
    """
    width, tokens = generator[0].shape[0], generator[2].shape[0]
    state = torch.zeros([features.shape[0], width], dtype=features.dtype, device=features.device)
    token = torch.zeros([features.shape[0]], dtype=torch.int64, device=features.device)
    ended = torch.zeros_like(token, dtype=torch.bool)
    keys = torch.nn.functional.linear(features, attention[0])
    written: list[Tensor] = []
    while len(written) < steps and not bool(ended.all()):
        asked = torch.nn.functional.linear(state, attention[1], attention[2])
        scores = torch.nn.functional.linear(torch.tanh(keys + asked.unsqueeze(1)), attention[3])
        context = torch.matmul(scores.softmax(1).transpose(1, 2), features).squeeze(1)
        before = torch.nn.functional.one_hot(token, tokens).to(features.dtype)
        state = torch.gru_cell(
            torch.cat([context, before], 1),
            state,
            recurrent[0],
            recurrent[1],
            recurrent[2],
            recurrent[3],
        )
        step = torch.nn.functional.linear(
            torch.nn.functional.linear(state, generator[0], generator[1]),
            generator[2],
            generator[3],
        )
        token = step.argmax(1)
        ended = ended | (token == tokens - 1)
        written.append(step)
    return torch.stack(written, 1).softmax(-1)


def _table_in_script(model: nn.Module) -> AbstractContextManager[None]:
    """SLANet writes the tags of a table in a Python loop, with a branch on what is written; here in TorchScript."""
    head = model.head
    cell, last = head.structure_attention_cell, head.structure_generator

    def forward(hidden_states: Tensor, **_switches: Any) -> Any:
        probabilities = _table_tokens(
            hidden_states.float(),
            [
                cell.input_to_hidden.weight,
                cell.hidden_to_hidden.weight,
                cell.hidden_to_hidden.bias,
                cell.score.weight,
            ],
            [
                cell.rnn.weight_ih,
                cell.rnn.weight_hh,
                cell.rnn.bias_ih,
                cell.rnn.bias_hh,
            ],
            [last.fc1.weight, last.fc1.bias, last.fc2.weight, last.fc2.bias],
            head.config.max_text_length + 1,
        )
        return BaseModelOutput(last_hidden_state=probabilities)

    return replaced(head, "forward", forward)


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
        whole = grid.permute(2, 3, 0, 4, 1, 5).reshape(batch_size, hidden, across * side, across * side)
        line = torch.arange(across * side)
        patch, place = line // side, line % side
        doubled = ((patch > 0) & (place < padding)) | ((patch < across - 1) & (place >= side - padding))
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


def _places_side_by_side(model: nn.Module) -> AbstractContextManager[None]:
    """EfficientLoFTR writes rotary positions into slices, of sizes that a trace bakes, and keeps them for the next call.

    Row and column in turn are the same without slices.
    """

    def compute(frequencies: Tensor, height: Any, width: Any, _hidden: int) -> Tensor:
        ones = torch.ones(height, width, dtype=frequencies.dtype)
        places = [ones.cumsum(axis).unsqueeze(-1) * frequencies for axis in (0, 1)]
        return torch.stack(places, -1).flatten(-2).unsqueeze(0)

    return replaced(sys.modules[type(model).__module__], "compute_embeddings", compute)


ADAPTERS: dict[str, list[Adapter]] = {
    "depth_anything": [_sizes_kept],
    "depth_pro": [_patches_of_any_number],
    "deta": [_deta_in_script],
    "dinat": [_neighbours_gathered],
    "efficientloftr": [_places_side_by_side],
    "levit": [_biases_not_cached],
    "lightglue": [_points_in_script],
    "mobilenet_v1": [_tf_padding],
    "mobilenet_v2": [_tf_padding],
    "nat": [_neighbours_gathered],
    "pixtral": [_pixtral_without_lists],
    "slanet": [_table_in_script],
    "slanext": [_table_in_script],
    "superpoint": [_points_in_script],
    "zoedepth": [_both_domains],
}
