"""What is done to a table: noise on numbers, missing values, swapped categories.

Levels of one draw are nested: the same standard normal is scaled, the same uniform number is
compared with the rate. So curves differ by the level and not by luck, for every model alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["CORRUPTIONS", "Columns", "Draw", "checked_table", "corrupted", "learn_columns"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """What the training rows say of the columns.

    Attributes
    ----------
    numbers, levels : tuple of int
        Positions of numeric and of categorical columns.
    scale, centre : ndarray of shape (n_numbers,)
        Standard deviation and median of the training rows, missing values left out.
    common : tuple
        Most frequent value of each categorical column.
    values : tuple of ndarray
        Training values of each categorical column: its marginal distribution.
    """

    numbers: tuple[int, ...]
    levels: tuple[int, ...]
    scale: Floats
    centre: Floats
    common: tuple[Any, ...]
    values: tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Draw:
    """Random numbers for one corrupted copy of n rows, shared by all models and levels.

    Attributes
    ----------
    normal : ndarray of shape (n, n_numbers)
        Standard normal.
    uniform : ndarray of shape (n, n_columns)
        In [0, 1): a cell is lost, or swapped, where it is below the rate.
    donor : ndarray of shape (n, n_levels)
        In [0, 1): the training row that a swapped category is taken from.
    """

    normal: Floats
    uniform: Floats
    donor: Floats

    @classmethod
    def new(cls, rng: np.random.Generator, n: int, columns: Columns) -> Draw:
        """Fresh numbers for ``n`` rows."""
        n_numbers, n_levels = len(columns.numbers), len(columns.levels)
        return cls(
            rng.standard_normal((n, n_numbers)),
            rng.uniform(size=(n, n_numbers + n_levels)),
            rng.uniform(size=(n, n_levels)),
        )


def checked_table(X: Any) -> Any:
    """A pandas frame or a two-dimensional array.

    Raises
    ------
    TypeError, ValueError
        Sparse or of another kind; the message says what to pass.
    """
    if sparse.issparse(X):
        raise TypeError(
            "noise fills every cell of a table, and X is sparse: pass X.toarray() and an estimator "
            "fitted on such rows."
        )
    if hasattr(X, "columns") and not isinstance(X, pd.DataFrame):
        raise TypeError(
            f"X is a {type(X).__module__}.{type(X).__name__}: pass a pandas frame (to_pandas()) or "
            "an array."
        )
    table = X if isinstance(X, pd.DataFrame) else np.asarray(X)
    if table.ndim != 2 or 0 in table.shape:
        raise ValueError(f"X must have rows and columns, got shape {table.shape}.")
    return table


def learn_columns(X: Any, categorical_features: Any = "from_dtype") -> Columns:
    """Kinds, scales and typical values of the columns of training rows.

    Parameters
    ----------
    X : DataFrame or ndarray
    categorical_features : "from_dtype", None, names, positions or a mask
        "from_dtype": columns of text, category and bool type.
    """
    n = X.shape[1]
    levels = _levels(X, categorical_features)
    numbers = tuple(k for k in range(n) if k not in levels)
    values = [_number(X, k) for k in numbers]
    with np.errstate(invalid="ignore"):
        scale = [float(np.nanstd(v)) if np.isfinite(v).any() else 0.0 for v in values]
        centre = [float(np.nanmedian(v)) if np.isfinite(v).any() else 0.0 for v in values]
    drawn = tuple(_column(X, k) for k in levels)
    common = tuple(pd.Series(v).mode(dropna=False).iloc[0] for v in drawn)
    return Columns(numbers, levels, np.array(scale), np.array(centre), common, drawn)


def _levels(X: Any, asked: Any) -> tuple[int, ...]:
    n = X.shape[1]
    if isinstance(asked, str) and asked == "from_dtype":
        return tuple(k for k in range(n) if not _is_number(_column(X, k)))
    if asked is None:
        return ()
    listed = list(asked)
    if all(isinstance(one, (bool, np.bool_)) for one in listed) and len(listed) == n:
        return tuple(k for k in range(n) if listed[k])
    names = [str(c) for c in X.columns] if isinstance(X, pd.DataFrame) else []
    found = {names.index(one) if isinstance(one, str) and one in names else one for one in listed}
    if not all(isinstance(one, (int, np.integer)) and 0 <= one < n for one in found):
        raise ValueError(
            f"categorical_features must be 'from_dtype', None, names, positions below {n} or a "
            f"mask of {n}; got {asked!r}."
        )
    return tuple(sorted(int(one) for one in found))


def _column(X: Any, k: int) -> NDArray[Any]:
    if isinstance(X, pd.DataFrame):
        column = X.iloc[:, k]
        numeric = pd.api.types.is_numeric_dtype(column.dtype)
        return column.to_numpy() if numeric else np.asarray(column.astype(object), dtype=object)
    column = X[:, k]
    if column.dtype == object:  # an array of mixed columns
        plain = pd.Series(column).infer_objects().to_numpy()
        return plain if plain.dtype.kind in "iufb" else np.asarray(column, dtype=object)
    return np.asarray(column)


def _is_number(values: NDArray[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(values.dtype) and values.dtype.kind != "b"


def _number(X: Any, k: int) -> Floats:
    return pd.to_numeric(pd.Series(_column(X, k))).to_numpy(dtype=np.float64, na_value=np.nan)


def _with_columns(X: Any, new: dict[int, NDArray[Any]]) -> Any:
    """A copy with some columns replaced; a float32 array stays one."""
    if isinstance(X, pd.DataFrame):
        out = X.copy()
        for k, values in new.items():
            kind = X.dtypes.iloc[k]
            keep = isinstance(kind, pd.CategoricalDtype)
            out.isetitem(k, pd.Categorical(values, dtype=kind) if keep else values)
        return out
    out = X.copy() if X.dtype.kind in "fO" else X.astype(np.float64)
    for k, values in new.items():
        out[:, k] = values
    return out


def feature_noise(X: Any, columns: Columns, draw: Draw, level: float) -> Any:
    """Add ``N(0, (level s_j)^2)`` to each number, s_j the column's standard deviation."""
    steps = level * columns.scale * draw.normal
    return _with_columns(X, {k: _number(X, k) + steps[:, i] for i, k in enumerate(columns.numbers)})


