"""What makes a score too good to be true: copies across folds, one column that tells all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from sklearn_dl.diagnosis import rules
from sklearn_dl.diagnosis.fold_fits import by_row
from sklearn_dl.diagnosis.references import capped_folds, plain_frame, pool_fits
from sklearn_dl.diagnosis.result import Diagnosis, Study
from sklearn_dl.diagnosis.statistics import row_mean

__all__ = ["copied_rows", "find_cautions", "telling_columns"]

TELLING = 0.95  # of what all columns together reach: nature is seldom so plain
MAX_COLUMNS = 60  # a fit a column and fold


def find_cautions(diagnosis: Diagnosis) -> list[str]:
    """Lines for the user; none where nothing is odd."""
    study = diagnosis._study
    lines = []
    copied = copied_rows(study)
    if copied:
        lines.append(
            f"{copied:,} rows were judged by models that had learnt an exact copy of them; drop "
            "duplicates, or give --groups where copies belong together"
        )
    for column, share in telling_columns(study).items():
        lines.append(
            f"possible leak: column {column!r} alone reaches {share:.0%} of the skill of the best "
            "model; make sure that it is known before the target is"
        )
    return lines


def copied_rows(study: Study) -> int:
    """Held-out rows that have a copy, inputs and target, among the rows their fold learnt."""
    frame = plain_frame(study.table.X)
    if not isinstance(frame, pd.DataFrame):
        return 0
    targets = pd.DataFrame(np.asarray(study.table.y).reshape(len(frame), -1))
    whole = pd.concat([frame.reset_index(drop=True), targets.add_prefix("y")], axis=1)
    key = pd.util.hash_pandas_object(whole, index=False).to_numpy()
    return sum(int(np.isin(key[test], key[train]).sum()) for train, test in study.folds.splits)


def telling_columns(study: Study) -> dict[str, float]:
    """Columns whose own small tree has nearly the skill of the best model: ``(L0 - L) / (L0 - F)``.

    Asked where there is a skill to speak of, of tables with more than one column and at most
    MAX_COLUMNS.
    """
    from sklearn_dl.diagnosis.reference_models import small_tree

    frame, m = plain_frame(study.table.X), study.measured
    if not isinstance(frame, pd.DataFrame) or not 1 < frame.shape[1] <= MAX_COLUMNS:
        return {}
    room = m.prior.value - m.reference.value
    if room < rules.no_signal_limit(m.prior.value):
        return {}
    named = study.table.X.columns if hasattr(study.table.X, "columns") else frame.columns
    skill = {}
    for column, name in zip(frame.columns, named, strict=True):
        loss = _loss_of(study, frame[[column]], small_tree)
        if math.isfinite(loss) and (m.prior.value - loss) / room >= TELLING:
            skill[str(name)] = min(1.0, (m.prior.value - loss) / room)
    return skill


def _loss_of(study: Study, column: pd.DataFrame, model: Callable[..., Any]) -> float:
    """Held-out loss of a small tree that sees one column."""
    table = replace(study.table, X=column)
    folds, _ = capped_folds(study.folds, table, 0)
    tree = model(column, study.subject.task)
    fits, _ = pool_fits({"prior": tree}, table, folds, study.loss, seed=0)
    if "prior" not in fits:
        return math.nan
    rows = by_row(fits["prior"], len(table))
    return row_mean(rows.inside if folds.inside else rows.held_out, table.loss_weight).value
