"""The user's own metric beside the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_dl.diagnosis.fold_fits import FoldFit

__all__ = ["metric_by_entry", "scores_by_rows"]


def scores_by_rows(fits: Sequence[FoldFit], scorer: Any) -> dict[str, float]:
    """Mean over the folds of the metric on training, out-of-fold and test rows."""
    if scorer is None:
        return {}
    means = np.array([f.scores for f in fits]).mean(axis=0)
    names = ("training", "out_of_fold", "test")
    return {k: float(v) for k, v in zip(names, means, strict=True) if np.isfinite(v)}


def _held_out(fits: Sequence[FoldFit]) -> tuple[float, float]:
    """Metric on held-out rows like the training rows, and on those of new groups or times."""
    outer = float(np.mean([f.scores[1] for f in fits]))
    inside = [f.inside_score for f in fits if len(f.inside)]
    return (float(np.mean(inside)) if inside else outer), outer


def metric_by_entry(
    fits: Sequence[FoldFit], reference: Sequence[FoldFit], ledger: pd.DataFrame
) -> pd.Series[float]:
    """What each entry costs in the metric, so that reference less costs is the last score.

    The reference's held-out metric; then what is lost on the way to the training rows (divided
    as the loss is), to held-out rows, and to new groups, later times or the test rows. A cost is
    positive where the metric falls; as in the ledger, no training gap is negative.
    """
    best = _held_out(reference)[0]
    train = float(np.mean([f.scores[0] for f in fits]))
    inside, outer = _held_out(fits)
    test = float(np.mean([f.scores[2] for f in fits]))
    top = min(train, best)
    gap = ledger.loc[["approximation", "optimization"], "loss"]
    part = float(gap["optimization"] / gap.sum()) if gap.sum() > 0 else 0.0
    last = test if np.isfinite(test) else outer
    moved = inside - last if ledger["loss"].notna()["mismatch"] else np.nan
    return pd.Series(
        [best, (1 - part) * (best - top), part * (best - top), top - inside, moved],
        index=ledger.index,
    )
