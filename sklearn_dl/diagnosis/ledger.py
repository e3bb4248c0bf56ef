"""The ledger: what each cause costs, in loss units, each with its own standard error.

With A the loss on the rows a model was fitted on, B out of fold, C on test rows, F the lowest
held-out loss of any model on the same rows and A+ = max(A, F)::

    C - F = (A+ - F) + (B - A+) + (C - B)

and A+ - F is divided into approximation and optimization by the probes (Bottou and Bousquet
2008). Arrays in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sklearn_dl.diagnosis.gaps import Gap
from sklearn_dl.diagnosis.rules import ALPHA, margin
from sklearn_dl.diagnosis.statistics import (
    Estimate,
    holm,
    over_folds,
    paired_difference,
    row_mean,
    welch_difference,
    with_refits,
)

__all__ = ["COLUMNS", "ROWS", "Measured", "Refits", "Split", "build_ledger", "measure"]

Floats = NDArray[np.float64]

ROWS = ("reference", "approximation", "optimization", "estimation", "mismatch")
COLUMNS = ("loss", "stderr", "ci_low", "ci_high", "share")
OWN = "this estimator"


@dataclass(frozen=True)
class Split:
    """How the training gap divides: the share a strong optimizer closes in the same network."""

    optimization_share: float
    stderr: float


@dataclass(frozen=True)
class Reach:
    """What the choice of the best reference adds to 95 % intervals, downward or upward.

    F is the lowest of several losses, so that the interval of the one that was lowest here lies too
    low, and that of a difference to it too high. Hsu (1984, multiple comparisons with the best):
    the least of several risks is above the least of their lower limits, and the difference of a
    loss to it below the largest upper limit of its differences to each.
    """

    reference: float
    training: float
    estimation: float


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
    reach : Reach
        How much further intervals reach because F is the lowest of a pool.
    claims : dict of str to Gap
        The three gaps, ``signal`` and, where a reference is better, ``total`` (B - F), as the
        rules want them.
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
    reach: Reach
    claims: dict[str, Gap]
    n_rows: int

    @property
    def out_of_fold(self) -> Estimate:
        """B."""
        return self.held_out if self.outer is None else self.outer


@dataclass(frozen=True)
class Refits:
    """Folds that part the rows, and the training loss of the fit that left each of them out.

    Attributes
    ----------
    fold : ndarray of shape (n,)
        Which fold holds a row out.
    training : ndarray of shape (K,)
        Mean loss on the rows learnt, by fold.
    """

    fold: NDArray[np.int64]
    training: Floats


@dataclass(frozen=True)
class _Compared:
    """Losses by row of the estimator and of everybody it is compared with.

    A single hold-out has no row that was both learnt and held out (``same_rows`` is False); then
    A is a mean of other rows.
    """

    fitted: Floats
    held_out: dict[str, Floats]
    weights: Floats
    fitted_weights: Floats
    same_rows: bool
    clusters: NDArray[np.int64] | None
    refits: Refits | None
    same_groups: bool = False

    def mean(self, name: str) -> Estimate:
        """Held-out loss of a model."""
        return row_mean(self.held_out[name], self.weights, self.clusters)

    def reference(self, name: str) -> Estimate:
        """The same of a reference: of groups that were learnt, which are no draw of others."""
        clusters = None if self.same_groups else self.clusters
        return row_mean(self.held_out[name], self.weights, clusters)

    @property
    def a(self) -> Estimate:
        """Training loss."""
        return row_mean(self.fitted, self.fitted_weights, self.clusters)

    def training_gap(self, name: str) -> Estimate:
        """A less the held-out loss of a model."""
        if not self.same_rows:
            return welch_difference(self.a, self.mean(name))
        difference = self.fitted - self.held_out[name]
        rows = row_mean(difference, self.weights, self.clusters)
        if self.refits is None or self.clusters is not None:
            return rows
        k, fold = len(self.refits.training), self.refits.fold
        by_fold = [np.where(fold == j, self.weights, 0.0) for j in range(k)]
        held_out = np.array([row_mean(self.held_out[name], w).value for w in by_fold])
        learnt = self.refits.training
        pseudo = k * learnt.mean() - (k - 1) * learnt - held_out
        return with_refits(rows, np.array([row_mean(difference, w).value for w in by_fold]), pseudo)

    def held_out_gap(self, name: str) -> Estimate:
        """B less the held-out loss of a model."""
        return paired_difference(
            self.held_out[OWN], self.held_out[name], self.weights, self.clusters
        )

    def generalization_gap(self, test_over_train: float) -> Estimate:
        """B - A."""
        if not self.same_rows:
            return welch_difference(self.mean(OWN), self.a)
        return over_folds(
            paired_difference(self.held_out[OWN], self.fitted, self.weights, self.clusters),
            test_over_train,
        )

    def signal(self, prior: str, others: Iterable[str]) -> Estimate:
        """L0 less the loss of the best model that knows something."""
        return max(
            (
                paired_difference(
                    self.held_out[prior], self.held_out[name], self.weights, self.clusters
                )
                for name in others
            ),
            key=lambda e: e.value,
            default=Estimate(0.0, math.inf),
        )


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
    refits: Refits | None = None,
    same_groups: bool = False,
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
    refits : Refits, optional
        Training losses by fold, where the folds part the rows: the error of A - F then allows
        for what leaving rows out does to the fit.
    same_groups : bool
        Whether rows were held out of the very groups that were learnt: F is then a loss of these.

    Returns
    -------
    Measured
    """
    rows = _rows_compared(fitted, held_out, references, weights, clusters, refits)
    rows = replace(rows, same_groups=same_groups)
    others = [name for name in references if name != prior]
    best = min(rows.held_out, key=lambda name: rows.mean(name).value)
    a, b, f = rows.a, rows.mean(OWN), rows.reference(best)
    training = rows.training_gap(best)
    large = training.value > 0
    estimation = rows.generalization_gap(test_over_train) if large else rows.held_out_gap(best)
    c = None if test is None or test_weights is None else row_mean(test, test_weights)
    outer = None if later is None else row_mean(later, weights, clusters)
    # B_in is a loss of the groups or period learnt, which are what they are; B is one of groups
    # or times drawn anew. Their errors are taken as independent, though rows are of one table.
    transfer = None if outer is None else welch_difference(outer, b)
    shift = None if c is None else welch_difference(c, outer or b)
    mismatch = transfer if c is None else welch_difference(c, b)
    to_others = [rows.training_gap(name) for name in others]
    held_out_to_others = [rows.held_out_gap(name) for name in others]
    reach = Reach(
        f.interval()[0] - min(rows.reference(name).interval()[0] for name in rows.held_out),
        _further(training, to_others),
        0.0 if large else _further(estimation, held_out_to_others),
    )
    limits = [_limit(training, to_others), _limit(estimation, held_out_to_others)]
    gaps = {"training": training, "estimation": estimation}
    if mismatch is not None:
        gaps["mismatch"] = mismatch
        limits.append(mismatch.upper(1 - ALPHA))
    claims = _claims(gaps, limits)
    if not large:
        claims["estimation"] = _after_choice(claims["estimation"], len(others))
    if best != OWN:
        total = rows.held_out_gap(best)
        gap = Gap(total.value, total.stderr, total.p_positive(), total.upper(1 - ALPHA))
        claims["total"] = _after_choice(gap, len(others))
    signal = rows.signal(prior, others)
    limit = signal.upper(1 - ALPHA)
    claims["signal"] = Gap(signal.value, signal.stderr, signal.p_positive(), limit)
    judged = rows.weights > 0 if later is None else np.isfinite(later) & (weights > 0)
    return Measured(
        rows.mean(prior), f, a, b, outer, c, best, margin(rows.mean(prior).value, f.value),
        training, estimation, mismatch, transfer, shift, reach, claims, int(judged.sum()),
    )  # fmt: skip


