"""The rows a diagnosis is made on, checked once, and how they are split into folds."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils.class_weight import compute_sample_weight

from sklearn_dl.diagnosis import splits as splitting
from sklearn_dl.diagnosis.splits import Kind
from sklearn_dl.groups import group_codes
from sklearn_dl.targets import refuse_times

__all__ = ["Folds", "Table", "check_test_table", "check_training_table", "make_folds"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Table:
    """Inputs, targets and weights of n rows.

    Attributes
    ----------
    X, y : as given
        Inputs and targets, (n,) or (n, k) of k labels or outputs.
    fit_weight : ndarray of shape (n,) or None
        What ``fit`` gets as ``sample_weight``.
    loss_weight : ndarray of shape (n,)
        What a row counts in mean losses: the sample weight times the class weight.
    groups : ndarray of shape (n,) or None
        Passed to the splitter.
    clusters : ndarray of shape (n,) or None
        Rows of one cluster are no independent evidence: groups, or blocks of time.
    """

    X: Any
    y: Any
    fit_weight: Floats | None
    loss_weight: Floats
    groups: Any = None
    clusters: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.loss_weight)

    def take(self, rows: Rows) -> Table:
        """The table of these rows."""
        return Table(
            _safe_indexing(self.X, rows),
            None if self.y is None else _safe_indexing(self.y, rows),
            None if self.fit_weight is None else self.fit_weight[rows],
            self.loss_weight[rows],
            None if self.groups is None else self.groups[rows],
            None if self.clusters is None else self.clusters[rows],
        )


@dataclass(frozen=True)
class Folds:
    """Train and test rows of each fold, and what had to be changed to make them.

    Attributes
    ----------
    splits : tuple of (train, test)
        Row numbers.
    notes : tuple of str
        For the user.
    kind : {"independent", "grouped", "ordered"}
        What the folds keep apart.
    inside : tuple of ndarray
        Rows of the training groups or period that a fold holds out too, one array a fold; empty
        where the folds are independent.
    shuffled : bool
        Whether we shuffled them, so that an order of the rows would go unseen.
    """

    splits: tuple[tuple[Rows, Rows], ...]
    notes: tuple[str, ...] = ()
    kind: Kind = "independent"
    inside: tuple[Rows, ...] = ()
    shuffled: bool = False

    def __len__(self) -> int:
        return len(self.splits)


def _check_y(y: Any, name: str, task: Task) -> NDArray[Any]:
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    labels = values.ndim == 2 and np.isin(values, (0, 1)).all()
    if values.ndim not in (1, 2) or (values.ndim == 2 and task == "classification" and not labels):
        kinds = {
            "classification": "one class a row, or columns of 0 and 1 for labels",
            "regression": "one number a row, or one column an output",
        }
        raise ValueError(
            f"{name} must have {kinds[task]}; got shape "
            f"{values.shape}. Diagnose one target at a time, for example y[:, 0]."
        )
    missing = int(pd.isna(values).sum())
    if missing:
        raise ValueError(
            f"{name} has {missing} missing values of {len(values)}. "
            "Drop these rows, or predict them instead of learning from them."
        )
    if task == "classification":
        _check_sortable(values, name)
    else:
        refuse_times(values, name)
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} must be numbers for a regressor: {error}. Use a classifier for classes."
            ) from None
        infinite = int(np.isinf(values).sum())
        if infinite:
            raise ValueError(f"{name} has {infinite} infinite values. Clip or drop them.")
    return values


def _check_varies(values: NDArray[Any], weight: Floats | None, task: Task) -> None:
    """Whether there is something to predict; of numbers, in rows that count."""
    counted = weight is not None and task == "regression"
    used = values if weight is None or not counted else values[weight > 0]
    if len(used) == 0 or (used == used[0]).all():
        rows = f"{len(used)} rows" + (" whose weight is not zero" if counted else "")
        seen = f"{used.tolist()[0]!r} in all {rows}" if len(used) else "no row"
        raise ValueError(f"y must have two different values at least; got {seen}.")
    if task == "regression":
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            spread = np.var(used, axis=0).max()
        if not 0 < spread < np.inf:
            raise ValueError(
                f"y from {used.min():.3g} to {used.max():.3g} has squares that are beyond float64. "
                "Change its unit: divide it by its standard deviation, or predict its logarithm."
            )


def _check_sortable(values: NDArray[Any], name: str) -> None:
    try:
        np.unique(values)
    except TypeError:
        kinds = sorted({type(v).__name__ for v in values.ravel()})
        raise TypeError(
            f"{name} must hold classes of one kind; got {' and '.join(kinds)}. Make them text: "
            f"{name}.astype(str)."
        ) from None


def _check_weight(sample_weight: Any, n: int) -> Floats | None:
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight must have one value a row, shape ({n},); got {weight.shape}."
        )
    bad = int((~np.isfinite(weight) | (weight < 0)).sum())
    if bad or not weight.sum() > 0:
        raise ValueError(
            f"sample_weight must be finite, not negative and not all zero; {bad} values are "
            f"negative or not finite and the sum is {weight.sum():.3g}."
        )
    return weight


def _plain(X: Any) -> Any:
    """Lists become arrays; frames, arrays and sparse matrices stay what they are."""
    return X if hasattr(X, "shape") else np.asarray(X)


def check_training_table(
    X: Any, y: Any, *, task: Task, sample_weight: Any = None, class_weight: Any = None, groups: Any
) -> Table:
    """Check the rows that are split into folds.

    Raises
    ------
    ValueError
        Unequal lengths, missing or infinite targets, a target that is constant or whose squares
        float64 cannot hold, bad weights.
    TypeError
        Classes of several kinds, which have no order.
    """
    X = _plain(X)
    values = _check_y(y, "y", task)
    check_consistent_length(X, values, groups)
    groups = group_codes(groups)
    fit_weight = _check_weight(sample_weight, len(values))
    _check_varies(values, fit_weight, task)
    loss_weight = np.ones(len(values)) if fit_weight is None else fit_weight
    if class_weight is not None and values.ndim == 1:
        loss_weight = loss_weight * _class_weights(class_weight, values)
    return Table(X, values, fit_weight, loss_weight, groups, groups)


def _class_weights(class_weight: Any, y: NDArray[Any]) -> Floats:
    """What the class of each row weighs, (n,)."""
    # A forest's "balanced_subsample" balances what each tree draws: on average all the rows.
    kind = "balanced" if class_weight == "balanced_subsample" else class_weight
    return np.asarray(compute_sample_weight(kind, y), dtype=np.float64)


def check_test_table(X_test: Any, y_test: Any, train: Table, *, task: Task) -> Table | None:
    """Check rows that training does not see; None where none are given, ``y`` None without labels.

    Raises
    ------
    ValueError
        Labels without rows, unequal lengths, other columns than in training.
    """
    if X_test is None and y_test is None:
        return None
    if X_test is None:
        raise ValueError("y_test was given without X_test. Give both, or X_test alone.")
    X_test = _plain(X_test)
    _check_same_columns(train.X, X_test)
    if not X_test.shape[0]:
        raise ValueError("X_test has no row. Leave it out to diagnose without a test set.")
    if y_test is None:
        return Table(X_test, None, None, np.ones(X_test.shape[0]))
    values = _check_y(y_test, "y_test", task)
    check_consistent_length(X_test, values)
    if values.shape[1:] != train.y.shape[1:]:
        raise ValueError(
            f"y_test must have the columns of y; got shapes {values.shape} and {train.y.shape}."
        )
    return Table(X_test, values, None, np.ones(len(values)))


def _check_same_columns(X: Any, X_test: Any) -> None:
    if hasattr(X, "columns") and hasattr(X_test, "columns"):
        old, new = list(X.columns), list(X_test.columns)
        if old != new:
            lacking = [c for c in old if c not in new]
            extra = [c for c in new if c not in old]
            what = f"lacks {lacking}, adds {extra}" if lacking or extra else "has another order"
            raise ValueError(
                f"X_test must have the columns of X in their order; it {what}. "
                "Use X_test[X.columns]."
            )
    elif X.shape[1:] != X_test.shape[1:]:
        raise ValueError(
            f"X_test must have the {X.shape[1:]} columns of X; its shape is {X_test.shape}."
        )


def weigh_test_table(test: Table, train: Table, class_weight: Any) -> Table:
    """Give test rows the class weights that training used, so that B and C are one currency."""
    if class_weight is None or test.y is None or test.y.ndim == 2:
        return test
    classes, first = np.unique(train.y, return_index=True)
    per_class = dict(zip(classes, _class_weights(class_weight, train.y)[first], strict=True))
    weight = np.array([per_class.get(label, 1.0) for label in test.y])
    return replace(test, loss_weight=weight)


def make_folds(
    table: Table,
    cv: Any,
    *,
    task: Task,
    random_state: np.random.RandomState,
    inside: bool = True,
) -> Folds:
    """Split the rows.

    Parameters
    ----------
    table : Table
        The rows.
    cv : int, splitter or iterable of (train, test)
        An integer is shuffled: stratified for classes where each has enough rows, by whole groups
        where groups are given.
    task : {"classification", "regression"}
        Decides on stratification.
    random_state : RandomState
        Shuffles an integer cv.
    inside : bool
        Whether folds that keep groups or periods apart hold out rows of the learnt ones too.

    Returns
    -------
    Folds

    Raises
    ------
    ValueError
        Fewer than 2 x cv rows, fewer groups than folds, no fold, rows that there are not.
    """
    notes: list[str] = []
    shuffled = isinstance(cv, int | np.integer) and not isinstance(cv, bool)
    if shuffled:
        splitter = _shuffled(table, int(cv), task, random_state, notes)
    else:
        splitter = check_cv(cv, table.y, classifier=task == "classification")
    with warnings.catch_warnings():
        # Folds that ignore groups are found out below, and said as evidence (DL502).
        warnings.filterwarnings("ignore", "The groups parameter is ignored", UserWarning)
        pairs: Iterable[tuple[Any, Any]] = splitter.split(table.X, table.y, table.groups)
        splits = tuple((np.asarray(train), np.asarray(test)) for train, test in pairs)
    n = len(table)
    splits = tuple((_as_rows(train, n), _as_rows(test, n)) for train, test in splits)
    if not splits or any(len(a) == 0 or len(b) == 0 for a, b in splits):
        raise ValueError(f"cv must give folds with training and test rows; got {cv!r}.")
    kind = splitting.kind_of(splits, table.groups)
    kept, within = (
        splitting.hold_inside(splits, kind, table.groups, random_state)
        if inside
        else (list(splits), ())
    )
    if within:
        what = "groups" if kind == "grouped" else "period"
        notes.append(
            f"{splitting.INSIDE:.0%} of each fold's training rows are held out beside it, to tell "
            f"rows of the same {what} from others"
        )
    return Folds(tuple(kept), tuple(notes), kind, within, shuffled and table.groups is None)


def _as_rows(index: NDArray[Any], n: int) -> Rows:
    """Row numbers of a mask or of row numbers."""
    if index.dtype == bool and index.shape == (n,):
        return np.flatnonzero(index)
    rows = index.astype(np.int64)
    if index.dtype == bool or ((rows < 0) | (rows >= n)).any():
        seen = f"a mask of {index.size}" if index.dtype == bool else f"{rows.min()} to {rows.max()}"
        raise ValueError(
            f"cv must list row numbers from 0 to {n - 1}, or masks of {n} rows; got {seen}. Count "
            "positions, not labels of an index."
        )
    return rows


def _shuffled(
    table: Table, k: int, task: Task, random_state: np.random.RandomState, notes: list[str]
) -> Any:
    n = len(table)
    if k < 2:
        raise ValueError(f"cv must be at least 2 folds; got {k}.")
    if n < 2 * k:
        raise ValueError(
            f"{k} folds need at least {2 * k} rows; got {n}. Use fewer folds or more rows."
        )
    shuffle = {"n_splits": k, "shuffle": True, "random_state": random_state}
    stratify = task == "classification" and table.y.ndim == 1
    if stratify:
        classes, counts = np.unique(table.y, return_counts=True)
        if counts.min() < k:
            stratify = False
            label = classes[counts.argmin()]
            notes.append(
                f"folds are not stratified: class {label!s} has {counts.min()} rows, fewer than "
                f"the {k} folds"
            )
    if table.groups is None:
        return StratifiedKFold(**shuffle) if stratify else KFold(**shuffle)
    n_groups = len(np.unique(np.asarray(table.groups)))
    if n_groups < k:
        raise ValueError(
            f"{k} folds of whole groups need at least {k} groups; got {n_groups}. "
            f"Use cv={n_groups} or fewer."
            if n_groups > 1
            else f"{k} folds of whole groups need at least {k} groups; got {n_groups}."
        )
    notes.append(f"whole groups are held out ({n_groups} groups)")
    return StratifiedGroupKFold(**shuffle) if stratify else GroupKFold(**shuffle)
