"""What does a column hold, and how is it read as numbers or as level codes?

A column is of one kind, found in fit:

=========== ===================================================================================
"number"    numbers and booleans, as they are
"rank"      an ordered categorical, as the position of its value in the order
"time"      a date and time, as seconds since 1970, and as calendar features
"elapsed"   a duration, in seconds
"level"     a categorical or a text column, as the code of its value among those seen in fit
"empty"     no value seen in fit: left out
=========== ===================================================================================
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from sklearn_dl.tabular.doubts import check_levels

FloatArray = npt.NDArray[np.float64]
Level: TypeAlias = str | bool | int | float
Column: TypeAlias = "pd.Series[Any] | npt.NDArray[Any]"

# Codes of what is no level seen in fit; negative, so that they index a table from its end.
MISSING, UNSEEN = -1, -2
# A column has at most this many levels of its own: wide enough for weekdays, states, airports;
# the rest share one indicator. An encoded row stays short, as one-hot columns are dense.
MAX_LEVELS = 128
# Columns of more levels than MAX_LEVELS are codes for a network that embeds them; so many levels
# have a code of their own. 2^16 vectors of 8 numbers are half a million parameters.
MOST_CODES = 2**16
DAY_SECONDS = 86_400.0
# Each calendar period as a point on a circle, so that its end is next to its start.
PERIODS = ("year", "week", "day")


def column_kind(column: pd.Series[Any]) -> str:
    """Kind of a checked column by its type alone; "level" for all that is no number or time."""
    dtype: Any = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "rank" if dtype.ordered else "level"
    if isinstance(dtype, np.dtype) and dtype.kind in "fiubMm":
        return {"M": "time", "m": "elapsed"}.get(dtype.kind, "number")
    return "level"


def read_numbers(column: pd.Series[Any], kind: str, ranks: Sequence[Level], name: str) -> Any:
    """A column as numbers, NaN where missing.

    Parameters
    ----------
    column : Series of shape (n_rows,)
        A checked column.
    kind : {"number", "rank", "time", "elapsed"}
        Kind found in fit; the column may have another type now.
    ranks : sequence of levels
        The levels of a "rank" column in their order.
    name : str
        For messages.

    Returns
    -------
    ndarray of shape (n_rows,)
        Of the column's own type where it is numeric (no copy), else float64.

    Raises
    ------
    ValueError
        If the column does not hold what it held in fit.
    """
    if kind == "rank":
        codes = level_codes(column, ranks, rare=False, name=name)
        return np.where(codes < 0, np.nan, codes)
    found = column_kind(column)
    if found == kind:
        if kind == "number":
            return column.to_numpy()
        seconds = column.to_numpy().view(np.int64) / _ticks_per_second(column)
        return np.where(column.isna(), np.nan, seconds)
    if kind == "number" and found in ("level", "rank"):
        return _parse_numbers(column, name)
    if column.isna().all():
        return np.full(len(column), np.nan)
    held = {"number": "numbers", "time": "dates", "elapsed": "durations"}
    raise ValueError(
        f"Column {name!r} held {held[kind]} in fit, but now its type is {column.dtype} "
        f"(e.g. {_example(column)!r}). Convert it to the type it had."
    )


def calendar_phases(column: pd.Series[Any]) -> FloatArray:
    """Where each time lies in the year, the week and the day.

    Parameters
    ----------
    column : Series of shape (n_rows,)
        datetime64.

    Returns
    -------
    ndarray of shape (n_rows, len(PERIODS))
        In [0, 1): time since 1 January over 366 days, since Monday, since midnight.
        NaN where missing.
    """
    times = column.to_numpy()
    missing = np.isnat(times)
    times = np.where(missing, np.datetime64(0, "s"), times)
    days = times.astype("datetime64[D]")
    since_midnight = (times - days) / np.timedelta64(1, "s") / DAY_SECONDS
    since_new_year = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(float)
    weekday = (days.astype(np.int64) + 3) % 7  # 1 January 1970 was a Thursday
    phases = np.stack([since_new_year / 366, weekday / 7, since_midnight], axis=1)
    phases[missing] = np.nan
    return phases


def level_codes(
    column: Column, levels: Sequence[Level], *, rare: bool, name: str
) -> npt.NDArray[np.intp]:
    """Position of each value among the levels seen in fit.

    Parameters
    ----------
    column : Series or ndarray of shape (n_rows,)
        A checked column, of any type.
    levels : sequence of levels
        Those with a code of their own: 0, 1, ...
    rare : bool
        Whether all others share the code ``len(levels)``; else they are `UNSEEN`.
    name : str
        For messages.

    Returns
    -------
    ndarray of shape (n_rows,), int
        Missing values are `MISSING`.

    Raises
    ------
    ValueError
        If the column held text in fit and holds numbers now: none could be recognised.
    """
    codes, values = pd.factorize(column)
    keys = [level_key(value) for value in values]
    if levels and keys:
        text_seen, text_now = _all_text(levels), _all_text(keys)
        if text_seen and not any(isinstance(key, str) for key in keys):
            raise ValueError(
                f"Column {name!r} held text in fit (e.g. {levels[0]!r}), but now it holds numbers "
                f"(e.g. {keys[0]!r}). Convert it to the values it had."
            )
        if text_now and not any(isinstance(level, str) for level in levels):
            keys = [_number_if_possible(key) for key in keys]
    known = {level: code for code, level in enumerate(levels)}
    other = len(levels) if rare else UNSEEN
    table = np.array([known.get(key, other) for key in keys] + [MISSING], dtype=np.intp)
    return table[codes]  # factorize codes missing values -1: the last entry


def find_levels(
    column: Column, weights: FloatArray | None, *, name: str, most: int = MAX_LEVELS
) -> tuple[list[Level], bool, bool]:
    """The levels of a column that get a code of their own.

    Parameters
    ----------
    column : Series or ndarray of shape (n_rows,)
        A checked column.
    weights : ndarray of shape (n_rows,) or None
        Positive.
    name : str
        For messages.
    most : int
        Of the levels that get a code.

    Returns
    -------
    levels : list of str, bool, int or float
        Sorted, numbers before text; the ``most - 1`` heaviest if there are more than ``most``.
    rare : bool
        Whether some were left out.
    has_missing : bool
        Whether a value is missing.
    """
    codes, values = pd.factorize(column)
    present = codes >= 0
    amounts = np.bincount(
        codes[present], None if weights is None else weights[present], minlength=len(values)
    )
    totals: dict[Level, float] = {}
    for value, amount in zip(values, amounts.tolist(), strict=True):
        if amount > 0:
            key = level_key(value)
            totals[key] = totals.get(key, 0.0) + amount
    undeclared = isinstance(column, pd.Series) and not isinstance(column.dtype, pd.CategoricalDtype)
    check_levels(list(totals), int(np.count_nonzero(present)), name=name, declared=not undeclared)
    has_missing = not bool(present.all())
    ordered = sorted(totals, key=_sort_key)
    if len(ordered) <= most:
        return ordered, False, has_missing
    # Equally heavy ones in their sorted order, whatever the order of the rows.
    heaviest = sorted(ordered, key=lambda level: -totals[level])[: most - 1]
    return sorted(heaviest, key=_sort_key), True, has_missing


def rank_levels(column: pd.Series[Any]) -> list[Level]:
    """The levels of an ordered categorical, in order."""
    return [level_key(value) for value in column.cat.categories]


def level_key(value: Any) -> Level:
    """A plain value that stands for the level, equal for 1, 1.0 and numpy's 1."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, numbers.Real):
        number = float(value)
        return int(number) if number.is_integer() else number
    return str(value)


def _parse_numbers(column: pd.Series[Any], name: str) -> FloatArray:
    cells = column.astype(object)
    parsed = np.asarray(pd.to_numeric(cells, errors="coerce"), dtype=np.float64)
    failed = np.isnan(parsed) & ~np.asarray(column.isna())
    if failed.any():
        raise ValueError(
            f"Column {name!r} must hold numbers, but holds {cells[failed].iloc[0]!r}. Convert it, "
            "or have it treated as a category: give it the dtype 'category', or name it in "
            "categorical_features."
        )
    return parsed


def _ticks_per_second(column: pd.Series[Any]) -> float:
    tick: Any = np.ones((), column.to_numpy().dtype.str.replace("M8", "m8"))
    return float(np.timedelta64(1, "s") / tick)


def _example(column: pd.Series[Any]) -> Any:
    return column.dropna().iloc[0]


def _all_text(values: Sequence[Level]) -> bool:
    return all(isinstance(value, str) for value in values)


def _number_if_possible(value: Level) -> Level:
    for number in (int, float):  # integers beyond 2^53 are no floats
        try:
            return level_key(number(value))
        except ValueError:
            continue
    return value


def _sort_key(level: Level) -> tuple[bool, Any]:
    return isinstance(level, str), level
