"""Patches for models that find and match points."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ..patches import (
    Adapter,
    Upstream,
    module_of,
    replaced,
)


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
    for i, points in enumerate(found):
        keypoints[i, : len(points)] = points
        padded[i, : len(points)] = values[i]
    return keypoints, padded


def _points_in_script(model: Upstream) -> AbstractContextManager[None]:
    """SuperPoint, alone or inside a matcher, goes over its images, and over the points of each, in Python.

    `SuperPointForKeypointDetection.forward` with that loop in TorchScript, and descriptors of all images at once.
    """
    detector: Upstream = getattr(model, "keypoint_detector", model)
    module = module_of(detector)

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


def _places_side_by_side(model: Upstream) -> AbstractContextManager[None]:
    """EfficientLoFTR writes rotary positions into slices, of sizes that a trace bakes, and keeps them.

    Row and column in turn are the same without slices.
    """

    def compute(frequencies: Tensor, height: Any, width: Any, _hidden: int) -> Tensor:
        ones = torch.ones(height, width, dtype=frequencies.dtype)
        places = [ones.cumsum(axis).unsqueeze(-1) * frequencies for axis in (0, 1)]
        return torch.stack(places, -1).flatten(-2).unsqueeze(0)

    return replaced(module_of(model), "compute_embeddings", compute)


ADAPTERS: dict[str, list[Adapter]] = {
    "efficientloftr": [_places_side_by_side],
    "lightglue": [_points_in_script],
    "superpoint": [_points_in_script],
}
