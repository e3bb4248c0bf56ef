"""How y becomes the target of a loss, and outputs become predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_y, column_or_1d

__all__ = ["Scale", "check_labels", "check_values", "probabilities"]


def _plain(y: Any) -> Any:
    """Nullable and categorical pandas columns as the numpy array of the same values."""
    if isinstance(y, pd.DataFrame) and y.shape[1] == 1:
        return _plain(y.iloc[:, 0]).reshape(-1, 1)
    if isinstance(y, pd.Series) and not isinstance(y.dtype, np.dtype):
        _refuse_missing(y.isna())
        return np.asarray(y.to_list())
    return y


def _refuse_missing(missing: Any) -> None:
    n = int(missing.sum())
    if n:
        raise ValueError(
            f"Input y contains NaN: {n} of {missing.size} values are missing. Drop these rows."
        )


def check_labels(y: Any, estimator: Any) -> tuple[NDArray[Any], bool]:
    """Class labels as (n,), or a 0/1 matrix (n, n_labels) and True where there are several a row.

    Raises
    ------
    ValueError
        y is None, continuous, has missing values, or several multi-class columns.
    """
    y = _plain(y)
    if y is not None:
        y = _check_y(y, multi_output=True, y_numeric=False, estimator=estimator)
        if y.dtype == object:  # scikit-learn lets None pass
            _refuse_missing(pd.isna(y))
        check_classification_targets(y)
    else:
        _require_y(estimator)
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator":
        dense = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
        return dense.astype(np.float64), True
    if kind == "multiclass-multioutput":
        raise ValueError(
            f"{type(estimator).__name__} takes one class a row or a 0/1 matrix of labels; got y "
            f"with {y.shape[1]} columns of several classes each. Wrap the estimator in "
            "sklearn.multioutput.MultiOutputClassifier."
        )
    return column_or_1d(y, warn=True), False


def check_values(y: Any, estimator: Any) -> NDArray[np.float64]:
    """Numbers as (n,) or (n, n_outputs), float64.

    Raises
    ------
    ValueError
        y is None, not numeric, or has missing or infinite values.
    """
    y = _plain(y)
    if y is None:
        _require_y(estimator)
    y = _check_y(y, multi_output=True, y_numeric=True, estimator=estimator)
    if hasattr(y, "toarray"):
        y = y.toarray()
    return np.asarray(y, dtype=np.float64)


def _require_y(estimator: Any) -> None:
    raise ValueError(
        f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is "
        "None."
    )


@dataclass(frozen=True)
class Scale:
    """Standardised units of a target: ``(y - mean) / deviation``, output by output.

    Attributes
    ----------
    mean, deviation : ndarray of shape (n_outputs,)
        Weighted; the deviation of a constant output counts as 1.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, y: NDArray[np.float64], weight: NDArray[np.float64] | None) -> Scale:
        """Measure the rows of y, (n, n_outputs)."""
        # in units of a power of two, which is exact, so that squares neither over- nor underflow
        unit = np.ldexp(1.0, np.frexp(np.abs(y).max(axis=0))[1] - 1)
        centre = np.average(y / unit, axis=0, weights=weight)
        variance = np.average(np.square(y / unit - centre), axis=0, weights=weight)
        mean, deviation = centre * unit, np.sqrt(variance) * unit
        # a deviation within rounding of the mean is none
        constant = deviation <= 4 * np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, deviation))

    def standardise(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """To standardised units."""
        return (y - self.mean) / self.deviation

    def restore(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """To the user's units, in the dtype of the outputs where that holds them."""
        values = outputs * self.deviation + self.mean
        fits = np.abs(values).max(initial=0) <= np.finfo(outputs.dtype).max
        return values.astype(outputs.dtype) if fits else values


def probabilities(outputs: NDArray[Any], link: str) -> NDArray[Any]:
    """Outputs (n, n_outputs) to probabilities: over the classes, or of each label."""
    return softmax(outputs, axis=1) if link == "softmax" else expit(outputs)
