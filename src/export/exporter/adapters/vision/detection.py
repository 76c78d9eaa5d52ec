"""Patches for models that find objects, and tables in pages."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from ..patches import (
    Adapter,
    Upstream,
    module_of,
    replaced,
    rewritten,
)


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
    for image in range(boxes.size(0)):
        box, logit = boxes[image], logits[image]
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
def _deta_in_script(model: Upstream) -> Iterator[None]:
    """DETA goes over images in Python, calls torchvision's operators, and makes numbers of the sizes of its maps.

    The same selection in TorchScript, one gathering for all images, and sizes that stay tensors.
    """
    module = module_of(model)
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


def _table_in_script(model: Upstream) -> AbstractContextManager[None]:
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


ADAPTERS: dict[str, list[Adapter]] = {
    "deta": [_deta_in_script],
    "slanet": [_table_in_script],
    "slanext": [_table_in_script],
}
