"""How y becomes the target of a loss, and outputs become predictions."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_y, column_or_1d

__all__ = [
    "Scale",
    "check_counts",
    "check_labels",
    "check_values",
    "checked_levels",
    "label_weights",
    "probabilities",
    "refuse_times",
]


def _plain(y: Any) -> Any:
    """Nullable and categorical pandas columns, and tensors, as numpy arrays of the same values."""
    if isinstance(y, np.ma.MaskedArray):
        _refuse_missing(np.ma.getmaskarray(y))
    if isinstance(y, pd.DataFrame):
        if all(isinstance(dtype, np.dtype) for dtype in y.dtypes):
            return y
        _refuse_missing(y.isna().to_numpy())
        return np.column_stack([np.asarray(_plain(column)) for _, column in y.items()])
    if isinstance(y, pd.api.extensions.ExtensionArray):
        y = pd.Series(y)
    if isinstance(y, pd.Series) and not isinstance(y.dtype, np.dtype):
        _refuse_missing(y.isna())
        return np.asarray(y.to_list())
    # scikit-learn's array_api_dispatch would keep a tensor
    return np.asarray(y) if hasattr(y, "__dlpack__") else y


def _refuse_missing(missing: Any) -> None:
    n = int(missing.sum())
    if n:
        raise ValueError(
            f"Input y contains NaN: {n} of {missing.size} values are missing. Drop these rows."
        )


def check_labels(y: Any, estimator: Any) -> NDArray[Any]:
    """Class labels as (n,), or a 0/1 matrix (n, n_labels) where there are several a row.

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
        return dense.astype(np.float64)
    if kind == "multiclass-multioutput":
        raise ValueError(
            f"{type(estimator).__name__} takes one class a row or a 0/1 matrix of labels; got y "
            f"with {y.shape[1]} columns of several classes each. Wrap the estimator in "
            "sklearn.multioutput.MultiOutputClassifier."
        )
    labels: NDArray[Any] = column_or_1d(y, warn=True)
    return labels


def check_values(y: Any, estimator: Any) -> NDArray[np.float64]:
    """Numbers as (n,) or (n, n_outputs), float64.

    Raises
    ------
    ValueError
        y is None, not numeric, a time, or has missing or infinite values.
    """
    y = _plain(y)
    if y is None:
        _require_y(estimator)
    y = _check_y(y, multi_output=True, y_numeric=True, estimator=estimator)
    if hasattr(y, "toarray"):
        y = y.toarray()
    refuse_times(y)
    return np.asarray(y, dtype=np.float64)


def refuse_times(y: NDArray[Any], name: str = "y") -> None:
    """As numbers they would be seconds, or microseconds."""
    if y.dtype.kind in "mM":
        raise ValueError(
            f"{name} holds times ({y.dtype}), whose unit as numbers is not said. Give numbers, "
            f"such as days: ({name} - {name}.min()) / numpy.timedelta64(1, 'D')."
        )


