"""The pool of reference models: how low a loss others reach on the same rows, held out.

Nobody can say that a training loss is large without something to compare it with. The pool is the
prior, a linear model, nearest neighbours, gradient boosting, extremely randomised trees and an
early-stopped network; the lowest of them stands for what is possible.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from numpy.typing import NDArray
from scipy import sparse
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

from sklearn_dl.diagnosis import splits
from sklearn_dl.diagnosis.fold_fits import FoldFit, Job, fit_jobs, fit_one, jobs_on
from sklearn_dl.diagnosis.row_losses import RowLoss
from sklearn_dl.diagnosis.table import Folds, Table
from sklearn_dl.estimators import DLClassifier, DLRegressor

__all__ = ["PRIOR", "capped_folds", "plain_frame", "pool_fits"]

Floats = NDArray[np.float64]

PRIOR = "prior"
MISSING = "(missing)"
#: Rows below which a reference is fitted by one thread: a second brings nothing, and while another
#: process was busy boosting of 500 rows took 4 s with two and 0.15 s with one.
ROWS_FOR_THREADS = 10_000
MAX_ROWS = 20_000  # references learn from, and are judged on, a subsample beyond


def plain_frame(X: Any) -> Any:
    """Any table as a pandas frame of float64 and string columns; sparse matrices stay sparse.

    Works row by row, so nothing can leak between folds. Missing strings become a level of their
    own, dates become seconds.
    """
    if sparse.issparse(X):
        return sparse.csr_array(X)  # type: ignore[call-overload]  # narrowed to an ABC
    if hasattr(X, "columns") and not isinstance(X, pd.DataFrame):
        X = pd.DataFrame({str(c): list(X[c].to_list()) for c in X.columns})
    frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(np.asarray(X))
    frame = frame.infer_objects()
    columns = [_plain_column(frame.iloc[:, k]) for k in range(frame.shape[1])]
    return pd.DataFrame({f"x{k}": column for k, column in enumerate(columns)})


def _plain_column(column: pd.Series[Any]) -> NDArray[Any]:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        # Through UTC, so that time zones do not matter; NaT stays missing.
        stamp = pd.to_datetime(column, utc=True).dt.tz_localize(None)
        return np.asarray((stamp - pd.Timestamp(0)).dt.total_seconds(), dtype=np.float64)
    if pd.api.types.is_timedelta64_dtype(column.dtype):
        return np.asarray(column.dt.total_seconds(), dtype=np.float64)
    if pd.api.types.is_numeric_dtype(column.dtype) and not isinstance(
        column.dtype, pd.CategoricalDtype
    ):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    text = column.astype(object).where(column.notna(), MISSING).astype(str)
    return np.asarray(text, dtype=object)


def pool_fits(
    models: dict[str, Any],
    table: Table,
    folds: Folds,
    loss: RowLoss,
    *,
    seed: int,
    stratify: bool = False,
    scorer: Any = None,
    done: Callable[[], None] | None = None,
) -> tuple[dict[str, list[FoldFit]], list[str]]:
    """Fits of each reference on the folds, judged on rows they did not learn.

    Rows beyond MAX_ROWS a fold are neither learnt nor judged (NaN). A reference that cannot be
    fitted on a fold (one class in its training rows, say) leaves the pool, with a note. Ctrl-C
    ends the pool with the references fitted so far, unless the prior is not among them.

    Returns
    -------
    fits : dict of str to list of FoldFit
    notes : list of str
    """
    folds, notes = capped_folds(folds, table, seed, stratify=stratify)
    pool: dict[str, list[FoldFit]] = {}
    for name, model in models.items():
        options: dict[str, Any] = {
            "judge_train": False, "optional": name != PRIOR, "scorer": scorer, "keep_outputs": True,
        }  # fmt: skip
        if isinstance(model, Pipeline):
            options |= {"fit_prefix": "model__", "weighted": takes_weights(model)}
        jobs = jobs_on(folds, model, table, **options)
        try:
            # Weights go to the models here by the names of their steps.
            unrouted = sklearn.config_context(enable_metadata_routing=False)
            with warnings.catch_warnings(), unrouted:
                # A reference that warns (of early stopping, of many classes) is still a reference:
                # its loss is what counts, and the user did not ask for this model.
                warnings.simplefilter("ignore")
                if isinstance(model, DLClassifier | DLRegressor):
                    fits = fit_jobs(_watched(jobs, folds, table, seed), loss)
                else:
                    few = len(folds.splits[0][0]) < ROWS_FOR_THREADS
                    with threadpool_limits(1 if few else None):
                        fits = [fit_one(job, loss) for job in jobs]
            failures = [fit.failure for fit in fits if fit.failure is not None]
            if failures:
                notes.append(f"reference {name} left out: {failures[0]}")
            else:
                pool[name] = fits
            if done is not None:
                done()
        except KeyboardInterrupt:
            if PRIOR not in pool:
                raise
            notes.append(f"interrupted: of the references only {', '.join(pool)} were fitted")
            break
    return pool, notes


def _watched(jobs: list[Job], folds: Folds, table: Table, seed: int) -> list[Job]:
    """Let an early-stopping network watch whole groups, or the end of its period."""
    if folds.kind == "independent":
        return jobs
    rng = np.random.RandomState(seed)
    parts = []
    for job in jobs:
        size = max(1, len(job.train) // 10)
        if folds.kind == "grouped":
            rows = splits.subsample(job.train, size, rng, groups=table.groups)
        else:
            rows = np.sort(job.train)[-size:]
        kept = np.setdiff1d(job.train, rows)
        whole = len(kept) > 0 and np.isin(table.y[job.train], table.y[kept]).all()
        parts.append(
            replace(job, train=kept, validation=rows) if whole or table.y.dtype.kind == "f" else job
        )
    return parts


def takes_weights(model: Pipeline) -> bool:
    """Nearest neighbours do not."""
    return bool(has_fit_parameter(model[-1], "sample_weight"))


def capped_folds(
    folds: Folds, table: Table, seed: int, *, stratify: bool = False
) -> tuple[Folds, list[str]]:
    """Folds of at most MAX_ROWS learnt, judged and inside rows each, and what to say of it."""
    parts = [rows for pair in folds.splits for rows in pair] + list(folds.inside)
    if all(len(rows) <= MAX_ROWS for rows in parts):
        return folds, []
    rng = np.random.RandomState(seed)

    def cut(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return splits.subsample(
            rows, MAX_ROWS, rng, y=table.y if stratify else None, groups=table.groups
        )

    capped = replace(
        folds,
        splits=tuple((cut(a), cut(b)) for a, b in folds.splits),
        inside=tuple(cut(rows) for rows in folds.inside),
    )
    how = "whole groups" if table.groups is not None else "each class" if stratify else "random"
    what = {"whole groups": "rows, in whole groups,", "random": "random rows"}
    said = what.get(how, "rows, each class at its share,")
    return capped, [f"references use at most {MAX_ROWS:,} {said} of a fold"]
