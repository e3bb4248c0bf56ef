"""Which columns of text are dates, and is 02/03/2024 in February or in March?

One order of day and month holds for all rows of a column: cell by cell, 02.01.2024 would be read in
February and 13.01.2024 in January.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import pandas as pd

__all__ = ["Order", "date_orders", "other_times", "possible_orders", "with_dates"]

Order: TypeAlias = Literal["year first", "day first", "month first"]

_CLOCK = (
    r"(?:[T ] ?(?P<hour>\d\d?)(?P<minutes>:\d\d(?::\d\d(?:\.\d+)?)?) ?(?P<zone>Z|[+-]\d\d:?\d\d)?)?"
)
_YEAR, _MONTH, _DAY = r"(?P<year>\d{4})", r"(?P<month>\d\d?)", r"(?P<day>\d\d?)"
# nobody parts month, day and year by points
_FORMS: dict[Order, re.Pattern[str]] = {
    "year first": re.compile(rf"^{_YEAR}(?P<mark>[-/.]){_MONTH}(?P=mark){_DAY}{_CLOCK}$"),
    "day first": re.compile(rf"^{_DAY}(?P<mark>[-/.]){_MONTH}(?P=mark){_YEAR}{_CLOCK}$"),
    "month first": re.compile(rf"^{_MONTH}(?P<mark>[-/]){_DAY}(?P=mark){_YEAR}{_CLOCK}$"),
}


def possible_orders(column: pd.Series[Any]) -> list[Order]:
    """The orders in which every value of a column of text is a date: none, one, or two."""
    text = _text(column)
    if not len(text) or not any(form.match(text.iloc[0]) for form in _FORMS.values()):
        return []
    read = {order: _read(text, order) for order in _FORMS}
    fit = [order for order, times in read.items() if times.notna().all()]
    return fit[:1] if len(fit) > 1 and read[fit[0]].equals(read[fit[1]]) else fit


def date_orders(
    frame: pd.DataFrame, learnt: Mapping[str, Order | None] | None = None
) -> dict[str, Order | None]:
    """How the dates of each column of text are written; None where it has others, or it is unsure.

    Columns are read as those of the training table, which are ``learnt``: no dates where they had
    none, and in the same order where day and month could be either.
    """
    found: dict[str, Order | None] = {}
    for name in frame.columns[[_may_be_text(frame[c]) for c in frame.columns]]:
        orders = possible_orders(frame[name])
        sure = orders[0] if len(orders) == 1 else None
        known = sure if learnt is None else learnt.get(name, sure)
        found[name] = known if known is None or known in orders else sure
    return found


def with_dates(
    frame: pd.DataFrame, orders: Mapping[str, Order | None], remarks: list[str]
) -> pd.DataFrame:
    """Columns of dates in writing as times, in UTC where they have a time zone."""
    for name, order in orders.items():
        if order is None:
            continue
        text = _text(frame[name])
        times = _read(text, order)
        remarks.append(f"column {name!r}: read as times ({text.iloc[0]!r} is {times.iloc[0]})")
        frame = frame.assign(**{name: times.reindex(frame.index)})
    return frame


def other_times(column: pd.Series[Any]) -> pd.Series[Any]:
    """Times that pandas reads in one way only, such as "5 Mar 2024"; NaT where it does not."""
    with warnings.catch_warnings():  # of days and months that it changes about
        warnings.simplefilter("ignore", UserWarning)
        read = [
            pd.to_datetime(column, errors="coerce", format="mixed", utc=True, dayfirst=dayfirst)
            for dayfirst in (False, True)
        ]
    return read[0].where(read[0] == read[1])


def _may_be_text(column: pd.Series[Any]) -> bool:
    return isinstance(column.dtype, pd.StringDtype | pd.ArrowDtype) or column.dtype == object


def _text(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.dropna().astype(str).str.strip()


def _read(text: pd.Series[Any], order: Order) -> pd.Series[Any]:
    """Times without a zone; NaT where the text is none in this order."""
    part = text.str.extract(_FORMS[order]).fillna("")
    date = part["year"] + "-" + part["month"].str.zfill(2) + "-" + part["day"].str.zfill(2)
    hour = part["hour"].str.zfill(2).where(part["hour"] != "", "")
    clock = (" " + hour + part["minutes"] + part["zone"]).str.rstrip()
    times = pd.to_datetime(date + clock, errors="coerce", format="ISO8601", utc=True)
    return times.dt.tz_localize(None)
