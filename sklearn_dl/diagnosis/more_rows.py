"""What would more rows bring? A power law through the losses at smaller sizes.

``L(n) = a + b n^-c`` with ``a >= 0``, ``b >= 0`` and ``0 < c <= 2``, weighted by one over the
variance. Every size gets about the same number of optimizer steps: at constant epochs more rows are
also more steps, and a rate that is too low would pass for a lack of rows. About one real curve in
seven is no power law (Mohr, Viering et al. 2022); where the losses rise with the rows, or the law
does not fit, nothing is predicted. Nothing is predicted beyond four times the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from sklearn_dl.diagnosis.learning import loss_by_size
from sklearn_dl.diagnosis.result import Diagnosis

__all__ = ["MoreRows", "PowerLaw", "fit_power_law", "more_rows"]

Floats = NDArray[np.float64]

EXPONENTS = np.linspace(0.05, 2.0, 79)
FARTHEST = 4.0  # times the rows
DRAWS = 500
RISE = 2.0  # standard errors: a loss so far above that of fewer rows is no falling curve
MISFIT = 0.01  # p-value of the chi-squared of the residuals


@dataclass(frozen=True)
class PowerLaw:
    """``L(n) = a + b n^-c``, and the weighted sum of squares it leaves."""

    a: float
    b: float
    c: float
    chi2: float

    def __call__(self, n: float) -> float:
        """Loss at ``n`` rows."""
        return self.a + self.b / math.pow(n, self.c)


@dataclass(frozen=True)
class MoreRows:
    """What the curve promises.

    Attributes
    ----------
    curve : DataFrame
        Columns ``rows``, ``training``, ``out_of_fold``, ``stderr``.
    law : PowerLaw or None
        None where nothing is predicted; ``reason`` says why.
    predictions : DataFrame
        Rows for twice and four times the rows: ``rows``, ``loss``, ``ci_low``, ``ci_high``
        (95 %, parametric bootstrap); empty without a law.
    probability : float
        That twice the rows lower the loss by more than the margin of the diagnosis; NaN without a
        law.
    reason : str
        Why nothing is predicted; empty with a law.
    """

    curve: pd.DataFrame
    law: PowerLaw | None
    predictions: pd.DataFrame
    probability: float
    reason: str


def fit_power_law(rows: Floats, losses: Floats, stderr: Floats) -> PowerLaw:
    """Weighted least squares; ``a`` and ``b`` in closed form at each exponent of a grid.

    Parameters
    ----------
    rows, losses, stderr : ndarray of shape (k,)
        Sizes, mean losses and their standard errors.
    """
    return _fits(rows, losses[None, :], stderr)[0]


def _fits(rows: Floats, draws: Floats, stderr: Floats) -> list[PowerLaw]:
    """A law for each row of ``draws`` (n_draws, k)."""
    w = 1 / np.square(stderr)
    best = np.full(len(draws), np.inf)
    found = np.zeros((len(draws), 3))
    for c in EXPONENTS:
        x = (rows / rows.max()) ** -c  # in units of the largest size: well conditioned
        mean_x, mean_y = (w @ x) / w.sum(), (draws @ w) / w.sum()
        spread = w @ np.square(x - mean_x)
        b = np.maximum(((draws - mean_y[:, None]) * w) @ (x - mean_x) / spread, 0)
        a = mean_y - b * mean_x
        through_zero = a < 0
        b = np.where(through_zero, np.maximum((draws * w) @ x / (w @ x**2), 0), b)
        a = np.where(through_zero, 0.0, a)
        chi2 = np.square(draws - a[:, None] - b[:, None] * x) @ w
        better = chi2 < best - 1e-12
        found[better] = np.column_stack([a, b * rows.max() ** c, np.full(len(a), c)])[better]
        best = np.minimum(best, chi2)
    return [
        PowerLaw(float(a), float(b), float(c), float(chi2))
        for (a, b, c), chi2 in zip(found, best, strict=True)
    ]


def more_rows(diagnosis: Diagnosis, *, random_state: int = 0) -> MoreRows:
    """Fit an eighth, a quarter and half of the rows too, and say what twice as many would bring.

    The sizes share their held-out rows, so their losses move together and the intervals are on the
    wide side.

    Parameters
    ----------
    diagnosis : Diagnosis
        Of which estimator and rows; its folds are used.
    random_state : int
        Draws the rows and the bootstrap.

    Returns
    -------
    MoreRows
    """
    curve = loss_by_size(diagnosis, seed=random_state)
    return judge_curve(curve, diagnosis._study.measured.margin, random_state)


def judge_curve(curve: pd.DataFrame, margin: float, seed: int = 0) -> MoreRows:
    """Predict from a curve, or say why not."""
    rows, losses, stderr = (
        curve[name].to_numpy(dtype=np.float64) for name in ("rows", "out_of_fold", "stderr")
    )
    nothing = pd.DataFrame({"rows": [], "loss": [], "ci_low": [], "ci_high": []})
    reason = _unfit(rows, losses, stderr)
    law = None if reason else fit_power_law(rows, losses, stderr)
    if law is not None and stats.chi2.sf(law.chi2, max(len(rows) - 3, 1)) < MISFIT:
        reason = "the losses follow no power law"
    if law is None or reason:
        return MoreRows(curve, None, nothing, math.nan, reason)
    drawn = losses + stderr * np.random.RandomState(seed).standard_normal((DRAWS, len(rows)))
    laws = _fits(rows, drawn, stderr)
    now = float(rows[-1])
    falls = np.array([each(now) - each(2 * now) for each in laws])
    lines = []
    for times in (2.0, FARTHEST):
        # The change from now is what the bootstrap knows; the level is that of the held-out rows.
        spread = np.quantile([each(times * now) for each in laws], (0.025, 0.975))
        lines.append((int(times * now), law(times * now), *map(float, spread)))
    predictions = pd.DataFrame(lines, columns=list(nothing.columns))
    return MoreRows(curve, law, predictions, float((falls > margin).mean()), "")


def _unfit(rows: Floats, losses: Floats, stderr: Floats) -> str:
    if len(rows) < 4:
        return f"a law of three numbers needs four sizes; there are {len(rows)}"
    if not (np.isfinite(losses).all() and np.isfinite(stderr).all()):
        return "some losses are not finite"
    rises = np.diff(losses) > RISE * np.hypot(stderr[1:], stderr[:-1])
    if rises.any():
        k = int(np.flatnonzero(rises)[0])
        return f"the loss rises from {rows[k]:.0f} to {rows[k + 1]:.0f} rows"
    return ""
