"""Which learning rates work: all at once, from several seeds, beside what curvature says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sklearn_dl.curvature import hessian_extremes
from sklearn_dl.fitting import new_seed
from sklearn_dl.optimizers import MOMENTUM
from sklearn_dl.studies.runs import (
    Subject,
    fit_runs,
    initial,
    mean_interval,
    seeds_from,
    subject_of,
)

__all__ = [
    "LearningRateRange",
    "learning_rate_range",
    "rate_grid",
    "workable",
]

#: Updates that each rate is given at least.
STEPS = 200
#: Rates tried: powers of ten around the estimator's own rate, three to a decade.
DECADES, PER_DECADE = (-3.0, 3.0), 3
#: A rate works where it reaches this share of the loss that the best rate takes away.
WORKS = 0.9
CONSTANT = {"schedule": None, "warmup": 0.0, "early_stopping": False}


@dataclass(frozen=True)
class LearningRateRange:
    """How far the training loss falls at each constant learning rate.

    Attributes
    ----------
    runs : DataFrame
        A row a rate and seed: ``learning_rate``, ``seed``, ``start_loss``, ``loss``, ``diverged``.
    rates : DataFrame
        A row a rate: mean ``loss`` with its 95 % interval over seeds, ``diverged_share``,
        ``stable`` (no seed diverged or ended above its start), ``works``.
    largest_stable : float
        Largest rate below which every rate tried is stable; NaN where the smallest is not.
    first_unstable : float
        The next rate tried; inf where all are stable.
    best : float
        Rate of the lowest mean loss; NaN where all diverged.
    width : float
        Factor between the largest and the smallest rate that work: at least 90 % of what the best
        takes from the start loss.
    curvature_limit : float
        ``2 (1 + momentum) / lambda_max`` at the initial weights, mean over seeds: where gradient
        descent becomes unstable on the quadratic model. NaN for other optimizers.
    curvature_limit_low, curvature_limit_high : float
        Its smallest and largest value over seeds.
    n_steps : int
        Updates of each run.
    notes : tuple of str
    """

    runs: pd.DataFrame
    rates: pd.DataFrame
    largest_stable: float
    first_unstable: float
    best: float
    width: float
    curvature_limit: float
    curvature_limit_low: float
    curvature_limit_high: float
    n_steps: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """The answer in a few lines."""
        stable = f"stable up to {self.largest_stable:.3g}, "
        if np.isnan(self.largest_stable):
            stable = f"no rate tried is stable, not even {self.first_unstable:.3g}"
        elif np.isfinite(self.first_unstable):
            stable += f"not at {self.first_unstable:.3g}"
        else:
            stable += "the largest rate tried"
        lines = [stable]
        if np.isfinite(self.best):
            lines.append(
                f"lowest training loss after {self.n_steps} updates at {self.best:.3g}; "
                + (
                    f"rates within a factor of {self.width:.3g} work"
                    if np.isfinite(self.width)
                    else "no rate lowers the loss"
                )
            )
        if np.isfinite(self.curvature_limit):
            lines.append(
                f"gradient descent on the curvature at the start: up to {self.curvature_limit:.3g} "
                f"({self.curvature_limit_low:.3g} to {self.curvature_limit_high:.3g})"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def learning_rate_range(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    rates: Sequence[float] | None = None,
    n_seeds: int = 3,
    n_epochs: int | None = None,
    curvature: bool = True,
    random_state: Any = None,
) -> LearningRateRange:
    """Train at many constant rates at once and mark the largest stable one.

    Gradient descent with momentum m on a quadratic surface is stable below
    ``2 (1 + m) / lambda_max`` (Polyak 1964). Mini-batches lower the limit, curvature that falls
    in training raises it, and rates just above it often train well, since the curvature adapts
    (Cohen et al. 2021, Gradient Descent on Neural Networks Typically Occurs at the Edge of
    Stability): so the limit is shown beside what happens, not in its place.

    Parameters
    ----------
    estimator : DLClassifier, DLRegressor or Pipeline that ends in one
        Not changed. Its schedule, warm-up and early stopping are set aside.
    X, y : training rows
    rates : sequence of float, optional
        By default three a decade from a thousandth to a thousand times the estimator's rate.
    n_seeds : int, default=3
    n_epochs : int, optional
        By default as many as make 200 updates.
    curvature : bool, default=True
        Whether to measure the curvature at the start.
    random_state : int, RandomState or None

    Returns
    -------
    LearningRateRange

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dl import DLClassifier
    >>> from sklearn_dl.studies import learning_rate_range
    >>> net = DLClassifier(module="mlp", hidden_layer_sizes=(8,), optimizer="sgd")
    >>> found = learning_rate_range(
    ...     net, *load_iris(return_X_y=True), rates=[0.01, 0.1, 1e4], n_epochs=5, random_state=0
    ... )
    >>> found.largest_stable, found.first_unstable
    (0.1, 10000.0)
    """
    subject = subject_of(estimator, X, y)
    grid = rate_grid(subject.network.learning_rate) if rates is None else sorted(set(rates))
    if len(grid) < 2 or not all(0 < r < np.inf for r in grid) or n_seeds < 1:
        raise ValueError(
            f"need two or more positive rates and a seed; got {rates!r} and n_seeds={n_seeds!r}."
        )
    per_epoch = subject.steps(subject.batch_size())
    epochs = -(-STEPS // per_epoch) if n_epochs is None else n_epochs
    seeds = seeds_from(np.random.default_rng(new_seed(random_state)), n_seeds)
    starts = initial(subject, seeds)
    settings = [{**CONSTANT, "learning_rate": rate, "max_epochs": epochs} for rate in grid]
    runs = pd.DataFrame(
        [
            (run.params["learning_rate"], run.seed, start.loss, run.loss, run.diverged)
            for run, start in zip(
                fit_runs(subject, settings, seeds), starts * len(grid), strict=True
            )
        ],
        columns=["learning_rate", "seed", "start_loss", "loss", "diverged"],
    )
    table = _by_rate(runs)
    stable = table["stable"].to_numpy()
    n_stable = len(stable) if stable.all() else int(np.argmin(stable))
    works = table.loc[table["works"], "learning_rate"]
    lowest = float(table["learning_rate"].iloc[int(np.argmin(table["loss"]))])
    limits, notes = _curvature_limits(subject, starts) if curvature else ([], [])
    return LearningRateRange(
        runs=runs,
        rates=table,
        largest_stable=grid[n_stable - 1] if n_stable else np.nan,
        first_unstable=grid[n_stable] if n_stable < len(grid) else np.inf,
        best=lowest if np.isfinite(table["loss"].min()) else np.nan,
        width=float(works.max() / works.min()) if len(works) else np.nan,
        curvature_limit=float(np.mean(limits)) if limits else np.nan,
        curvature_limit_low=min(limits, default=np.nan),
        curvature_limit_high=max(limits, default=np.nan),
        n_steps=epochs * per_epoch,
        notes=tuple(notes),
    )


def rate_grid(
    rate: float, decades: tuple[float, float] = DECADES, per_decade: int = PER_DECADE
) -> list[float]:
    """Rates around one, some to a decade, to three digits."""
    low, high = decades
    powers = np.arange(round(low * per_decade), round(high * per_decade) + 1) / per_decade
    return [float(f"{rate * 10**power:.3g}") for power in powers]


def workable(losses: Any, start_loss: float) -> Any:
    """Which mean losses are at least 90 % of the way from the start to the best."""
    losses = np.asarray(losses, dtype=np.float64)
    best = losses.min()
    if not np.isfinite(best):  # all diverged
        return np.zeros(losses.shape, dtype=bool)
    return (losses <= best + (1 - WORKS) * (start_loss - best)) & (losses < start_loss)


def _by_rate(runs: pd.DataFrame) -> pd.DataFrame:
    records = []
    for rate, own in runs.groupby("learning_rate"):
        mean, low, high = mean_interval(own["loss"])
        stable = bool((~own["diverged"] & (own["loss"] <= own["start_loss"])).all())
        records.append((rate, mean, low, high, own["diverged"].mean(), stable))
    columns = ["learning_rate", "loss", "loss_low", "loss_high", "diverged_share", "stable"]
    table = pd.DataFrame(records, columns=columns)
    return table.assign(works=workable(table["loss"], float(runs["start_loss"].mean())))


def _curvature_limits(subject: Subject, starts: list[Any]) -> tuple[list[float], list[str]]:
    """``2 (1 + m) / lambda_max`` at each start, or why there is none."""
    network = subject.network
    if network.optimizer != "sgd":
        return [], [f"2 / lambda_max is a limit of gradient descent, not of {network.optimizer!r}"]
    momentum = MOMENTUM if network.momentum is None else network.momentum
    try:
        tops = [
            hessian_extremes(
                run.fitted, subject.X, subject.y, tol=1e-2, penalty=True, random_state=0
            ).eigenvalue_max
            for run in starts
        ]
    except ValueError as error:
        return [], [f"no curvature: {error}"]
    return [2 * (1 + momentum) / top for top in tops if top > 0], []
