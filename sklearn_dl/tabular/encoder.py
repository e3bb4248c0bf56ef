"""How is a checked table encoded as one matrix of floats?"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from sklearn_dl.tabular.checking import Table, all_numbers, check_table, column_names, table_dtype
from sklearn_dl.tabular.columns import (
    MAX_LEVELS,
    MISSING,
    MOST_CODES,
    PERIODS,
    UNSEEN,
    FloatArray,
    Level,
    calendar_phases,
    column_kind,
    find_levels,
    level_codes,
    rank_levels,
    read_numbers,
)
from sklearn_dl.tabular.doubts import check_not_row_numbers, check_seen
from sklearn_dl.tabular.reading import ColumnReader, positive_weights, row_chunks, take_column
from sklearn_dl.tabular.selection import categorical_mask
from sklearn_dl.tabular.statistics import Statistics, dense_statistics, sparse_statistics
from sklearn_dl.tabular.writing import scale_numbers, write_levels, write_periods


class TabularEncoder(TransformerMixin, BaseEstimator):
    """Encode a table of numbers, categories and times as a matrix a network learns from.

    With ``preprocessing="auto"`` a number x becomes, with the median and quartiles of its column,

        z = (x - median) s,  s = 1 / (q75 - q25), if 0 then 2 / (max - min), if 0 then 0,
        z / sqrt(1 + (z / 3)^2).

    The columns of the matrix are, in this order:

    - a column a number, boolean (0, 1), ordered categorical (its rank), time or duration (their
      seconds), scaled. A missing number is 0, the median. A constant column is 0.
    - for a time, the sine and cosine of where it lies in the year (days since 1 January), the
      week (days since Monday) and the day (time since midnight, UTC where it has a time zone),
      each where it varied in fit. A missing time is 0.
    - for other categories and text, an indicator a level seen in fit; one column with -1 and 1
      if there were two levels, one with 0 if there was one. A missing value, and a level not
      seen in fit, is all zeros. If there were more than 128 levels, the 127 heaviest have an
      indicator of their own, and all others, unseen ones too, share the one named "infrequent".
      With ``many_levels="code"`` such a column is the last thing in the matrix: 1, 2, ... for
      the levels in their order, 0 for a missing value and an unseen level.
    - a flag, 1 where missing, for each column of any sort with missing values in fit.

    A column without any value in fit is left out, with a warning.

    Parameters
    ----------
    preprocessing : {"auto", "standard"} or None, default="auto"
        "auto": as above. "standard": numbers to zero mean and unit variance, not clipped, missing
        ones to the mean; the rest alike. None: the numbers as they come, and nothing else passes.
    categorical_features : "from_dtype", array-like of str, int or bool, or None, \
            default="from_dtype"
        As in HistGradientBoostingClassifier, but "from_dtype" includes text columns.
    many_levels : {"infrequent", "code"}, default="infrequent"
        What becomes of columns of more than 128 levels; "code" is for networks that embed them,
        and tells up to 65,536 levels of a column apart.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Of the matrix. "auto": float64 if X is a dense or sparse array of float64, else float32.

    Attributes
    ----------
    n_encoded_ : int
        Number of columns of the matrix.
    kinds_ : list of str
        Of each column of X: "number", "rank", "time", "elapsed", "level" or "empty".
    levels_ : dict of int to list
        Levels of "rank" and "level" columns, by column position.
    coded_columns_ : list of int
        Columns of X that are codes, the last of the matrix.
    number_columns_ : ndarray of int
        Columns of X encoded as numbers.
    center_, scale_ : ndarray of shape (len(number_columns_),)
        An encoded number is ``(x - center_) * scale_``, before clipping.
    n_features_in_ : int
        Number of columns of X in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X had names that are all strings.

    Notes
    -----
    Statistics are weighted: a row of weight k counts as k rows, a row of weight 0 as none.
    Statistics and encoding are computed in float64, so that dense and sparse X give equal
    matrices, and large integers keep their differences to 16 digits.

    References
    ----------
    Holzmueller, Grinsztajn, Steinwart (2024). Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data. arXiv 2407.04491.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_dl.tabular import TabularEncoder
    >>> X = pd.DataFrame({"age": [20, 30, 40, None], "job": ["cook", "pilot", "cook", "nurse"]})
    >>> encoder = TabularEncoder().fit(X)
    >>> encoder.get_feature_names_out().tolist()
    ['age', 'job_cook', 'job_nurse', 'job_pilot', 'age_missing']
    >>> encoder.transform(X).round(2).tolist()[3]
    [0.0, 0.0, 1.0, 0.0, 1.0]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "preprocessing": [StrOptions({"auto", "standard"}), None],
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "many_levels": [StrOptions({"infrequent", "code"})],
        "dtype": [StrOptions({"auto", "float32", "float64"})],
    }

    def __init__(
        self,
        *,
        preprocessing: str | None = "auto",
        categorical_features: Any = "from_dtype",
        many_levels: str = "infrequent",
        dtype: str = "auto",
    ) -> None:
        self.preprocessing = preprocessing
        self.categorical_features = categorical_features
        self.many_levels = many_levels
        self.dtype = dtype

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the statistics of the columns.

        Parameters
        ----------
        X : array, sparse matrix, data frame or list of shape (n_rows, n_features)
            See `check_table`.
        y : ignored
            For scikit-learn's convention.
        sample_weight : array-like of shape (n_rows,), default=None
            Not negative.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If X is no table, holds infinity, or a column of it cannot be encoded.
        """
        table = check_table(self, X, reset=True, allow_nan=self.preprocessing is not None)
        return self._fit(table, sample_weight)

    def transform(self, X: Any) -> Any:
        """Encode X.

        Parameters
        ----------
        X : array, sparse matrix, data frame or list of shape (n_rows, n_features)
            With the columns seen in fit.

        Returns
        -------
        ndarray of shape (n_rows, n_encoded_)
            Of float32 or float64, see `dtype`; X itself if there is nothing to do.
        """
        check_is_fitted(self)
        table = check_table(self, X, reset=False, allow_nan=self.preprocessing is not None)
        return self.transform_table(table, self._output_dtype(table))

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Fit to X, then encode X, checked once.

        Parameters
        ----------
        X : array, sparse matrix, data frame or list of shape (n_rows, n_features)
            See `check_table`.
        y : ignored
            For scikit-learn's convention.
        sample_weight : array-like of shape (n_rows,), default=None
            Not negative.

        Returns
        -------
        ndarray of shape (n_rows, n_encoded_)
        """
        table = check_table(self, X, reset=True, allow_nan=self.preprocessing is not None)
        return self._fit(table, sample_weight).transform_table(table, self._output_dtype(table))

    def fit_table(self, table: Table, sample_weight: Any = None) -> Self:
        """`fit` for what `check_table` returned.

        Parameters
        ----------
        table : DataFrame, ndarray or csr_array of shape (n_rows, n_features)
            A checked table.
        sample_weight : array-like of shape (n_rows,), default=None
            Not negative.

        Returns
        -------
        self
        """
        validate_data(self, table, reset=True, skip_check_array=True)
        return self._fit(table, sample_weight)

    def transform_table(self, table: Table, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """`transform` for what `check_table` returned, or some rows of it.

        Parameters
        ----------
        table : DataFrame, ndarray or csr_array of shape (n_rows, n_features)
            A checked table, with the columns seen in fit.
        dtype : numpy.float32 or numpy.float64
            Of the result.

        Returns
        -------
        ndarray of shape (n_rows, n_encoded_)
            C-contiguous.
        """
        try:
            with np.errstate(over="raise"):
                if self.preprocessing is None and isinstance(table, np.ndarray):
                    return np.ascontiguousarray(table, dtype=dtype)
                encoded = np.zeros((table.shape[0], self.n_encoded_), dtype=dtype)
                self._encode(table, encoded)
        except FloatingPointError:
            raise ValueError(
                f"X contains a value too large for {np.dtype(dtype)}. Scale it, or use "
                "preprocessing='auto' or dtype='float64'."
            ) from None
        return encoded

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[Any]:
        """Names of the encoded columns: the column's, and what of it is encoded.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X; None: those seen in fit, or x0, x1, ...

        Returns
        -------
        ndarray of shape (n_encoded_,), object
            Such as 'age', 'job_cook', 'day_week_sin' and 'age_missing'.
        """
        check_is_fitted(self)
        source = list(_check_feature_names_in(self, input_features))
        names = [source[column] for column in self.number_columns_]
        for column, periods in self.periods_.items():
            names += [f"{source[column]}_{p}_{wave}" for p in periods for wave in ("sin", "cos")]
        for column in self.indicated_columns_:
            levels = [str(level) for level in self.levels_[column]]
            if column in self.rare_columns_:
                levels.append("infrequent")
            shown = levels[1:] if len(levels) == 2 else levels  # -1 and 1: the name of the 1
            names += [f"{source[column]}_{level}" for level in shown]
        flagged = [*self.number_columns_[self.flagged_numbers_], *self.flagged_level_columns_]
        names += [f"{source[column]}_missing" for column in flagged]
        names += [f"{source[column]}_code" for column in self.coded_columns_]
        return np.array(_distinct(names), dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Tags: sparse, missing and categorical input; float types are kept."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.preprocessing is not None
        tags.input_tags.categorical = self.preprocessing is not None
        # input_tags.string would promise to take any object, dicts too, as a category.
        preserved = ["float64", "float32"] if self.dtype == "auto" else [self.dtype]
        tags.transformer_tags.preserves_dtype = preserved
        return tags

    def _output_dtype(self, table: Table) -> np.dtype[Any]:
        return table_dtype(table) if self.dtype == "auto" else np.dtype(self.dtype)

    def _fit(self, table: Table, sample_weight: Any) -> Self:
        weights, keep = positive_weights(sample_weight, table)
        names = column_names(table)
        self.kinds_ = self._find_kinds(table)
        if self.preprocessing is None:
            _refuse_all_but_numbers(table, self.kinds_, names)
        columns = ColumnReader(table, keep)
        self.levels_: dict[int, list[Level]] = {}
        self.rare_columns_: list[int] = []
        self.coded_columns_: list[int] = []
        self.flagged_level_columns_: list[int] = []
        self.periods_: dict[int, list[str]] = {}
        for column, kind in enumerate(self.kinds_):
            if kind == "level":
                self._fit_levels(column, columns.one(column), weights, names[column])
            elif kind == "rank":
                self.levels_[column] = rank_levels(columns.one(column))
            elif kind == "time":
                self._fit_periods(column, columns.one(column))
        self.level_columns_ = [c for c, kind in enumerate(self.kinds_) if kind == "level"]
        self.indicated_columns_ = [c for c in self.level_columns_ if c not in self.coded_columns_]
        self._fit_numbers(columns, weights, names)
        self._report_empty(names)
        self.n_encoded_ = len(self.get_feature_names_out())
        return self

    def _find_kinds(self, table: Table) -> list[str]:
        by_dtype = isinstance(self.categorical_features, str)
        if isinstance(table, pd.DataFrame):
            kinds = [column_kind(table.iloc[:, column]) for column in range(table.shape[1])]
        else:
            kinds = ["number"] * table.shape[1]
        if by_dtype:
            return kinds
        chosen = categorical_mask(table, self.categorical_features)
        for column, kind in enumerate(kinds):
            if chosen[column] and kind != "rank":
                kinds[column] = "level"
            elif not chosen[column] and kind in ("level", "rank"):
                kinds[column] = "number"  # reading it as numbers says what is wrong, if it is
        return kinds

    def _fit_levels(self, column: int, values: Any, weights: FloatArray | None, name: str) -> None:
        coded = self.many_levels == "code"
        most = MOST_CODES if coded else MAX_LEVELS
        levels, rare, has_missing = find_levels(values, weights, name=name, most=most)
        if not levels:
            self.kinds_[column] = "empty"
            return
        self.levels_[column] = levels
        if coded and len(levels) > MAX_LEVELS:
            self.coded_columns_.append(column)  # of the rest nothing is said
        elif rare:
            self.rare_columns_.append(column)
        if has_missing:
            self.flagged_level_columns_.append(column)

    def _fit_periods(self, column: int, values: pd.Series[Any]) -> None:
        phases = calendar_phases(values)
        varies = np.fmin.reduce(phases) < np.fmax.reduce(phases)
        self.periods_[column] = [p for p, v in zip(PERIODS, varies, strict=True) if v]

    def _fit_numbers(
        self, columns: ColumnReader, weights: FloatArray | None, names: list[str]
    ) -> None:
        chosen = [c for c, kind in enumerate(self.kinds_) if kind not in ("level", "empty")]
        if columns.csc is None and isinstance(columns.table, pd.DataFrame):
            for c in chosen:
                if (
                    isinstance(dtype := columns.table.dtypes.iloc[c], np.dtype)
                    and dtype.kind in "iu"
                ):
                    check_not_row_numbers(columns.one(c).to_numpy(), name=names[c])
        if self.preprocessing is None:
            found = Statistics(
                np.zeros(len(chosen)),
                np.ones(len(chosen)),
                np.zeros(len(chosen), bool),
                np.zeros(len(chosen), bool),
            )
        else:
            robust = self.preprocessing == "auto"
            if columns.csc is not None:
                found = sparse_statistics(columns.csc[:, chosen], weights, robust=robust)
            else:
                blocks = columns.number_blocks(chosen, self.kinds_, self.levels_, names)
                found = dense_statistics(blocks, weights, robust=robust)
        for position in np.flatnonzero(found.all_missing):
            self.kinds_[chosen[position]] = "empty"
            self.periods_.pop(chosen[position], None)
        kept = ~found.all_missing
        self.number_columns_ = np.array(chosen, dtype=np.intp)[kept]
        self.center_, self.scale_ = found.center[kept], found.scale[kept]
        self.flagged_numbers_ = np.flatnonzero(found.has_missing[kept])

    def _report_empty(self, names: list[str]) -> None:
        empty = [names[column] for column, kind in enumerate(self.kinds_) if kind == "empty"]
        if len(empty) == len(names):
            raise ValueError(f"X has no value in any of its {len(names)} columns: all is missing.")
        if empty:
            warnings.warn(
                f"Left out, as all values are missing: {', '.join(map(repr, empty))}.",
                stacklevel=2,
            )

    def _encode(self, table: Table, out: npt.NDArray[Any]) -> None:
        """Write `table` into `out`, zeros on entry: numbers by chunks of rows, then the rest."""
        if not isinstance(table, pd.DataFrame) and self._reads_types():
            table = pd.DataFrame(table if isinstance(table, np.ndarray) else table.toarray())
        end = len(self.number_columns_)
        codes_start = out.shape[1] - len(self.coded_columns_)
        flags = codes_start - len(self.flagged_numbers_) - len(self.flagged_level_columns_)
        for rows, chunk in row_chunks(table):
            self._encode_numbers(chunk, out[rows, :end], out[rows, flags:])
        flags += len(self.flagged_numbers_)
        for column, kind in enumerate(self.kinds_):
            if kind == "rank":
                self._codes(table, column)  # says where no value is known, which a chunk cannot
        for column, periods in self.periods_.items():
            start, end = end, end + 2 * len(periods)
            write_periods(take_column(table, column), periods, out[:, start:end])
        for column in self.level_columns_:
            codes = self._codes(table, column)
            if column in self.coded_columns_:
                out[:, codes_start] = np.maximum(codes + 1, 0)
                codes_start += 1
            else:
                n_levels = len(self.levels_[column]) + (column in self.rare_columns_)
                start, end = end, end + n_levels - (n_levels == 2)
                write_levels(codes, n_levels, out[:, start:end])
            if column in self.flagged_level_columns_:
                out[:, flags] = codes == MISSING
                flags += 1

    def _codes(self, table: Table, column: int) -> npt.NDArray[np.intp]:
        """Positions of a column's values among its levels; warns where it has none of them."""
        name, levels = column_names(table)[column], self.levels_[column]
        rare = column in self.rare_columns_
        codes = level_codes(take_column(table, column), levels, rare=rare, name=name)
        check_seen(codes[codes != MISSING] == UNSEEN, levels, name=name)
        return codes

    def _reads_types(self) -> bool:
        """Whether a column was of a kind that only a frame can hold."""
        return not {"rank", "time", "elapsed"}.isdisjoint(self.kinds_)

    def _encode_numbers(
        self,
        chunk: pd.DataFrame | npt.NDArray[Any],
        out: npt.NDArray[Any],
        flags: npt.NDArray[Any],
    ) -> None:
        numbers = self._read_numbers(chunk)
        if self.preprocessing is not None:
            missing = np.isnan(numbers)
            clip = self.preprocessing == "auto"
            scale_numbers(numbers, missing, self.center_, self.scale_, clip=clip)
            if len(self.flagged_numbers_):
                flags[:, : len(self.flagged_numbers_)] = missing[:, self.flagged_numbers_]
        out[:] = numbers

    def _read_numbers(self, chunk: pd.DataFrame | npt.NDArray[Any]) -> FloatArray:
        """Fresh float64 numbers of shape (n_chunk_rows, len(number_columns_))."""
        if isinstance(chunk, pd.DataFrame) and all_numbers(chunk) and not self._reads_types():
            chunk = chunk.to_numpy()
        if isinstance(chunk, np.ndarray):
            if len(self.number_columns_) < chunk.shape[1]:
                chunk = chunk[:, self.number_columns_]
            return np.array(chunk, dtype=np.float64, order="C")
        names = column_names(chunk)
        numbers = np.empty((len(chunk), len(self.number_columns_)))
        for position, column in enumerate(self.number_columns_):
            kind, ranks = self.kinds_[column], self.levels_.get(column, ())
            series = chunk.iloc[:, column]
            numbers[:, position] = read_numbers(series, kind, ranks, names[column])
        return numbers


def _refuse_all_but_numbers(table: Table, kinds: list[str], names: list[str]) -> None:
    """Without preprocessing there is no way to make a number of a category or a time."""
    for column, kind in enumerate(kinds):
        if kind != "number":
            values = take_column(table, column) if isinstance(table, pd.DataFrame) else None
            held = "is a category" if values is None else f"is of dtype {values.dtype}"
            raise ValueError(
                f"preprocessing=None takes numbers as they come, but column {names[column]!r} "
                f"{held}. Use preprocessing='auto' or 'standard', or encode the column first."
            )


def _distinct(names: list[str]) -> list[str]:
    """Underscores on names that repeat, such as a level "missing" and the missing flag."""
    seen: set[str] = set()
    for position, name in enumerate(names):
        while name in seen:
            name += "_"
        seen.add(name)
        names[position] = name
    return names
