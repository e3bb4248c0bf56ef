"""Does holding the network back help on rows it did not learn? One brake at a time.

A large distance between training and held-out loss is no harm by itself: a network that
interpolates may be the best there is (Belkin et al. 2019). It is overfitting where an early stop,
decay, dropout or a smaller network, with the optimizer and its steps as they were, lowers the
held-out loss. The brakes meet on one fold; the best of them is then tried on the others, which
had no part in choosing it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_dl.diagnosis import rules
from sklearn_dl.diagnosis.fewer_rows import half_of
from sklearn_dl.diagnosis.fold_fits import FoldFit, Job, at_prior, by_row, fit_jobs, jobs_on
from sklearn_dl.diagnosis.gaps import Gap
from sklearn_dl.diagnosis.row_losses import RowLoss
from sklearn_dl.diagnosis.statistics import Estimate, paired_difference
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.diagnosis.table import Folds, Table

__all__ = ["Brake", "Brakes", "brake_settings", "gain_on_held_out", "try_brakes"]

Floats = NDArray[np.float64]
Params = dict[str, Any]

DECAY = 0.3  # of the decoupled decay (Loshchilov and Hutter 2019), or ten times the user's
COUPLED_DECAY = 1e-2  # added to the gradient, as SGD and RMSProp have it
DROPOUT = 0.3  # more than the user's
SMALLER = 4  # times as narrow
FEW = 2  # brakes of the standard budget: of 25 overfitted networks of our benchmark's tuned tables
# an early stop or dropout helped 24, with 98 % (median) of what the best of five brakes gained

ENOUGH = 50  # held-out rows of a fold that may say for the others that no brake helps


@dataclass(frozen=True)
class Brake:
    """One way to hold back, and what it gained on held-out rows."""

    params: Params
    action: str
    gain: Estimate


@dataclass(frozen=True)
class Brakes:
    """What was tried, the best first; a brake that went on to other folds is judged by those.

    ``half`` is what learning half of the rows costs on the first fold's ``n_first`` held-out rows;
    None where that was not asked. ``n_fits`` and ``n_rows`` are of the brakes alone. ``n_looks`` is
    among how many the best was chosen by the very rows it is judged on.
    """

    tried: tuple[Brake, ...]
    n_fits: int
    n_rows: int
    half: Estimate | None = None
    n_first: int = 0
    n_looks: int = 1

    @property
    def best(self) -> Brake:
        """The brake that was tried on more than one fold, or the best of that one."""
        return self.tried[0]


def brake_settings(subject: Subject) -> list[tuple[Params, str]]:
    """The brakes this network has room for, those that help most often first."""
    found: list[tuple[Params, str]] = []
    if not subject.setting("early_stopping"):
        found.append(({"early_stopping": True}, "stop where a validation part is best"))
    decay = float(subject.setting("weight_decay", 0.0) or 0.0)
    optimizer = subject.setting("optimizer")
    if optimizer in ("adam", "adamw"):
        # Decay inside the adaptive step is hardly a brake; decoupled it is (the rest is the same).
        new = {"optimizer": "adamw", "weight_decay": max(DECAY, 10 * decay)}
    else:
        new = {"weight_decay": max(COUPLED_DECAY, 10 * decay)}
    sizes = tuple(subject.setting("hidden_layer_sizes", ()))
    if sizes and not callable(subject.setting("module")):
        dropout = float(subject.setting("dropout", 0.0) or 0.0)
        if dropout < 0.5:
            found.append(({"dropout": round(min(0.5, dropout + DROPOUT), 12)}, "raise dropout"))
    if subject.reads_images and subject.setting("augmentation") is None:
        found.append(({"augmentation": "affine"}, "turn, zoom and shift the images at random"))
    found.append((new, "raise weight decay"))
    if sizes and not callable(subject.setting("module")):
        narrower = tuple(max(1, h // SMALLER) for h in sizes)
        found.append(({"hidden_layer_sizes": narrower}, "make the layers four times narrower"))
    return found


def try_brakes(
    subject: Subject,
    fits: Sequence[FoldFit],
    table: Table,
    folds: Folds,
    loss: RowLoss,
    gap: Gap,
    margin: float,
    prior_loss: float,
    *,
    thorough: bool = False,
    seed: int = 0,
) -> Brakes | None:
    """Train every brake on the first fold, and the best, if it may help, on the others.

    With the brakes goes the network as it is, on half of the rows, if it may lack rows.

    Parameters
    ----------
    fits : sequence of FoldFit
        The user's own, by fold.
    gap : Gap
        B - max(A, F). Where it is far above the margin the verdict is known, and one fold ranks the
        remedies; where it is shown to be small, the network does not lack rows.
    margin : float
        What a gain must exceed to matter.
    prior_loss : float
        L0, what a fit that diverges loses.
    thorough : bool
        Every brake on every fold.
    seed : int
        Draws the half of the rows.

    Returns
    -------
    Brakes or None
        None where the estimator holds no network of ours.
    """
    if not subject.is_network or any(f.failure is not None for f in fits):
        return None
    settings = brake_settings(subject)[: None if thorough else FEW]
    jobs = [_job(subject, params, table, folds, 0) for params, _ in settings]
    halved = None
    if thorough or not rules.settled(gap, margin):
        halved = half_of(_job(subject, {}, table, folds, 0), subject, np.random.RandomState(seed))
    gained = partial(gain_on_held_out, table=table, prior_loss=prior_loss)
    first = fit_jobs(jobs if halved is None else [*jobs, halved], loss)
    half = None if halved is None else gained([first.pop()], [fits[0]])
    gains = [gained([fits[0]], [fit]) for fit in first]
    tried = [
        Brake(params, action, gain) for (params, action), gain in zip(settings, gains, strict=True)
    ]
    order = sorted(range(len(tried)), key=lambda k: -_value(gains[k]))
    chosen = list(order) if thorough else order[:1]
    n_fits = len(jobs)
    few = len(fits[0].test) < ENOUGH
    if len(folds) > 1 and (thorough or _open(gains[order[0]], gap, margin, few=few)):
        for k in chosen:
            jobs = [_job(subject, tried[k].params, table, folds, j) for j in range(1, len(folds))]
            n_fits += len(jobs)
            rest = fit_jobs(jobs, loss)
            # The first fold chose it; what it gains is judged by the others.
            tried[k] = replace(tried[k], gain=gained(fits[1:], rest))
    if thorough:
        order = sorted(range(len(tried)), key=lambda k: -_value(tried[k].gain))
    went_on = n_fits > len(settings)
    rows = [fit.inside if len(fit.inside) else fit.test for fit in fits]
    judged = np.concatenate(rows[1:] if went_on else rows[:1])
    n_looks = 1 if went_on and not thorough else len(tried)
    return Brakes(
        tuple(tried[k] for k in order), n_fits, len(np.unique(judged)), half, len(rows[0]), n_looks
    )


def _open(gain: Estimate, gap: Gap, margin: float, *, few: bool) -> bool:
    """Whether the first fold leaves open if its best brake helps, and that matters.

    It decides where another model is better, but not by far. Elsewhere it must be possible that it
    gains more than the margin (a fold of few rows never shows that it does not), and where no other
    model is better, not without hope.
    """
    if rules.found(gap, margin):
        return gap.value <= rules.WIDE * margin
    hopeful = _value(gain) > rules.HALF * margin
    small = gain.upper() < margin and not few
    return (hopeful or not rules.settled(gap, margin)) and not small


def _job(subject: Subject, params: Params, table: Table, folds: Folds, fold: int) -> Job:
    return jobs_on(
        folds, subject.with_params(**params), table, fit_prefix=subject.fit_prefix,
        judge_train=False,
    )[fold]  # fmt: skip


def gain_on_held_out(
    before: Sequence[FoldFit], after: Sequence[FoldFit], table: Table, prior_loss: float
) -> Estimate:
    """Fall of the loss on held-out rows (of the groups or period learnt, where they are apart)."""
    a, b = (by_row(at_prior(fits, prior_loss), len(table)) for fits in (before, after))
    within = len(before[0].inside) > 0
    old, new = (a.inside, b.inside) if within else (a.held_out, b.held_out)
    return paired_difference(old, new, table.loss_weight, table.clusters)


def _value(gain: Estimate) -> float:
    return gain.value if math.isfinite(gain.value) else -math.inf
