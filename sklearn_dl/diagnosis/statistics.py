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

__all__ = ["Estimate", "fold_mean", "holm", "paired_difference", "row_mean", "welch_difference"]

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


def row_mean(losses: Floats, weights: Floats) -> Estimate:
    """Weighted mean of independent rows; ``se^2 = sum w^2 (l - mean)^2 / (sum w)^2 * n/(n-1)``.

    Parameters
    ----------
    losses, weights : ndarray of shape (n,)
        Rows with a NaN loss or weight 0 are left out.

    Returns
    -------
    Estimate
        NaN where no row is left; a standard error of infinity where one is.
    """
    kept = np.isfinite(losses) & (weights > 0)
    x, w = losses[kept], weights[kept]
    n = len(x)
    if n == 0:
        return Estimate(math.nan, math.nan)
    total = float(w.sum())
    mean = float(w @ x) / total
    if n == 1:
        return Estimate(mean, math.inf)
    spread = math.sqrt(float(np.square(w * (x - mean)).sum())) / total
    return Estimate(mean, spread * math.sqrt(n / (n - 1)), n - 1)


def paired_difference(a: Floats, b: Floats, weights: Floats) -> Estimate:
    """Mean of ``a - b`` on the rows that have both."""
    return row_mean(a - b, weights)


def welch_difference(a: Estimate, b: Estimate) -> Estimate:
    """``a - b`` of independent means (Welch 1947), Satterthwaite's degrees of freedom."""
    va, vb = a.stderr**2, b.stderr**2
    spread = va**2 / a.df + vb**2 / b.df if a.df > 0 and b.df > 0 else 0.0
    df = (va + vb) ** 2 / spread if spread > 0 else math.inf
    return Estimate(a.value - b.value, math.sqrt(va + vb), df)


def fold_mean(values: Sequence[float], test_over_train: float) -> Estimate:
    """Mean over K folds; ``se^2 = (1/K + n_test/n_train) s^2`` (Nadeau and Bengio 2003, eq. 9).

    The plain ``s^2 / K`` treats the folds as independent though they share training rows, and
    under-covers.
    """
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return Estimate(float(x.mean()) if len(x) else math.nan, math.inf)
    variance = (1 / len(x) + test_over_train) * float(x.var(ddof=1))
    return Estimate(float(x.mean()), math.sqrt(variance), len(x) - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values: each may be compared with the level of the whole family."""
    order = np.argsort(p_values)
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, k in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * float(p_values[k])))
        adjusted[int(k)] = running
    return adjusted
