"""Estimates with the standard error that is right for their kind.

Losses of two models on the same rows are compared by row; independent rows by Welch; means over
cross-validation folds share training rows, which Nadeau and Bengio's factor accounts for.
Everything here is arrays in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "Estimate",
    "holm",
    "over_folds",
    "paired_difference",
    "row_mean",
    "welch_difference",
    "with_refits",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, and what its distribution is like.

    Losses have long right tails, and of few rows or groups their mean inherits the tail: a
    symmetric interval then lies too low. Hall's (1992) cubic transformation of the t statistic,
    ``g(t) = t + a t^2 / 3 + a^2 t^3 / 27 + a / 6``, removes that skewness; it is monotone, and
    leaves t as it is where ``a`` is zero.

    Attributes
    ----------
    value, stderr : float
        The estimate and its standard error.
    df : float
        Degrees of freedom of the standard error.
    skewness : float
        ``a``: third cumulant of the estimate over ``stderr^3``.

    References
    ----------
    Hall (1992), On the removal of skewness by transformation.
    """

    value: float
    stderr: float
    df: float = math.inf
    skewness: float = 0.0

    def quantile(self, level: float) -> float:
        """Quantile of the t distribution with these degrees of freedom."""
        return float(
            stats.t.ppf(level, self.df) if math.isfinite(self.df) else stats.norm.ppf(level)
        )

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided confidence interval."""
        return self.upper(0.5 - level / 2), self.upper(0.5 + level / 2)

    def upper(self, level: float = 0.95) -> float:
        """One-sided upper confidence limit."""
        return self.value - self._skewed(self.quantile(1 - level)) * self.stderr

    def p_positive(self) -> float:
        """One-sided p-value of the hypothesis that the true value is not above zero."""
        if not self.stderr > 0:
            return 0.0 if self.value > 0 else 1.0
        t, a = self.value / self.stderr, self.skewness
        t += a * t**2 / 3 + a**2 * t**3 / 27 + a / 6
        return float(stats.t.sf(t, self.df) if math.isfinite(self.df) else stats.norm.sf(t))

    def _skewed(self, z: float) -> float:
        """The inverse of Hall's transformation."""
        a = self.skewness
        if abs(a) < _SYMMETRIC:
            return z
        return 3 / a * (float(np.cbrt(1 + a * (z - a / 6))) - 1)


_SYMMETRIC = 1e-6  # below, the inverse is a difference of two numbers near one


def row_mean(
    losses: Floats, weights: Floats, clusters: NDArray[np.int64] | None = None
) -> Estimate:
    """Weighted mean with the jackknife's standard error, over rows or clusters.

    ``se^2 = (C - 1) / C * sum_c (sum_{i in c} w_i (l_i - mean) / (W - W_c))^2``, W the weight of
    all rows and W_c that of cluster c: what leaving out each cluster changes (MacKinnon, Nielsen
    and Webb 2023, CV3). Without clusters every row is one. Unequal weights cost degrees of
    freedom: ``(sum W_c^2)^2 / sum W_c^4 - 1`` (Satterthwaite 1946), C - 1 where they are equal.

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
    share = w / float(w.sum())
    mean = float(share @ x)
    pull = share * (x - mean)
    if clusters is not None:
        label = np.unique(clusters[kept], return_inverse=True)[1]
        pull, share = (np.bincount(label, x).astype(np.float64) for x in (pull, share))
    n = len(pull)
    if n < 2:
        return Estimate(mean, math.inf)
    pull = pull / (1 - share)
    error = math.sqrt(float(np.square(pull).sum()) * (n - 1) / n)
    df = float(np.square(share).sum()) ** 2 / float((share**4).sum()) - 1
    return Estimate(mean, error, max(df, 1.0), _skewness(pull, error))


def _skewness(pull: Floats, error: float) -> float:
    """Of a sum of independent pulls; 0 where three are not enough to see it."""
    n = len(pull)
    if n < 3 or not error > 0:
        return 0.0
    centred = pull - pull.mean()
    return float((centred**3).sum()) * (n - 1) / (n - 2) / error**3 * ((n - 1) / n)


def paired_difference(
    a: Floats, b: Floats, weights: Floats, clusters: NDArray[np.int64] | None = None
) -> Estimate:
    """Mean of ``a - b`` on the rows that have both."""
    return row_mean(a - b, weights, clusters)


def welch_difference(a: Estimate, b: Estimate) -> Estimate:
    """``a - b`` of independent means (Welch 1947), Satterthwaite's degrees of freedom."""
    va, vb = a.stderr**2, b.stderr**2
    spread = va**2 / a.df + vb**2 / b.df if a.df > 0 and b.df > 0 else 0.0
    df = (va + vb) ** 2 / spread if spread > 0 else math.inf
    error = math.sqrt(va + vb)
    third = a.skewness * a.stderr**3 - b.skewness * b.stderr**3
    skewness = third / error**3 if 0 < error < math.inf else 0.0
    return Estimate(a.value - b.value, error, df, skewness)


