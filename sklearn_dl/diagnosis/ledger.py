"""The ledger: what each cause costs, in loss units, each with its own standard error.

With A the loss on the rows a model was fitted on, B out of fold, C on test rows, F the lowest
held-out loss of any model on the same rows and A+ = max(A, F)::

    C - F = (A+ - F) + (B - A+) + (C - B)

and A+ - F is divided into approximation and optimization by the probes (Bottou and Bousquet 2008;
METHODS 2.0). Arrays in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sklearn_dl.diagnosis.rules import ALPHA, Gap, margin
from sklearn_dl.diagnosis.statistics import (
    Estimate,
    holm,
    over_folds,
    overlapping_difference,
    paired_difference,
    row_mean,
    welch_difference,
)

__all__ = ["COLUMNS", "ROWS", "Measured", "Split", "build_ledger", "measure"]

Floats = NDArray[np.float64]

ROWS = ("reference", "approximation", "optimization", "estimation", "mismatch")
COLUMNS = ("loss", "stderr", "ci_low", "ci_high", "share")
NEVER_NEGATIVE = ROWS[1:3]  # parts of A+ - F, and A+ = max(A, F)
OWN = "this estimator"


@dataclass(frozen=True)
class Split:
    """How the training gap divides: the share a strong optimizer closes in the same network."""

    optimization_share: float
    stderr: float


@dataclass(frozen=True)
class Measured:
    """Losses and the three gaps, raw (they may be negative).

    Attributes
    ----------
    prior, reference, training, held_out : Estimate
        L0, F, A, B on the same rows; B_in where folds keep groups or periods apart.
    outer : Estimate or None
        B, on new groups or later times, where ``held_out`` is B_in.
    test : Estimate or None
        C.
    reference_name : str
        Which model gave F.
    margin : float
        Smallest gap that matters.
    training_gap, estimation_gap, mismatch_gap : Estimate
        A - F, B - max(A, F), C - B; with groups or time the last two are taken at B_in. None
        where there are neither test rows nor B_in.
    transfer_gap, shift_gap : Estimate or None
        The two parts of mismatch: B - B_in and C - B.
    claims : dict of str to Gap
        The three gaps and ``signal`` as the rules want them.
    n_rows : int
        Rows compared.
    """

    prior: Estimate
    reference: Estimate
    training: Estimate
    held_out: Estimate
    outer: Estimate | None
    test: Estimate | None
    reference_name: str
    margin: float
    training_gap: Estimate
    estimation_gap: Estimate
    mismatch_gap: Estimate | None
    transfer_gap: Estimate | None
    shift_gap: Estimate | None
    claims: dict[str, Gap]
    n_rows: int

    @property
    def out_of_fold(self) -> Estimate:
        """B."""
        return self.held_out if self.outer is None else self.outer


def measure(
    fitted: Floats,
    held_out: Floats,
    references: Mapping[str, Floats],
    weights: Floats,
    *,
    prior: str,
    test_over_train: float,
    test: Floats | None = None,
    test_weights: Floats | None = None,
    later: Floats | None = None,
    clusters: NDArray[np.int64] | None = None,
) -> Measured:
    """Compare the losses of an estimator with those of the reference pool.

    Parameters
    ----------
    fitted, held_out : ndarray of shape (n,)
        The estimator's losses by row, on rows it was fitted on and out of fold; NaN where unknown.
    references : mapping of str to ndarray of shape (n,)
        Held-out losses of each reference, the prior among them.
    weights : ndarray of shape (n,)
        What each row counts.
    prior : str
        Name of the prior among the references.
    test_over_train : float
        Rows held out over rows learnt, of a fold.
    test, test_weights : ndarray of shape (n_test,), optional
        Losses on the test rows.
    later : ndarray of shape (n,), optional
        Out-of-fold losses on new groups or later times; ``held_out`` and ``references`` are then
        of rows of the training groups or period.
    clusters : ndarray of shape (n,), optional
        Groups or blocks of time, by which standard errors are clustered.

    Returns
    -------
    Measured
    """
    others = {name: losses for name, losses in references.items() if name != prior}
    known = np.isfinite(held_out) & np.all([np.isfinite(v) for v in references.values()], axis=0)
    both = known & np.isfinite(fitted)
    # A single hold-out has no row that was both learnt and held out: then A is a mean of others.
    same_rows = both.sum() >= 2
    w = np.where(both if same_rows else known, weights, 0.0)
    everyone = {**references, OWN: held_out}
    means = {name: row_mean(losses, w, clusters) for name, losses in everyone.items()}
    best = min(means, key=lambda name: means[name].value)
    a = row_mean(fitted, w if same_rows else weights, clusters)
    b, f = means[OWN], means[best]

    def over(losses: Floats, mean: Estimate, name: str) -> Estimate:
        if losses is fitted and not same_rows:
            return welch_difference(mean, means[name])
        return paired_difference(losses, everyone[name], w, clusters)

    training = over(fitted, a, best)
    if training.value > 0:
        estimation = welch_difference(b, a)
        if same_rows:
            estimation = over_folds(
                paired_difference(held_out, fitted, w, clusters), test_over_train
            )
    else:
        estimation = over(held_out, b, best)
    c = None if test is None or test_weights is None else row_mean(test, test_weights)
    outer = None if later is None else row_mean(later, weights, clusters)
    transfer = shift = None
    if later is not None:
        here = np.where(w > 0, held_out, np.nan)
        transfer = overlapping_difference(later, here, weights, clusters)
    if c is not None:
        shift = welch_difference(c, outer or b)
    mismatch = transfer if c is None else welch_difference(c, b)
    signal = max(
        (paired_difference(references[prior], others[name], w, clusters) for name in others),
        key=lambda e: e.value,
        default=Estimate(0.0, math.inf),
    )
    gaps = [training, estimation] + ([] if mismatch is None else [mismatch])
    adjusted = holm([gap.p_positive() for gap in gaps])
    # F is the lowest of a pool and, where it is the estimator itself, B - F is zero by
    # construction: `good` is earned against every reference, not against the luckiest.
    limits = [
        max(gap.upper(1 - ALPHA), *(over(x, m, name).upper(1 - ALPHA) for name in others), 0.0)
        for gap, x, m in ((training, fitted, a), (estimation, held_out, b))
    ] + ([] if mismatch is None else [mismatch.upper(1 - ALPHA)])
    names = ("training", "estimation", "mismatch")
    claims = {
        name: Gap(gap.value, gap.stderr, p, limit)
        for name, gap, p, limit in zip(names, gaps, adjusted, limits, strict=False)
    }
    claims["signal"] = Gap(
        signal.value, signal.stderr, signal.p_positive(), signal.upper(1 - ALPHA)
    )
    m = margin(means[prior].value, f.value)
    n_rows = (
        int((w > 0).sum()) if later is None else int((np.isfinite(later) & (weights > 0)).sum())
    )
    return Measured(
        means[prior], f, a, b, outer, c, best, m, training, estimation, mismatch, transfer, shift,
        claims, n_rows,
    )  # fmt: skip


def build_ledger(measured: Measured, split: Split | None) -> pd.DataFrame:
    """The contract's ledger.

    Parameters
    ----------
    measured : Measured
        Losses and gaps.
    split : Split or None
        None: no probe was made and the whole training gap is approximation.

    Returns
    -------
    DataFrame
        Rows `ROWS`, columns `COLUMNS`; 95 % intervals; ``share`` is of C - F (of B - F without
        test rows) and NaN where that is below the margin. Mismatch is NaN where there are neither
        test rows nor groups or time.
    """
    approximation, optimization = _divide(measured.training_gap, split)
    nothing = Estimate(math.nan, math.nan)
    entries = {
        "reference": measured.reference,
        "approximation": approximation,
        "optimization": optimization,
        "estimation": measured.estimation_gap,
        "mismatch": measured.mismatch_gap or nothing,
    }
    frame = pd.DataFrame(
        [
            _line(e, floor=0.0 if name in NEVER_NEGATIVE else -math.inf)
            for name, e in entries.items()
        ],
        index=pd.Index(ROWS, name="cause"),
        columns=list(COLUMNS[:4]),
    )
    gaps = frame["loss"].drop("reference")
    total = float(gaps.sum())
    frame["share"] = gaps / total if total > measured.margin else math.nan
    return frame


def _line(e: Estimate, floor: float) -> tuple[float, float, float, float]:
    """Loss, stderr and interval of an entry that cannot lie below ``floor``."""
    loss = e.value if math.isnan(e.value) else max(e.value, floor)
    if not math.isfinite(e.stderr):
        return loss, math.nan, math.nan, math.nan
    low, high = e.interval()
    return loss, e.stderr, max(low, floor), max(high, floor)


def _divide(gap: Estimate, split: Split | None) -> tuple[Estimate, Estimate]:
    """Approximation and optimization; errors of gap and share by the product rule."""
    if gap.value <= 0:  # A+ = F: nothing to divide; what A - F leaves open belongs to either
        return gap, gap
    if split is None:
        return gap, Estimate(0.0, math.nan)
    shares = (1 - split.optimization_share, split.optimization_share)
    approximation, optimization = (
        Estimate(s * gap.value, math.hypot(s * gap.stderr, gap.value * split.stderr), gap.df)
        for s in shares
    )
    return approximation, optimization


def split_training_gap(user: Floats, strong: Floats, wide: Floats, weights: Floats) -> Split:
    """``(A - A_opt) : (A_opt - A_cap)`` from training losses of three nets on the same rows.

    Parameters
    ----------
    user, strong, wide : ndarray of shape (n,)
        Training losses of the user's fit, of a strong optimizer in the same network, and of the
        same optimizer in a wider one.
    weights : ndarray of shape (n,)
        What each row counts.

    Returns
    -------
    Split
        Share 0 where neither probe fits better: nothing shows that better weights exist.
    """
    a, a_opt, a_cap = (row_mean(x, weights).value for x in (user, strong, wide))
    best = min(a, a_opt, a_cap)
    optimization = max(0.0, a - a_opt)
    whole = a - best
    if whole <= 0:
        return Split(0.0, 0.0)
    share = min(1.0, optimization / whole)
    lowest = wide if a_cap == best else strong
    # Delta method for a ratio of means on the same rows.
    residual = (user - strong) - share * (user - lowest)
    return Split(share, row_mean(residual, weights).stderr / whole)
