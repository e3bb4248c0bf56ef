"""Do a few rows carry the loss, and does the verdict hold without their weight?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_dl.diagnosis.fold_fits import FoldFit
from sklearn_dl.diagnosis.own_loss import Aim, row_loss
from sklearn_dl.diagnosis.row_losses import RowLoss
from sklearn_dl.diagnosis.rules import Verdict
from sklearn_dl.diagnosis.table import Table

__all__ = ["Tail", "heavy_tail", "log_targets", "rejudged", "robust_loss"]

Floats = NDArray[np.float64]

TOP = 0.01  # where 1 % of the rows
HEAVY = 0.25  # carry more than a quarter of the loss: 25 times their share
MIN_ROWS = 100  # a hundredth of fewer is no row


@dataclass(frozen=True)
class Tail:
    """How much of the loss its largest hundredth carries, and the verdict on other scales.

    Attributes
    ----------
    share : float
        Of the loss, on the hundredth of the rows that costs most.
    n_rows : int
        0 where there are too few rows to ask.
    verdict : Verdict or None
        On absolute errors of the same fits; None unless the ledger was repeated.
    holds : bool or None
        Whether that is the verdict on the estimator's own loss.
    log_verdict : Verdict or None
        Of the same estimator and references, fitted to the logarithm of the target.
    log_holds : bool or None
        Whether that is the verdict on the target itself.
    """

    share: float
    n_rows: int
    verdict: Verdict | None = None
    holds: bool | None = None
    log_verdict: Verdict | None = None
    log_holds: bool | None = None

    @property
    def heavy(self) -> bool:
        """Whether the ledger is to be repeated."""
        return self.share > HEAVY


def heavy_tail(losses: Floats, weights: Floats) -> Tail:
    """Share of the total loss on the hundredth of the rows that costs most."""
    known = np.isfinite(losses) & (weights > 0)
    cost = np.sort((losses * weights)[known])
    n = len(cost)
    if n < MIN_ROWS or not cost.sum() > 0:
        return Tail(float("nan"), 0)
    top = cost[n - max(1, round(TOP * n)) :]
    return Tail(float(top.sum() / cost.sum()), n)


def log_targets(aim: Aim, table: Table, test: Table | None) -> tuple[Table, Table | None] | None:
    """The tables with log targets; None unless all are positive and squared error is the aim."""
    tables = [table] if test is None else [table, test]
    if aim.kind != "squared" or table.y.ndim == 2 or not all((t.y > 0).all() for t in tables):
        return None
    other = None if test is None else replace(test, y=np.log(test.y))
    return replace(table, y=np.log(table.y)), other


def robust_loss(aim: Aim, table: Table) -> RowLoss | None:
    """Absolute error; None where the loss is of that kind already."""
    robust: Any = {"squared", "poisson"}
    if aim.kind not in robust or table.y.ndim == 2:
        return None
    return row_loss(Aim("absolute"), table)


def rejudged(fit: FoldFit, loss: Any, y: Floats, y_test: Floats | None) -> FoldFit:
    """The same fit under another loss, from its predictions."""
    if fit.failure is not None:
        return fit
    nothing = np.empty(0)
    targets = {"train": y[fit.train], "test": y[fit.test], "inside": y[fit.inside]}
    if y_test is not None:
        targets["extra"] = y_test
    new = {k: loss.of(fit.outputs[k], t) for k, t in targets.items() if k in fit.outputs}
    return replace(
        fit,
        train_losses=new.get("train", nothing),
        test_losses=new.get("test", nothing),
        extra_losses=new.get("extra", nothing),
        inside_losses=new.get("inside", nothing),
    )