def _rows_compared(
    fitted: Floats,
    held_out: Floats,
    references: Mapping[str, Floats],
    weights: Floats,
    clusters: NDArray[np.int64] | None,
    refits: Refits | None,
) -> _Compared:
    known = np.isfinite(held_out) & np.all([np.isfinite(v) for v in references.values()], axis=0)
    both = known & np.isfinite(fitted)
    same_rows = both.sum() >= 2
    w = np.where(both if same_rows else known, weights, 0.0)
    everyone = {**references, OWN: held_out}
    fitted_weights = w if same_rows else weights
    return _Compared(fitted, everyone, w, fitted_weights, bool(same_rows), clusters, refits)


def _limit(gap: Estimate, others: Iterable[Estimate]) -> float:
    """Upper limit of a gap, against every reference.

    F is the lowest of a pool and, where it is the estimator itself, B - F is zero by construction:
    `good` is earned against every reference, not against the luckiest.
    """
    return max(gap.upper(1 - ALPHA), *(other.upper(1 - ALPHA) for other in others), 0.0)


def _further(gap: Estimate, others: Iterable[Estimate]) -> float:
    """How far the largest upper limit of several differences lies above that of the first."""
    own = gap.interval()[1]
    return max([0.0, *(other.interval()[1] - own for other in others)])


