"""Is this X a table we can read?"""

from __future__ import annotations

import datetime
import numbers
import re
from collections.abc import Collection
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from narwhals.exceptions import DuplicateError
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.validation import validate_data

from sklearn_dl.tabular.large import LARGE_BYTES, LargeTable, is_large

Table: TypeAlias = pd.DataFrame | npt.NDArray[Any] | sp.csr_array

# pandas' names (api.types.infer_dtype) of what the cells of an object column hold.
NUMBERS = {"floating", "integer", "mixed-integer-float", "decimal", "boolean", "empty"}
DATES = {"datetime", "datetime64", "date"}
DURATIONS = {"timedelta", "timedelta64"}
# An object without a text of its own.
ADDRESS = re.compile(r"<.* at 0x[0-9a-fA-F]+>")
# A frame of numbers this small is checked as one array: for its speed, at no cost in memory.
SMALL_CELLS = 2**17


def check_table(estimator: Any, X: Any, *, reset: bool, allow_nan: bool = True) -> Table:
    """Check X once, at the public boundary, and bring it to one of three forms.

    Parameters
    ----------
    estimator : estimator instance
        Gets `n_features_in_` and `feature_names_in_`, or is asked for them; its name goes into
        the messages.
    X : array, sparse matrix, data frame (pandas, polars or other) or list, (n_rows, n_features)
        Never changed, and copied only where a column needs another type. The masked cells of a
        masked array are missing.
    reset : bool
        True in `fit`: take the names and number of features from X. False: compare with them.
    allow_nan : bool, default=True
        Whether missing values pass.

    Returns
    -------
    pandas.DataFrame, ndarray or csr_array of shape (n_rows, n_features)
        A frame if X is one, or holds anything but numbers: its columns are of a numpy bool, int,
        float, datetime64 or timedelta64 type, of a category or a string type, or objects that
        are neither all numbers nor all dates. An array of bool, int or float. Or a canonical
        csr_array.

    Raises
    ------
    ValueError, TypeError
        With scikit-learn's own message where it has one; else with the column and the value.
    """
    X = without_mask(without_tensor(X))
    if nw.dependencies.is_into_dataframe(X):
        try:
            validate_data(estimator, X, reset=reset, skip_check_array=True)
        except DuplicateError:
            names = pd.Index(X.columns)
            twice = names[names.duplicated()].unique()[:5].tolist()
            raise ValueError(
                f"X has several columns of the same name: {twice}. Rename them, for example with "
                "X.columns = [f'x{i}' for i in range(X.shape[1])]."
            ) from None
        if 0 in X.shape:
            check_array(np.empty(X.shape), estimator=estimator, input_name="X")  # raises
        return _check_frame(estimator, X, allow_nan)
    finite: bool | str = "allow-nan" if allow_nan else True
    if is_large(X):
        _check_finite(estimator, X, allow_nan)
        finite = False
    array = validate_data(
        estimator, X, reset=reset, dtype=None, accept_sparse="csr", ensure_all_finite=finite
    )
    if isinstance(array, np.ndarray) and is_large(array):
        return array
    if sp.issparse(array):
        return _canonical(array, X)
    if array.dtype.kind in "fiub":
        return _native_float(array)
    if array.dtype.kind in "US" and not hasattr(X, "dtype"):
        # numpy made strings of a list's numbers: read it again, cell by cell.
        array = np.array(X, dtype=object)
    frame = _check_frame(estimator, pd.DataFrame(array), allow_nan)
    if all_numbers(frame):
        return frame.to_numpy()
    return frame


def without_tensor(X: Any) -> Any:
    """A tensor as an array, which scikit-learn's array_api_dispatch would keep."""
    is_tensor = hasattr(X, "__dlpack__") and not isinstance(X, np.ndarray)
    return np.asarray(X) if is_tensor else X


def without_mask(X: Any) -> Any:
    """A masked array with its masked cells missing; anything else as it is."""
    if isinstance(X, np.ma.MaskedArray):
        return np.ma.filled(X.astype(np.float64), np.nan)
    return X


