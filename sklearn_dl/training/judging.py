"""Rows that a model does not learn from, and how it does on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_dl.training.batches import padded
from sklearn_dl.training.job import Examples, FitJob

__all__ = ["joint_weight", "padded_rows", "scores"]


def joint_weight(examples: Examples | None) -> float:
    """Joint weight of rows."""
    if examples is None:
        return 0.0
    return float(len(examples)) if examples.weight is None else float(examples.weight.sum())


def padded_rows(
    folds: Sequence[Examples | None], device: torch.device, dtype: torch.dtype
) -> tuple[list[Examples], Tensor, Tensor] | None:
    """The validation rows of the models, their padded targets, and shares that sum to 1 a model."""
    present = [fold.to(device) for fold in folds if fold is not None]
    if not present:
        return None
    longest = max(len(fold) for fold in present)
    ones = [torch.ones(len(fold), device=device, dtype=dtype) for fold in present]
    weights = [
        one if fold.weight is None else fold.weight.to(dtype)
        for one, fold in zip(ones, present, strict=True)
    ]
    target = padded([fold.target for fold in present], longest)
    return present, target, padded([w / w.sum() for w in weights], longest)


def scores(job: FitJob, outputs: Tensor, target: Tensor, share: Tensor) -> list[float]:
    """Weighted accuracy or R2 of each model; ``share`` sums to 1 over a model's rows."""
    if job.score == "accuracy":
        hit = (
            outputs.argmax(-1) == target
            if job.loss.target == "index"
            else ((outputs > 0) == (target > 0)).all(-1)
        )
        return [float(v) for v in (hit * share).sum(1)]
    if job.score == "d2_pinball":
        return _pinball_scores(job, outputs, target, share)
    if job.score == "r2":
        if job.loss.link == "exp":
            outputs = outputs.exp()
        weight = share.unsqueeze(-1)
        residual = (weight * (outputs - target).square()).sum(1)
        mean = (weight * target).sum(1, keepdim=True)
        spread = (weight * (target - mean).square()).sum(1)
        return [float(v) for v in (1 - residual / spread.clamp(min=1e-30)).mean(-1)]
    return [math.nan] * outputs.shape[0]


def _pinball_scores(job: FitJob, outputs: Tensor, target: Tensor, share: Tensor) -> list[float]:
    """One minus the pinball loss over that of the rows' own quantiles, of each model."""
    order = target.argsort(1)
    reached = share.unsqueeze(-1).expand_as(target).gather(1, order).cumsum(1)
    levels = target.new_tensor(job.architecture.levels)
    places = torch.stack([(reached < q).sum(1) for q in levels], -1)  # (models, targets, levels)
    places = places.clamp(max=target.shape[1] - 1)
    constant = target.gather(1, order).transpose(1, 2).gather(2, places).flatten(1)
    losses = [
        (job.loss(each, target) * share).sum(1)
        for each in (outputs, constant.unsqueeze(1).expand_as(outputs))
    ]
    return [float(v) for v in 1 - losses[0] / losses[1].clamp(min=1e-30)]