def over_folds(difference: Estimate, test_over_train: float) -> Estimate:
    """A row-wise difference of losses of folds that share training rows.

    Nadeau and Bengio (2003, eq. 9): the variance of a mean over K folds is ``(1/K + r) s^2`` and
    not ``s^2 / K``, ``r`` being rows held out over rows learnt. One pass of K folds has
    ``K r = 1 + r``, so the row-wise variance, which treats folds as independent, is multiplied
    by ``1 + K r = 2 + r``: for five folds the standard error grows by half.
    """
    factor = math.sqrt(2 + test_over_train)
    return replace(
        difference,
        stderr=difference.stderr * factor,
        skewness=difference.skewness / factor**3,
    )


def with_refits(rows: Estimate, row_wise: Floats, left_out: Floats) -> Estimate:
    """A row-wise estimate, corrected for what leaving rows out does to the fit itself.

    The rows of a training loss also steer the fit. For a minimum of that loss this is of second
    order; a penalised fit follows its rows at first order, and its training loss varies far less
    than its rows do. Leaving out each fold gives the true pseudo-values of the estimate, but only
    K of them. They are regressed on the fold means of the row-wise influence, of which n are
    known (double sampling: Cochran 1977, ch. 12.6): ``se^2 = (1 + b)^2 se_rows^2 + s_e^2 / K``,
    b the slope of their difference and s_e its residual deviation on K - 2 degrees of freedom.

    Parameters
    ----------
    rows : Estimate
        The row-wise estimate.
    row_wise : ndarray of shape (K,)
        Its mean over the rows of each fold.
    left_out : ndarray of shape (K,)
        Jackknife pseudo-value of each fold.

    Returns
    -------
    Estimate
        Same value; degrees of freedom by Satterthwaite (1946).
    """
    k = len(row_wise)
    x, d = row_wise - row_wise.mean(), left_out - row_wise
    square = float(x @ x)
    if k < MIN_PSEUDO_VALUES or not square > 0 or not math.isfinite(rows.stderr):
        return rows
    slope = float(x @ d) / square
    residual = d - d.mean() - slope * x
    s2 = float(residual @ residual) / (k - 2)
    known, new = (1 + slope) ** 2 * rows.stderr**2, s2 / k
    variance = known + new
    if not variance > 0:
        return rows
    doubt = (2 * (1 + slope) * rows.stderr**2) ** 2 * s2 / square
    doubt += 2 * new**2 / (k - 2) + 2 * known**2 / rows.df
    df = 2 * variance**2 / doubt if doubt > 0 else rows.df
    error = math.sqrt(variance)
    third = ((1 + slope) * rows.stderr) ** 3 * rows.skewness
    return Estimate(rows.value, error, max(min(df, rows.df), k - 2), third / error**3)


MIN_PSEUDO_VALUES = 5  # three residual degrees of freedom: fewer say little of the fits


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values: each may be compared with the level of the whole family."""
    order = np.argsort(p_values)
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, k in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * float(p_values[k])))
        adjusted[int(k)] = running
    return adjusted