def _check_finite(estimator: Any, X: npt.NDArray[Any], allow_nan: bool) -> None:
    """scikit-learn's check of a table in a file, in pieces: in one it may copy all of it."""
    if X.dtype.kind != "f" or X.ndim != 2:
        return
    step = max(1, LARGE_BYTES // 16 // max(1, X.shape[1] * X.dtype.itemsize))
    for start in range(0, len(X), step):
        assert_all_finite(
            X[start : start + step],
            allow_nan=allow_nan,
            estimator_name=type(estimator).__name__,
            input_name="X",
        )


def table_dtype(table: Table | LargeTable) -> np.dtype[Any]:
    """The float type of a checked table under ``dtype="auto"``.

    Returns
    -------
    numpy.dtype
        float64 for a dense or sparse array of float64, else float32. A frame is float32 whatever
        its columns: their types can change with the rows, as integers do where one is missing.
    """
    is_double = not isinstance(table, pd.DataFrame) and table.dtype == np.float64
    return np.dtype(np.float64 if is_double else np.float32)


def column_names(table: Table) -> list[str]:
    """Names for messages: the frame's where they are strings, else x0, x1, ..."""
    if isinstance(table, pd.DataFrame) and all(isinstance(name, str) for name in table.columns):
        return [str(name) for name in table.columns]
    return [f"x{column}" for column in range(table.shape[1])]


def _canonical(array: Any, X: Any) -> sp.csr_array:
    """csr_array with sorted indices and no duplicates, in memory of its own if it had to change."""
    if array.dtype.kind not in "fiub":
        raise ValueError(f"A sparse X must hold numbers, but its dtype is {array.dtype}.")
    table = sp.csr_array(array)
    if not table.has_canonical_format:
        if np.shares_memory(table.data, getattr(X, "data", table.data)):
            table = table.copy()
        table.sum_duplicates()
    return table


def _native_float(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """float16 has no fast arithmetic, and torch has no long double."""
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array


def all_numbers(frame: pd.DataFrame) -> bool:
    """Whether every column is of an integer or float type that needs no conversion."""
    return all(
        isinstance(dtype, np.dtype)
        and dtype.kind in "fiu"
        and dtype not in (np.float16, np.longdouble)
        for dtype in frame.dtypes
    )


def _check_frame(estimator: Any, X: Any, allow_nan: bool) -> pd.DataFrame:
    frame = X if isinstance(X, pd.DataFrame) else _pandas_frame(X)
    if frame.size <= SMALL_CELLS and all_numbers(frame):
        values = frame.to_numpy()
        wrong = np.isinf(values) if allow_nan else ~np.isfinite(values)
        if not wrong.any():  # else below, with the column's name
            return frame
    columns = [column for _, column in frame.items()]
    plain = [
        _plain_column(column, name)
        for column, name in zip(columns, column_names(frame), strict=True)
    ]
    for column, name in zip(plain, column_names(frame), strict=True):
        if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
            assert_all_finite(
                column.to_numpy(),
                allow_nan=allow_nan,
                estimator_name=type(estimator).__name__,
                input_name=f"X (column {name!r})",
            )
    if all(new is old for new, old in zip(plain, columns, strict=True)):
        return frame
    # By position and without the index: names and index labels may repeat.
    checked = pd.DataFrame({i: column.array for i, column in enumerate(plain)}, copy=False)
    checked.columns = frame.columns
    return checked


def _pandas_frame(X: Any) -> pd.DataFrame:
    """Any other data frame, column by column: polars needs no pyarrow this way."""
    frame = nw.from_native(X, eager_only=True)
    columns = {i: _pandas_values(column) for i, column in enumerate(frame.iter_columns())}
    converted = pd.DataFrame(columns, copy=False)
    converted.columns = pd.Index(frame.columns, dtype=object)
    return converted


def _pandas_values(column: Any) -> Any:
    dtype = column.dtype
    wide = dtype in (nw.Decimal, nw.Int128, nw.UInt128)  # numpy has no such numbers
    if wide or (dtype == nw.Boolean and column.null_count()):
        column = column.cast(nw.Float64)
    elif dtype in (nw.Categorical, nw.Enum):
        # An Enum lists its values but need not order them, so it is no ordered categorical.
        return pd.Categorical(column.cast(nw.String).to_list())
    elif dtype == nw.Datetime and dtype.time_zone is not None:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    elif not (dtype.is_numeric() or dtype in (nw.Boolean, nw.Datetime, nw.Date, nw.Duration)):
        return np.fromiter(column.to_list(), dtype=object, count=len(column))
    return column.to_numpy()


def _plain_column(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    """A column of one of the types `check_table` promises; the same object if it already is."""
    dtype: Any = column.dtype
    if isinstance(dtype, pd.SparseDtype):
        return _plain_column(pd.Series(np.asarray(column)), name)
    if isinstance(dtype, np.dtype) and dtype.kind in "fiubMm":
        values = column.to_numpy()
        native = _native_float(values)
        return column if native.dtype == dtype else pd.Series(native)
    if isinstance(dtype, (pd.CategoricalDtype, pd.StringDtype)):
        return column
    if pd.api.types.is_complex_dtype(dtype):
        raise ValueError(f"Complex data not supported: column {name!r} is {dtype}.")
    if isinstance(dtype, pd.DatetimeTZDtype):
        return pd.Series(column.dt.tz_convert("UTC").dt.tz_localize(None))
    if isinstance(dtype, pd.PeriodDtype):
        return pd.Series(column.dt.to_timestamp())
    if pd.api.types.is_numeric_dtype(dtype):
        return _plain_numbers(column)
    if not isinstance(dtype, np.dtype):  # astype would copy objects, too (pandas 2)
        column = column.astype(object)
    return _plain_objects(column, name)


def _plain_numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Nullable and Arrow numbers and booleans as numpy ones, NaN for missing."""
    dtype: Any = column.dtype
    target: Any = getattr(dtype, "numpy_dtype", np.dtype(np.float64))
    if target.kind not in "fiub":
        target = np.dtype(np.float64)
    if column.hasnans and target.kind != "f":
        target = np.dtype(np.float64)
    if target.kind == "f":
        return pd.Series(column.to_numpy(dtype=target, na_value=np.nan))
    return pd.Series(column.to_numpy(dtype=target))


def _plain_objects(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Objects as numbers or dates where every one is; else as they are, if they can be levels."""
    content = pd.api.types.infer_dtype(column, skipna=True)
    if content == "string":
        return column
    if content in NUMBERS:
        return _float_objects(column, name)
    if content in DATES:
        dates = pd.Series(pd.to_datetime(column, utc=_has_time_zone(column)))
        return _plain_column(dates, name)
    if content in DURATIONS:
        return pd.Series(pd.to_timedelta(column))
    for row, cell in enumerate(column):
        if isinstance(cell, complex):
            raise ValueError(f"Complex data not supported: column {name!r} holds {cell!r}.")
        collects = isinstance(cell, Collection) and not isinstance(cell, (str, bytes))
        if collects or ADDRESS.fullmatch(str(cell)):
            raise TypeError(
                f"Column {name!r} holds a {type(cell).__name__} in row {row}, {_short(cell)}: "
                "argument must be a string or a number. Make numbers or strings of it, or drop "
                "the column."
            )
    # What pandas calls mixed may be numbers and booleans.
    if all(isinstance(cell, (numbers.Number, np.bool_)) for cell in column.dropna()):
        return _float_objects(column, name)
    return column


def _float_objects(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    cells = column.to_numpy()
    values = np.full(len(cells), np.nan)
    present = ~np.asarray(pd.isna(column))
    try:
        values[present] = cells[present].astype(np.float64)
    except OverflowError:
        raise ValueError(
            f"Column {name!r} contains infinity or a value too large for dtype('float64')."
        ) from None
    return pd.Series(values)


def _has_time_zone(column: pd.Series[Any]) -> bool:
    return any(isinstance(cell, datetime.datetime) and cell.tzinfo is not None for cell in column)


def _short(cell: object, limit: int = 40) -> str:
    text = repr(cell)
    return text if len(text) <= limit else text[: limit - 3] + "..."
