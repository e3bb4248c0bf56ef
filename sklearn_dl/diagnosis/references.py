"""The pool of reference models: how low a loss others reach on the same rows, held out.

Nobody can say that a training loss is large without something to compare it with. The pool is the
prior, a linear model, nearest neighbours, gradient boosting, extremely randomised trees and an
early-stopped network (METHODS 2a); the lowest of them stands for what is possible.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.utils.validation import has_fit_parameter

from sklearn_dl.diagnosis.fold_fits import by_row, fit_jobs, fit_one, jobs_on
from sklearn_dl.diagnosis.row_losses import RowLoss
from sklearn_dl.diagnosis.table import Folds, Table, Task
from sklearn_dl.estimators import DLClassifier, DLRegressor

__all__ = ["PRIOR", "plain_frame", "pool", "pool_losses"]

Floats = NDArray[np.float64]

PRIOR = "prior"
MISSING = "(missing)"
MAX_LEVELS = 30  # one-hot columns of a categorical column; rarer levels share one
MAX_ROWS = 20_000  # issue 4: references learn from, and are judged on, a subsample beyond


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


def _columns(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    numbers = [c for c in frame.columns if frame[c].dtype == np.float64]
    return numbers, [c for c in frame.columns if c not in numbers]


def _impute() -> SimpleImputer:
    return SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)


def _scaled(frame: pd.DataFrame) -> ColumnTransformer:
    """For models that measure distances: standardised numbers, one-hot levels."""
    numbers, levels = _columns(frame)
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MAX_LEVELS, sparse_output=False
    )
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(_impute(), StandardScaler()), numbers),
            ("levels", one_hot, levels),
        ]
    )


def _ordinal(frame: pd.DataFrame, *, impute: bool) -> ColumnTransformer:
    """For trees: numbers as they are, levels as codes; boosting splits missing values itself."""
    numbers, levels = _columns(frame)
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=250)
    return ColumnTransformer(
        [("numbers", _impute() if impute else "passthrough", numbers), ("levels", codes, levels)]
    )


def _with_model(*steps: Any) -> Pipeline:
    names = [f"step{k}" for k in range(len(steps) - 1)] + ["model"]
    return Pipeline(list(zip(names, steps, strict=True)))


def pool(frame: Any, task: Task, n_train: int, seed: int) -> dict[str, Any]:
    """Unfitted references by name, cheapest first; ``frame`` is from `plain_frame`.

    Parameters
    ----------
    frame : DataFrame or sparse array
        Decides on the preprocessing, by column type only.
    task : {"classification", "regression"}
        What is predicted.
    n_train : int
        Rows a fold learns; the number of neighbours is its root.
    seed : int
        For the trees.
    """
    classify = task == "classification"
    prior = DummyClassifier(strategy="prior") if classify else DummyRegressor()
    linear = LogisticRegression(max_iter=300) if classify else RidgeCV(np.logspace(-2, 4, 13))
    near = KNeighborsClassifier if classify else KNeighborsRegressor
    neighbours = near(n_neighbors=max(1, round(n_train**0.5)))
    models = {PRIOR: prior}
    if sparse.issparse(frame):
        models["linear"] = _with_model(MaxAbsScaler(), linear)
        models["nearest neighbours"] = _with_model(MaxAbsScaler(), neighbours)
    else:
        models["linear"] = _with_model(_scaled(frame), linear)
        models["nearest neighbours"] = _with_model(_scaled(frame), neighbours)
        boost = HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
        numbers, levels = _columns(frame)
        mask = [False] * len(numbers) + [True] * len(levels)
        boosting = boost(
            categorical_features=mask,
            max_leaf_nodes=16,
            early_stopping=n_train > 2000,
            random_state=seed,
        )
        models["gradient boosting"] = _with_model(_ordinal(frame, impute=False), boosting)
    forest = ExtraTreesClassifier if classify else ExtraTreesRegressor
    trees = forest(n_estimators=100, min_samples_leaf=2, random_state=seed)
    first = [] if sparse.issparse(frame) else [_ordinal(frame, impute=True)]
    models["extra trees"] = _with_model(*first, trees)
    network = DLClassifier if classify else DLRegressor
    models["early-stopped network"] = network(early_stopping=True, random_state=seed)
    return models


def pool_losses(
    models: dict[str, Any],
    table: Table,
    folds: Folds,
    loss: RowLoss,
    *,
    seed: int,
    done: Callable[[], None] | None = None,
) -> tuple[dict[str, Floats], list[str]]:
    """Held-out losses of each reference by row of the table.

    Rows beyond MAX_ROWS a fold are neither learnt nor judged (NaN). A reference that cannot be
    fitted on a fold (one class in its training rows, say) leaves the pool, with a note.

    Returns
    -------
    losses : dict of str to ndarray of shape (n,)
    notes : list of str
    """
    folds, notes = _capped_folds(folds, seed)
    losses: dict[str, Floats] = {}
    for name, model in models.items():
        options: dict[str, Any] = {"judge_train": False, "optional": name != PRIOR}
        if isinstance(model, Pipeline):
            options |= {"fit_prefix": "model__", "weighted": takes_weights(model)}
        jobs = jobs_on(folds, model, table, **options)
        with warnings.catch_warnings():
            # A reference that warns (of early stopping, of many classes) is still a reference: its
            # loss is what counts, and the user did not ask for this model.
            warnings.simplefilter("ignore")
            if isinstance(model, DLClassifier | DLRegressor):
                fits = fit_jobs(jobs, loss)
            else:
                fits = [fit_one(job, loss) for job in jobs]
        failures = [fit.failure for fit in fits if fit.failure is not None]
        if failures:
            notes.append(f"reference {name} left out: {failures[0]}")
        else:
            losses[name] = by_row(fits, len(table)).held_out
        if done is not None:
            done()
    return losses, notes


def takes_weights(model: Pipeline) -> bool:
    """Nearest neighbours do not."""
    return bool(has_fit_parameter(model[-1], "sample_weight"))


def _capped_folds(folds: Folds, seed: int) -> tuple[Folds, list[str]]:
    rng = np.random.RandomState(seed)
    capped = Folds(tuple((_capped(a, rng), _capped(b, rng)) for a, b in folds.splits))
    if all(
        len(a) == len(c) and len(b) == len(d)
        for (a, b), (c, d) in zip(capped.splits, folds.splits, strict=True)
    ):
        return folds, []
    return capped, [f"references use at most {MAX_ROWS:,} random rows of a fold"]


def _capped(rows: NDArray[np.int64], rng: np.random.RandomState) -> NDArray[np.int64]:
    if len(rows) <= MAX_ROWS:
        return rows
    return np.sort(rng.choice(rows, MAX_ROWS, replace=False))