def missing_values(X: Any, columns: Columns, draw: Draw, level: float) -> Any:
    """Lose each cell with probability ``level``: the training median or commonest level instead."""
    new: dict[int, NDArray[Any]] = {}
    for i, k in enumerate(columns.numbers):
        new[k] = np.where(draw.uniform[:, i] < level, columns.centre[i], _number(X, k))
    for i, k in enumerate(columns.levels):
        lost = draw.uniform[:, len(columns.numbers) + i] < level
        new[k] = _column(X, k).copy()
        new[k][lost] = columns.common[i]
    return _with_columns(X, new)


def category_swaps(X: Any, columns: Columns, draw: Draw, level: float) -> Any:
    """Replace each category, with probability ``level``, by that of a random training row."""
    new: dict[int, NDArray[Any]] = {}
    for i, k in enumerate(columns.levels):
        swapped = draw.uniform[:, len(columns.numbers) + i] < level
        values = columns.values[i]
        donor = values[(draw.donor[:, i] * len(values)).astype(np.intp)]
        new[k] = _column(X, k).copy()
        new[k][swapped] = donor[swapped]
    return _with_columns(X, new)


Corruption = Callable[[Any, Columns, Draw, float], Any]
#: name -> what it does; the unit of a level is the standard deviation, or a share of cells.
CORRUPTIONS: dict[str, Corruption] = {
    "feature noise": feature_noise,
    "missing values": missing_values,
    "category swaps": category_swaps,
}


def corrupted(name: str, X: Any, columns: Columns, draw: Draw, level: float) -> Any:
    """A corrupted copy of a table."""
    return CORRUPTIONS[name](X, columns, draw, level)
