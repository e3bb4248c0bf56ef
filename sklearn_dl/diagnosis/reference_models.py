"""The reference models, each fitted to the loss that the estimator minimises where it can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
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
from sklearn.linear_model import LogisticRegression, PoissonRegressor, QuantileRegressor, RidgeCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_dl.diagnosis.own_loss import Aim
from sklearn_dl.diagnosis.quantiles import EachQuantile, LeafQuantileTrees, NeighbourQuantile
from sklearn_dl.diagnosis.references import PRIOR
from sklearn_dl.diagnosis.shift import MAX_LEVELS
from sklearn_dl.diagnosis.table import Task
from sklearn_dl.estimators import DLClassifier, DLRegressor

__all__ = ["extra_trees", "not_of", "pool", "small_tree"]


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


def _ordinal(frame: pd.DataFrame, numbers_as: Any = "passthrough") -> ColumnTransformer:
    """For trees: numbers as they are or as told, levels as codes."""
    numbers, levels = _columns(frame)
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=250)
    return ColumnTransformer([("numbers", numbers_as, numbers), ("levels", codes, levels)])


def _ranks() -> Pipeline:
    """Numbers as ranks that trees cut alike; missing ones stay so.

    Of a column with more values than bins scikit-learn's boosting computes one weighted quantile
    after another: 6 s of the 7 s of a fit to 560 weighted rows of 139 columns.
    """
    return make_pipeline(
        QuantileTransformer(n_quantiles=RANKS, subsample=None), FunctionTransformer(_whole_ranks)
    )


def _whole_ranks(shares: Any) -> Any:
    return np.rint(shares * (RANKS - 1))


def _with_model(*steps: Any) -> Pipeline:
    names = [f"step{k}" for k in range(len(steps) - 1)] + ["model"]
    return Pipeline(list(zip(names, steps, strict=True)))


# How each reference is told what to minimise; squared error where it cannot be.
_BOOSTING = {"absolute": "absolute_error", "pinball": "quantile", "poisson": "poisson"}
_NETWORK = {"absolute": "mae", "pinball": "pinball", "huber": "huber", "poisson": "poisson"}
_CONSTANT = {"absolute": "median", "pinball": "quantile"}
RANKS = 250  # fewer than boosting has bins
REFERENCE_MEMBERS = 2  # of the network: at 0.45 of the time of all the pool's lowest loss rose by
# 0.05 margins (mean of 28 tables of 700 rows, 20 of 200); one network alone is a gamble on 200 rows
MAX_LINEAR_PROGRAM = 2000  # rows; a quantile regression of more takes minutes


def pool(
    frame: Any,
    task: Task,
    n_train: int,
    seed: int,
    aim: Aim | None = None,
    *,
    apart: bool = False,
    n_targets: int = 1,
    weighted: bool = False,
) -> dict[str, Any]:
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
    aim : Aim, optional
        What those that can minimise; log loss or squared error by default.
    apart : bool
        Folds keep groups or periods apart: no model may stop on single rows it draws itself.
    n_targets : int
        Columns of y: labels or outputs.
    weighted : bool
        Whether rows will be learnt with weights.
    """
    classify = task == "classification"
    aim = aim or Aim("log" if classify else "squared")
    several = n_targets > 1
    neighbours = _neighbours(aim, n_train)
    models: dict[str, Any] = {PRIOR: _prior(aim)}
    scale = MaxAbsScaler() if sparse.issparse(frame) else _scaled(frame)
    linear = _linear(aim, n_train)
    if linear is not None:
        models["linear"] = _with_model(scale, _each_label(linear, several and classify))
    models["nearest neighbours"] = _with_model(scale, neighbours)
    if not sparse.issparse(frame):
        boosting = _boosting(frame, aim, seed, stop=n_train > 2000 and not apart)
        if several and not classify:
            boosting = MultiOutputRegressor(boosting)
        boosting = _each_label(boosting, several and classify)
        first = _ordinal(frame, _ranks()) if weighted else _ordinal(frame)
        models["gradient boosting"] = _with_model(first, boosting)
    models["extra trees"] = extra_trees(frame, task, seed, aim)
    network: dict[str, Any] = {
        "early_stopping": True, "n_members": REFERENCE_MEMBERS, "random_state": seed,
    }  # fmt: skip
    if not classify:
        network |= {"loss": _NETWORK.get(aim.kind, "mse"), "quantile": aim.quantile}
    models["early-stopped network"] = (DLClassifier if classify else DLRegressor)(**network)
    return models


