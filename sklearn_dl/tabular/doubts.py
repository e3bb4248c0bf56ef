"""Is a column of levels a category at all: or text, numbers or dates in writing, names of rows?"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["check_levels", "check_not_row_numbers", "check_seen"]

# Text: more than this share of distinct values, which are this many characters long on average.
DISTINCT_SHARE = 0.9
TEXT_LENGTH = 25
# Fewer rows cannot tell an identifier from a category with many levels.
MIN_ROWS_FOR_TEXT = 50
# Fewer dates than this may well be categories, such as those of two surveys.
MIN_DATES = 10

# So many values, all of them new, are no chance: categories were renamed, or the column is another
MANY_UNSEEN = 20

# Integers that never repeat and fill at least this share of their range number the rows.
NUMBERED_SHARE = 0.5

NUMBER = re.compile(r"[^\w.+-]?[+-]?(\d[\d, '_]*)?\.?\d+(e[+-]?\d+)?\s?%?", re.IGNORECASE)
DATE = re.compile(r"(\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{4})([ T]\d\d?:\d\d.*)?")


def check_levels(levels: Sequence[object], n_rows: int, *, name: str, declared: bool) -> None:
    """Refuse text and numbers in writing, warn of dates in writing and of identifiers.

    Parameters
    ----------
    levels : sequence of str, bool, int or float
        Distinct values of the column.
    n_rows : int
        Rows with a value.
    name : str
        For messages.
    declared : bool
        Whether the user says that it is a category: it is none of the others then.

    Raises
    ------
    ValueError
        Nearly every row has a value of its own, and they are long, or numbers.
    """
    texts = [level for level in levels if isinstance(level, str)]
    distinct = n_rows >= MIN_ROWS_FOR_TEXT and len(levels) > DISTINCT_SHARE * n_rows
    if not declared and len(texts) == len(levels) >= MIN_DATES and _all(DATE, texts):
        _warn(
            f"Column {name!r} holds dates written as text, e.g. {texts[0]!r}, and each is a "
            "category. Make dates of them with pandas.to_datetime: they become time and calendar."
        )
    elif distinct:
        example = texts[0][:40] if texts else levels[0]
        seen = f"{len(levels)} different values in {n_rows} rows, e.g. {example!r}"
        if not declared and texts:
            _refuse_text(texts, seen, name)
        _warn(
            f"Column {name!r} looks like an identifier: {seen}. It says nothing about new rows; "
            "drop it."
        )


def check_not_row_numbers(values: npt.NDArray[np.integer], *, name: str) -> None:
    """Warn of a column that numbers its rows, or the rows they were drawn from.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
    name : str
        For messages.
    """
    n = len(values)
    if n < MIN_ROWS_FOR_TEXT:
        return
    low, span = values.min(), int(values.max()) - int(values.min()) + 1
    if not n <= span <= n / NUMBERED_SHARE:
        return
    # in 64 bits: from -60 to 80 is too far for the 8 bits that hold both
    places = np.subtract(values, low, dtype=np.int64, casting="unsafe")
    if np.bincount(places).max() == 1:
        _warn(
            f"Column {name!r} looks like the number of the row: {n} different integers between "
            f"{low} and {values.max()}. Unless it is time, it says nothing about new rows; drop it."
        )


def check_seen(unseen: npt.NDArray[np.bool_], levels: Sequence[object], *, name: str) -> None:
    """Warn of a column of which no value was seen in fit: it says nothing.

    Parameters
    ----------
    unseen : ndarray of shape (n_values,)
        Which of its values were not seen; missing ones do not count.
    levels : sequence of str, bool, int or float
        Those seen in fit.
    name : str
        For messages.
    """
    if len(unseen) >= MANY_UNSEEN and unseen.all():
        _warn(
            f"No value of column {name!r} was seen in fit, in {len(unseen)} rows; there it held "
            f"{', '.join(map(repr, levels[:3]))}. The column says nothing of these rows: were its "
            "categories renamed?"
        )


def _refuse_text(texts: list[str], seen: str, name: str) -> None:
    if _all(NUMBER, texts):
        raise ValueError(
            f"Column {name!r} holds numbers written as text: {seen}. Make numbers of them, e.g. "
            "with pandas.to_numeric; pandas.read_csv(thousands=',') reads '1,000'."
        )
    if sum(map(len, texts)) > TEXT_LENGTH * len(texts):
        raise ValueError(
            f"Column {name!r} holds free text: {seen}. Turn it into numbers first, e.g. with "
            "sklearn.feature_extraction.text.TfidfVectorizer in a ColumnTransformer, or drop it."
        )


def _all(pattern: re.Pattern[str], texts: list[str]) -> bool:
    return all(pattern.fullmatch(text.strip()) for text in texts)


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)