def check_counts(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers that are not negative.

    Raises
    ------
    ValueError
        Some are negative.
    """
    negative = int((y < 0).sum())
    if negative:
        raise ValueError(
            f"loss='poisson' takes counts or other numbers from zero up; {negative} of {y.size} "
            f"values of y are negative, the least is {y.min():g}. Correct them, or use another "
            "loss."
        )
    return y


def checked_levels(quantile: Any) -> tuple[float, ...]:
    """Levels of several quantiles; none where ``quantile`` is a single number.

    Raises
    ------
    ValueError, TypeError
        No level, or levels that are no numbers, not between 0 and 1, or do not rise.
    """
    if isinstance(quantile, Real):
        return ()
    listed = list(quantile)
    advice = "Give rising numbers between 0 and 1, such as quantile=(0.05, 0.5, 0.95)."
    if not listed:
        raise ValueError(f"quantile={quantile!r} names no level. {advice}")
    if any(isinstance(q, bool) or not isinstance(q, Real) for q in listed):
        raise TypeError(f"quantile={quantile!r} has levels that are no numbers. {advice}")
    levels = tuple(float(q) for q in listed)
    outside = [q for q in levels if not 0 < q < 1]
    if outside:
        raise ValueError(f"quantile has levels outside of (0, 1): {outside}. {advice}")
    if len(set(levels)) < len(levels):
        raise ValueError(f"quantile={levels} names a level twice. {advice}")
    if sorted(levels) != [*levels]:
        raise ValueError(
            f"quantile={levels} does not rise, and the columns of predict would cross. Give "
            f"quantile={tuple(sorted(levels))}."
        )
    return levels


def label_weights(
    class_weight: Any, labels: NDArray[np.float64], sample_weight: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Weights of the values 0 and 1 of each label, (2, n_labels), with mean 1 over these rows.

    Parameters
    ----------
    class_weight : "balanced" or list of dict
        As scikit-learn's ``compute_class_weight`` has it, label by label; a value that no row has
        counts as its label's rows do on average.
    labels : ndarray of shape (n, n_labels)
        0 or 1.
    sample_weight : ndarray of shape (n,) or None
        Weights of the rows.

    Raises
    ------
    ValueError
        Not one dict for each label, a dict with other keys than 0 and 1, or all weights zero.
    """
    n_labels = labels.shape[1]
    given = [class_weight] * n_labels if isinstance(class_weight, str) else class_weight
    if isinstance(given, dict) or len(given) != n_labels:
        seen = "one dict" if isinstance(given, dict) else f"{len(given)} entries"
        raise ValueError(
            f"class_weight must be 'balanced' or a list of {n_labels} dicts, one for each label, "
            f"where y is a 0/1 matrix of {n_labels} labels; got {seen}. For example "
            f"[{{0: 1, 1: 5}}, ...]."
        )
    table = np.ones((2, n_labels))
    for column, (own, of_label) in enumerate(zip(labels.T, given, strict=True)):
        if not isinstance(of_label, dict | str):
            raise ValueError(
                f"class_weight of label {column} must be a dict such as {{0: 1, 1: 5}}, got "
                f"{of_label!r}."
            )
        if isinstance(of_label, dict):
            wrong = {k: w for k, w in of_label.items() if k not in (0, 1) or not 0 <= w < np.inf}
            if wrong:
                raise ValueError(
                    f"class_weight of label {column} must map 0 and 1 to weights from zero up, got "
                    f"{wrong}."
                )
            table[:, column] = [of_label.get(value, 1.0) for value in (0, 1)]
        else:
            values = np.unique(own)
            table[values.astype(int), column] = compute_class_weight(
                of_label, classes=values, y=own, sample_weight=sample_weight
            )
    of_rows = np.where(labels > 0, table[1], table[0])
    mean = np.average(of_rows, axis=0, weights=sample_weight).mean()
    if not mean > 0:
        raise ValueError("class_weight leaves no label of y a weight above zero.")
    normalised: NDArray[np.float64] = table / mean
    return normalised


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

    @classmethod
    def of_counts(cls, y: NDArray[np.float64], weight: NDArray[np.float64] | None) -> Scale:
        """Units of the mean, which is 1 then and zero stays zero; where all are 0 they stay."""
        mean = np.average(y, axis=0, weights=weight)
        return cls(np.zeros_like(mean), np.where(mean > 0, mean, 1.0))

    def standardise(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """To standardised units."""
        return (y - self.mean) / self.deviation

    def restore(self, values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """To the user's units, in a dtype where that holds them."""
        restored = values * self.deviation + self.mean
        fits = np.abs(restored).max(initial=0) <= np.finfo(dtype).max
        return restored.astype(dtype) if fits else restored


def probabilities(outputs: NDArray[Any], link: str) -> NDArray[Any]:
    """Outputs (n, n_outputs) to probabilities: over the classes, or of each label."""
    return softmax(outputs, axis=1) if link == "softmax" else expit(outputs)