def _each_label(model: Any, several: bool) -> Any:
    """One model a label; a label that is constant in the rows learnt is predicted as such."""
    return OneVsRestClassifier(model) if several else model


def _neighbours(aim: Aim, n_train: int) -> Any:
    """As many as the root of the rows; what is said of them minimises the aim among constants."""
    k = max(1, round(n_train**0.5))
    if aim.kind in ("log", "labels"):
        return KNeighborsClassifier(n_neighbors=k)
    if aim.kind in ("absolute", "pinball"):
        return NeighbourQuantile(aim.quantile, max(k, _least(aim.quantile)))
    return KNeighborsRegressor(n_neighbors=k)


def _least(quantile: float | tuple[float, ...]) -> int:
    """Rows of which a quantile is not just the largest or the smallest."""
    return max(round(2 / min(q, 1 - q)) for q in np.ravel(quantile))


def _each_quantile(model: Any, aim: Aim) -> Any:
    """One model a level where several are the aim."""
    if isinstance(aim.quantile, tuple):
        return EachQuantile(model, aim.quantile)
    return model.set_params(quantile=aim.quantile)


def extra_trees(frame: Any, task: Task, seed: int, aim: Aim | None = None) -> Pipeline:
    """The reference that is cheapest to fit and needs no tuning."""
    options: dict[str, Any] = {"n_estimators": 100, "min_samples_leaf": 2, "random_state": seed}
    trees: Any
    if task == "classification":
        trees = ExtraTreesClassifier(**options)
    elif aim is not None and aim.kind in ("absolute", "pinball"):
        trees = LeafQuantileTrees(aim.quantile, _least(aim.quantile), seed)
    else:  # the mean of a leaf minimises squared error and Poisson deviance alike
        trees = ExtraTreesRegressor(**options)
    first = [] if sparse.issparse(frame) else [_ordinal(frame, _impute())]
    return _with_model(*first, trees)


def small_tree(frame: pd.DataFrame, task: Task) -> Pipeline:
    """What a few cuts of the columns tell."""
    options: dict[str, Any] = {"max_leaf_nodes": 16, "min_samples_leaf": 5, "random_state": 0}
    classify = task == "classification"
    tree = DecisionTreeClassifier(**options) if classify else DecisionTreeRegressor(**options)
    return _with_model(_ordinal(frame, _impute()), tree)


def not_of(aim: Aim, n_train: int) -> list[str]:
    """What must be said of references that cannot minimise the aim, or are left out for it."""
    notes = []
    if aim.kind in ("absolute", "pinball") and n_train > MAX_LINEAR_PROGRAM:
        notes.append(
            f"reference linear left out: a quantile regression of {n_train:,} rows takes too long "
            f"(at most {MAX_LINEAR_PROGRAM:,})"
        )
    if aim.kind == "huber":
        notes.append("references but the network minimise squared error, and are judged by Huber's")
    return notes


def _prior(aim: Aim) -> Any:
    if aim.kind in ("log", "labels"):
        return DummyClassifier(strategy="prior")
    constant = DummyRegressor(strategy=_CONSTANT.get(aim.kind, "mean"))
    return _each_quantile(constant, aim) if aim.kind == "pinball" else constant


def _linear(aim: Aim, n_train: int) -> Any:
    if aim.kind in ("log", "labels"):
        return LogisticRegression(max_iter=300)
    if aim.kind in ("absolute", "pinball"):
        few = n_train <= MAX_LINEAR_PROGRAM
        return _each_quantile(QuantileRegressor(alpha=1e-4), aim) if few else None
    if aim.kind == "poisson":
        return PoissonRegressor(alpha=1e-3, max_iter=300)
    return RidgeCV(np.logspace(-2, 4, 13))


def _boosting(frame: pd.DataFrame, aim: Aim, seed: int, *, stop: bool) -> Any:
    numbers, levels = _columns(frame)
    options: dict[str, Any] = {
        "categorical_features": [False] * len(numbers) + [True] * len(levels),
        "max_leaf_nodes": 16,
        "early_stopping": stop,
        "random_state": seed,
    }
    if aim.kind in ("log", "labels"):
        return HistGradientBoostingClassifier(**options)
    options["loss"] = _BOOSTING.get(aim.kind, "squared_error")
    model = HistGradientBoostingRegressor(**options)
    return _each_quantile(model, aim) if aim.kind == "pinball" else model
