"""How do the models of a stack do on rows that they do not learn from?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from sklearn_dl.nn.ensemble import averaged
from sklearn_dl.training.batches import padded
from sklearn_dl.training.job import Examples, FitJob
from sklearn_dl.training.model import Model
from sklearn_dl.training.sharpness import best_factor

__all__ = ["Judge", "padded_rows"]

#: Rows judged at a time.
JUDGED_ROWS = 8192

Predicted: TypeAlias = Callable[[Tensor], Tensor]
"""Rows (n_models, rows, n_inputs) to the outputs of the models now, (n_models, rows, n_outputs)."""


class Judge:
    """Losses and scores of models that train together, and of the mean of those of one fit.

    Parameters
    ----------
    models : sequence of Model
        Of one stack.
    with_factor : bool
        Whether the network can take over a factor of its outputs, which is then sought.

    Attributes
    ----------
    factors : list of float
        Of the outputs of each model: the one that served its team best on the rows left out.
    """

    def __init__(self, models: Sequence[Model], *, with_factor: bool) -> None:
        self.factors = [1.0] * len(models)
        self._jobs = [model.job for model in models]
        self._with_factor = with_factor
        job = self._jobs[0]
        self._loss, self._device = job.loss, job.device
        self._rows_at_once = job.architecture.rows_at_once(JUDGED_ROWS)
        self._held_out = padded_rows([j.validation for j in self._jobs], job.device, job.dtype)
        self._left_out = padded_rows([j.left_out for j in self._jobs], job.device, job.dtype)
        places: dict[int, list[int]] = {}
        for place, model in enumerate(models):
            places.setdefault(model.team, []).append(place)
        self._teams = [team for team in places.values() if len(team) > 1]

    @torch.no_grad()
    def held_out(self, predicted: Predicted) -> list[tuple[float, float]]:
        """Loss and score of each model's team on its validation rows; NaN where it has none."""
        if self._held_out is None:
            return [(math.nan, math.nan)] * len(self._jobs)
        loss, outputs = self.judged(predicted, *self._held_out)
        target, share = self._held_out[1:]
        found = list(
            zip(loss.tolist(), _scores(self._jobs[0], outputs, target, share), strict=True)
        )
        for team in self._teams:  # members watch the same rows: their mean is judged
            mean = averaged(outputs[team], self._loss.link).unsqueeze(0)
            rows = slice(team[0], team[0] + 1)
            value = float((self._loss(mean, target[rows]) * share[rows]).sum())
            (score,) = _scores(self._jobs[0], mean, target[rows], share[rows])
            for place in team:
                found[place] = value, score
        return found

    @torch.no_grad()
    def left_out(self, predicted: Predicted) -> list[float]:
        """What each model's team loses on the rows that its members leave out; NaN without any.

        Classes at the factor of the outputs that serves them best.
        """
        if self._left_out is None:
            return [math.nan] * len(self._jobs)
        examples, target, share = self._left_out
        loss, outputs = self.judged(predicted, examples, target, share)
        found = loss.tolist()
        for team in self._teams:
            weights = [_joint_weight(self._jobs[place].left_out) for place in team]
            total = sum(weights)
            if self._with_factor:
                # without padding, so that other teams of the stack make no difference
                rows = [(place, slice(0, len(examples[place]))) for place in team]
                shares = [share[at] * (w / total) for at, w in zip(rows, weights, strict=True)]
                parts = [torch.cat([values[at] for at in rows]) for values in (outputs, target)]
                factor, summed = best_factor(self._loss, parts[0], parts[1], torch.cat(shares))
            else:
                factor = 1.0
                summed = sum(w * found[p] for w, p in zip(weights, team, strict=True)) / total
            for place in team:
                found[place], self.factors[place] = summed, factor
        return found

    def judged(
        self, predicted: Predicted, folds: list[Examples], target: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean loss of each model on its rows, (n_models,), and its outputs; see `padded_rows`."""
        loss = torch.zeros(len(self._jobs), device=self._device, dtype=torch.float64)
        outputs = []
        for start in range(0, target.shape[1], self._rows_at_once):
            rows = slice(start, min(start + self._rows_at_once, target.shape[1]))
            parts = [fold.inputs.rows(rows.start, rows.stop).to(self._device) for fold in folds]
            out = predicted(padded(parts, rows.stop - rows.start))
            losses = self._loss(out, target[:, rows])
            # a padding row weighs nothing, also where a diverged model gives it no number
            loss += torch.where(share[:, rows] > 0, losses * share[:, rows], 0.0).sum(1)
            outputs.append(out)
        return loss, torch.cat(outputs, 1)


def _joint_weight(examples: Examples | None) -> float:
    """Joint weight of rows."""
    if examples is None:
        return 0.0
    return float(len(examples)) if examples.weight is None else float(examples.weight.sum())


def padded_rows(
    folds: Sequence[Examples | None], device: torch.device, dtype: torch.dtype
) -> tuple[list[Examples], Tensor, Tensor] | None:
    """Rows of the models, their padded targets (n_models, rows, ...), and the rows' shares.

    Shares, (n_models, rows), sum to 1 for each model, and are 0 for padding. None where no model
    has rows.
    """
    present = [fold.to(device) for fold in folds if fold is not None]
    if not present:
        return None
    longest = max(len(fold) for fold in present)
    # as float32 the weights themselves might be infinite, or zero: their shares are neither
    weights = [
        torch.ones(len(fold), device=device, dtype=torch.float64)
        if fold.weight is None
        else fold.weight.to(torch.float64)
        for fold in present
    ]
    target = padded([fold.target for fold in present], longest)
    return present, target, padded([(w / w.sum()).to(dtype) for w in weights], longest)


def _scores(job: FitJob, outputs: Tensor, target: Tensor, share: Tensor) -> list[float]:
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
        weight = share.double().unsqueeze(-1)
        weight = weight / weight.sum(1, keepdim=True)
        outputs, target = outputs.double(), target.double()
        residual = (weight * (outputs - target).square()).sum(1)
        mean = (weight * target).sum(1, keepdim=True)
        spread = (weight * (target - mean).square()).sum(1)
        rounding = (4 * torch.finfo(torch.float64).eps * mean.squeeze(1)).square()
        return _explained(residual, torch.where(spread > rounding, spread, 0.0)).tolist()
    return [math.nan] * outputs.shape[0]


def _explained(residual: Tensor, spread: Tensor) -> Tensor:
    """``1 - residual / spread``, (n_models, ...) to its mean (n_models,).

    As scikit-learn has it 0 where there is nothing to explain, and 1 where nothing is left either.
    """
    nothing = torch.where(residual > 0, 0.0, 1.0).to(spread.dtype)
    score = torch.where(spread > 0, 1 - residual / spread, nothing)
    return score.flatten(1).mean(1)


def _pinball_scores(job: FitJob, outputs: Tensor, target: Tensor, share: Tensor) -> list[float]:
    """Mean over targets and levels of D2: 1 - pinball loss / that of the rows' own quantile."""
    order = target.argsort(1)
    reached = share.unsqueeze(-1).expand_as(target).gather(1, order).cumsum(1)
    levels = target.new_tensor(job.architecture.levels)
    places = torch.stack([(reached < q).sum(1) for q in levels], 1)  # (models, levels, targets)
    places = places.clamp(max=target.shape[1] - 1)
    constant = target.gather(1, order).gather(1, places).mT.unsqueeze(1)

    def lost(values: Tensor) -> Tensor:
        """By target and level, of values (n_models, rows or 1, n_targets, n_levels)."""
        residual = target.unsqueeze(-1) - values
        losses = torch.maximum(levels * residual, (levels - 1) * residual)
        return (losses * share[..., None, None]).sum(1)

    return _explained(lost(outputs.unflatten(-1, (-1, len(levels)))), lost(constant)).tolist()
