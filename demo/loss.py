"""What the demo's detector is trained to lower: class, box and edge-distribution losses.

source: Feng et al., TOOD (arXiv:2108.07755), for which cell answers for which shape;
        Zheng et al., Distance-IoU loss (arXiv:1911.08287), for the complete IoU;
        Li et al., Generalized Focal Loss (arXiv:2006.04388), for the distribution of edges
"""

from __future__ import annotations

import math

import torch
from network import BINS
from torch import Tensor
from torch.nn import functional as F

CANDIDATES = 10  # cells that answer for one shape
BOX_WEIGHT, CLASS_WEIGHT, EDGE_WEIGHT = 7.5, 0.5, 1.5


def iou(a: Tensor, b: Tensor, complete: bool = False) -> Tensor:
    """IoU of boxes f32[..., 4] (x1 y1 x2 y2), broadcast; `complete` is less distance and form."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inside = (high - low).clamp(min=0).prod(-1)
    size_a, size_b = a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2]
    ratio = inside / (size_a.prod(-1) + size_b.prod(-1) - inside + 1e-7)
    if not complete:
        return ratio
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]).square().sum(-1) / 4
    angle_a = torch.atan(size_a[..., 0] / (size_a[..., 1] + 1e-7))
    angle_b = torch.atan(size_b[..., 0] / (size_b[..., 1] + 1e-7))
    form = (4 / math.pi**2) * (angle_a - angle_b).square()
    with torch.no_grad():
        weight = form / (1 - ratio + form + 1e-7)
    return ratio - apart / (hull.square().sum(-1) + 1e-7) - weight * form


def assign(
    scores: Tensor, boxes: Tensor, points: Tensor, truth: Tensor, kinds: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose for every cell the shape it answers for.

    scores:  f32[B, N, classes] probabilities     boxes: f32[B, N, 4] in pixels
    points:  f32[N, 2] cell centres in pixels
    truth:   f32[B, M, 4] in pixels               kinds: i64[B, M], -1 where there is no shape
    gives:   i64[B, N] index of the shape or -1, and f32[B, N] the class score it should reach
    """
    real = (kinds >= 0)[..., None]  # [B, M, 1]
    overlap = iou(truth[:, :, None], boxes[:, None]).clamp(min=0)  # [B, M, N]
    index = kinds.clamp(min=0)[..., None].expand(-1, -1, scores.shape[1])
    score = scores.transpose(1, 2).gather(1, index)  # [B, M, N]
    edges = torch.cat(
        (points - truth[:, :, None, :2], truth[:, :, None, 2:] - points), -1
    )  # [B, M, N, 4]
    inside = edges.amin(-1) > 1e-9
    fit = score.sqrt() * overlap**6 * inside * real
    best = fit.topk(CANDIDATES, -1)
    chosen = torch.zeros_like(fit).scatter_(-1, best.indices, 1.0) * (inside & real)
    rivals = chosen.sum(1, keepdim=True) > 1
    winner = F.one_hot((overlap * chosen).argmax(1), truth.shape[1]).transpose(1, 2)
    chosen = torch.where(rivals, winner.to(chosen), chosen)
    fit = fit * chosen
    top_fit, top_overlap = fit.amax(-1, keepdim=True), (overlap * chosen).amax(-1, keepdim=True)
    goal = (fit / (top_fit + 1e-9) * top_overlap).amax(1)
    answers = torch.where(chosen.any(1), chosen.argmax(1), -1)
    return answers, goal


def loss(raw: Tensor, centres: Tensor, strides: Tensor, truth: Tensor, kinds: Tensor) -> Tensor:
    """The mean loss of a batch.

    raw:     f32[B, 4 * BINS + classes, N], the flattened maps
    centres: f32[N, 2] in cells, strides: f32[N, 1]
    truth, kinds: as in `assign`
    """
    raw = raw.float().transpose(1, 2)  # [B, N, ...]
    edges, logits = raw[..., : 4 * BINS].unflatten(-1, (4, BINS)), raw[..., 4 * BINS :]
    reach = edges.softmax(-1) @ torch.arange(BINS, device=raw.device, dtype=raw.dtype)
    boxes = torch.cat((centres - reach[..., :2], centres + reach[..., 2:]), -1)  # in cells
    with torch.no_grad():
        answers, goal = assign(logits.sigmoid(), boxes * strides, centres * strides, truth, kinds)
    total = goal.sum().clamp(min=1.0)
    found = answers.clamp(min=0)
    own_kind = F.one_hot(kinds.clamp(min=0).gather(1, found), logits.shape[-1])
    wanted = own_kind * goal[..., None]
    class_loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / total
    own_box = truth.gather(1, found[..., None].expand(-1, -1, 4)) / strides  # in cells
    weight = goal * (answers >= 0)
    box_loss = ((1 - iou(boxes, own_box, complete=True)) * weight).sum() / total
    away = torch.cat((centres - own_box[..., :2], own_box[..., 2:] - centres), -1)
    away = away.clamp(0, BINS - 1 - 0.01)  # [B, N, 4]
    lower = away.long()
    share = away - lower
    log = edges.log_softmax(-1)
    low = log.gather(-1, lower[..., None]).squeeze(-1)
    high = log.gather(-1, lower[..., None] + 1).squeeze(-1)
    edge_loss = -((low * (1 - share) + high * share).mean(-1) * weight).sum() / total
    return BOX_WEIGHT * box_loss + CLASS_WEIGHT * class_loss + EDGE_WEIGHT * edge_loss
