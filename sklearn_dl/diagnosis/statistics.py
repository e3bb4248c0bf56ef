"""Estimates with the standard error that is right for their kind.

Losses of two models on the same rows are compared by row; independent rows by Welch; means over
cross-validation folds share training rows, which Nadeau and Bengio's factor accounts for.
Everything here is arrays in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "Estimate",
    "holm",
    "over_folds",
    "overlapping_difference",
    "paired_difference",
    "row_mean",
    "welch_difference",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error and the degrees of freedom of that error."""

    value: float
    stderr: float
    df: float = math.inf

    def quantile(self, level: float) -> float:
        """Quantile of the t distribution with these degrees of freedom."""
        return float(
            stats.t.ppf(level, self.df) if math.isfinite(self.df) else stats.norm.ppf(level)
        )

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided confidence interval."""
        half = self.quantile(0.5 + level / 2) * self.stderr
        return self.value - half, self.value + half

    def upper(self, level: float = 0.95) -> float:
        """One-sided upper confidence limit."""
        return self.value + self.quantile(level) * self.stderr

    def p_positive(self) -> float:
        """One-sided p-value of the hypothesis that the true value is not above zero."""
        if not self.stderr > 0:
            return 0.0 if self.value > 0 else 1.0
        t = self.value / self.stderr
        return float(stats.t.sf(t, self.df) if math.isfinite(self.df) else stats.norm.sf(t))


def row_mean(
    losses: Floats, weights: Floats, clusters: NDArray[np.int64] | None = None
) -> Estimate:
    """Weighted mean; ``se^2 = sum_c (sum_{i in c} w_i (l_i - mean))^2 / (sum w)^2 * C / (C - 1)``.

    Without clusters every row is one; with them it is the cluster-robust error of a mean (Liang
    and Zeger 1986), which lets the rows of a group be alike.

    Parameters
    ----------
    losses, weights : ndarray of shape (n,)
        Rows with a NaN loss or weight 0 are left out.
    clusters : ndarray of shape (n,), optional
        Number of the cluster of each row.

    Returns
    -------
    Estimate
        NaN where no row is left; a standard error of infinity where one row or cluster is.
    """
    kept = np.isfinite(losses) & (weights > 0)
    x, w = losses[kept], weights[kept]
    if len(x) == 0:
        return Estimate(math.nan, math.nan)
    mean = float(w @ x) / float(w.sum())
    pull = w * (x - mean) / float(w.sum())
    return _clustered(mean, pull, None if clusters is None else clusters[kept])


def _clustered(value: float, pull: Floats, clusters: NDArray[np.int64] | None) -> Estimate:
    """A value from the pull of each row on it (its influence over n), summed by cluster."""
    if clusters is not None:
        pull = np.bincount(np.unique(clusters, return_inverse=True)[1], pull).astype(np.float64)
    n = len(pull)
    if n < 2:
        return Estimate(value, math.inf)
    return Estimate(value, math.sqrt(float(np.square(pull).sum()) * n / (n - 1)), n - 1)


def paired_difference(
    a: Floats, b: Floats, weights: Floats, clusters: NDArray[np.int64] | None = None
) -> Estimate:
    """Mean of ``a - b`` on the rows that have both."""
    return row_mean(a - b, weights, clusters)


def overlapping_difference(
    a: Floats, b: Floats, weights: Floats, clusters: NDArray[np.int64] | None = None
) -> Estimate:
    """Mean of ``a`` less mean of ``b``, each over its own rows of one table.

    Rows or clusters that have both count as paired, the others as independent: the pulls of both
    means are summed by row or cluster before they are squared.
    """
    pull, value, known = np.zeros(len(a)), 0.0, np.zeros(len(a), dtype=bool)
    for losses, sign in ((a, 1.0), (b, -1.0)):
        kept = np.isfinite(losses) & (weights > 0)
        if not kept.any():
            return Estimate(math.nan, math.nan)
        w = weights[kept] / float(weights[kept].sum())
        mean = float(w @ losses[kept])
        value += sign * mean
        pull[kept] += sign * w * (losses[kept] - mean)
        known |= kept
    return _clustered(value, pull[known], None if clusters is None else clusters[known])


def welch_difference(a: Estimate, b: Estimate) -> Estimate:
    """``a - b`` of independent means (Welch 1947), Satterthwaite's degrees of freedom."""
    va, vb = a.stderr**2, b.stderr**2
    spread = va**2 / a.df + vb**2 / b.df if a.df > 0 and b.df > 0 else 0.0
    df = (va + vb) ** 2 / spread if spread > 0 else math.inf
    return Estimate(a.value - b.value, math.sqrt(va + vb), df)


def over_folds(difference: Estimate, test_over_train: float) -> Estimate:
    """A row-wise difference of losses of folds that share training rows.

    Nadeau and Bengio (2003, eq. 9): the variance of a mean over K folds is ``(1/K + r) s^2`` and
    not ``s^2 / K``, ``r`` being rows held out over rows learnt. One pass of K folds has
    ``K r = 1 + r``, so the row-wise variance, which treats folds as independent, is multiplied
    by ``1 + K r = 2 + r``: for five folds the standard error grows by half.
    """
    return Estimate(
        difference.value, difference.stderr * math.sqrt(2 + test_over_train), difference.df
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values: each may be compared with the level of the whole family."""
    order = np.argsort(p_values)
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, k in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * float(p_values[k])))
        adjusted[int(k)] = running
    return adjusted