def _claims(gaps: Mapping[str, Estimate], limits: Sequence[float]) -> dict[str, Gap]:
    """What the rules want of the family of gaps, p-values adjusted for its size."""
    adjusted = holm([gap.p_positive() for gap in gaps.values()])
    return {
        name: Gap(gap.value, gap.stderr, p, limit)
        for (name, gap), p, limit in zip(gaps.items(), adjusted, limits, strict=True)
    }


def _after_choice(gap: Gap, n_others: int) -> Gap:
    """B - F, whose F is that of the luckiest of so many others (Bonferroni).

    A - F is left as it is: A is the lower for having been minimised on these very rows.
    """
    return replace(gap, p=min(1.0, n_others * gap.p))


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
    reach = measured.reach
    share = 0.0 if split is None else split.optimization_share
    both = measured.training_gap.value <= 0
    lines = [
        _line(measured.reference, down=reach.reference),
        _line(approximation, 0.0, up=reach.training * (1 if both else 1 - share)),
        _line(optimization, 0.0, up=reach.training * (1 if both else share)),
        _line(measured.estimation_gap, up=reach.estimation),
        _line(measured.mismatch_gap or nothing),
    ]
    frame = pd.DataFrame(lines, index=pd.Index(ROWS, name="cause"), columns=list(COLUMNS[:4]))
    gaps = frame["loss"].drop("reference")
    total = float(gaps.sum())
    frame["share"] = gaps / total if total > measured.margin else math.nan
    return frame


def _line(
    e: Estimate, floor: float = -math.inf, *, down: float = 0.0, up: float = 0.0
) -> tuple[float, float, float, float]:
    """Loss, stderr and interval of an entry that cannot lie below ``floor``."""
    loss = e.value if math.isnan(e.value) else max(e.value, floor)
    if not math.isfinite(e.stderr):
        return loss, math.nan, math.nan, math.nan
    low, high = e.interval()
    return loss, e.stderr, max(low - down, floor), max(high + up, floor)


def _divide(gap: Estimate, split: Split | None) -> tuple[Estimate, Estimate]:
    """Approximation and optimization; errors of gap and share by the product rule."""
    if gap.value <= 0:  # A+ = F: nothing to divide; what A - F leaves open belongs to either
        return gap, gap
    if split is None:
        return gap, Estimate(0.0, math.nan)
    shares = (1 - split.optimization_share, split.optimization_share)
    approximation, optimization = (_part(gap, s, split.stderr) for s in shares)
    return approximation, optimization


def _part(gap: Estimate, share: float, share_error: float) -> Estimate:
    error = math.hypot(share * gap.stderr, gap.value * share_error)
    third = gap.skewness * (share * gap.stderr) ** 3
    skewness = third / error**3 if 0 < error < math.inf else 0.0
    return Estimate(share * gap.value, error, gap.df, skewness)
