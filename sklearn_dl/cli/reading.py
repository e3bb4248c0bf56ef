"""A table as its user means it: what is a number, a time, the target, and what is no input."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from sklearn_dl.cli.files import InputError, read_table
from sklearn_dl.cli.times import date_orders, other_times, possible_orders, with_dates
from sklearn_dl.datasets import default_table

__all__ = ["InputError", "Problem", "read_problem", "read_table"]

Task = Literal["classification", "regression"]
Decimal = Literal[".", ","]

MAX_INTEGER_CLASSES = 20  # more different whole numbers than this are taken for numbers
MIN_IDS = 20  # so many rows that are all different in a column are no accident
# How people write numbers, 1,234.5 or 1.234,5: no group of thousands begins with 0.
_POINTS = re.compile(r"[+-]?([1-9]\d{0,2}([,' \u00a0\u202f]\d{3})+|\d+)(\.\d+)?([eE][+-]?\d+)?")
_COMMAS = re.compile(r"[+-]?(([1-9]\d{0,2}(\.\d{3})+|\d+),\d+|\d+)")
_UNITS = re.compile(r"^[$\u20ac\u00a3]\s*|\s*[%$\u20ac\u00a3]$")
_ID = re.compile(
    r"(^|[_ ])(id|uuid|guid|key|index)$|^(unnamed: ?\d+|row|row_?n(umber|r)?|nr|no)$", re.I
)


@dataclass(frozen=True)
class Problem:
    """What is to be predicted from what, and how it was read.

    ``ordered`` rows are sorted by time; ``remarks`` are lines for the user.
    """

    X: pd.DataFrame
    y: pd.Series[Any]
    X_test: pd.DataFrame | None
    y_test: pd.Series[Any] | None
    task: Task
    description: str
    rule: str
    groups: pd.Series[Any] | None = None
    ordered: bool = False
    remarks: tuple[str, ...] = ()


def read_problem(options: argparse.Namespace) -> Problem:
    """Read the tables and settle target and task.

    Raises
    ------
    InputError
        Whatever is wrong with the files or columns.
    """
    remarks: list[str] = []
    if options.table is None:
        frame, name, target = default_table(), "embedded table (breast cancer)", "target"
        given = (options.target, options.test, options.groups, options.time)
        if any(option is not None for option in given):
            raise InputError(
                "--target, --test, --groups and --time need a table: sklearn-dl diagnose TABLE ..."
            )
        test = None
    else:
        read, name = read_table(options.table, remarks), options.table
        decimals, orders = _decimals(read), date_orders(read)
        frame = with_dates(_numbers(read, remarks, decimals), orders, remarks)
        target = _target_column(frame, options.target, name)
        test = None
        if options.test is not None:
            read = read_table(options.test, remarks)
            test = _numbers(read, remarks, _decimals(read, decimals))
            test = with_dates(test, date_orders(read, orders), remarks)
        frame = _with_target(frame, target, name, remarks)
        if test is not None and target in test:
            test = _with_target(test, target, options.test, remarks)
    task, rule = _task(frame[target], target, options.task)
    frame = _sorted(frame, options.time, target, name)
    groups = _groups(frame, options.groups, target, name)
    frame = frame.drop(columns=[c for c in {options.groups, options.time} if c is not None])
    X, y = frame.drop(columns=target), frame[target]
    if X.shape[1] == 0:
        raise InputError(f"{name} has no column beside the target {target!r}")
    X = X.drop(columns=_ids(X, remarks))
    X_test, y_test = (None, None) if test is None else _test_rows(test, X, target, options.test)
    description = f"{name}: {len(X):,} rows, {X.shape[1]} columns, target {target!r}"
    if X_test is not None:
        description += f"; {len(X_test):,} test rows"
    if groups is not None:
        description += f"; {groups.nunique():,} groups by {options.groups!r}"
    if options.time is not None:
        description += f"; in the order of {options.time!r}"
    ordered = options.time is not None
    return Problem(X, y, X_test, y_test, task, description, rule, groups, ordered, tuple(remarks))


def _decimals(
    frame: pd.DataFrame, learnt: Mapping[str, Decimal | None] | None = None
) -> dict[str, Decimal | None]:
    """What parts whole from decimals in each column of text; None where it is no number.

    "1,234" is either. It is read as in the training table, whose columns are ``learnt``; else as
    1.234 where semicolons separate the columns, which they do where the comma is taken, and as
    1234 in other files.
    """
    usual: Decimal = "," if frame.attrs.get("separator") == ";" else "."
    found: dict[str, Decimal | None] = {}
    for column in frame.columns[[_is_text(frame[c]) for c in frame.columns]]:
        name, bare = str(column), _bare_text(frame[column])
        known = usual if learnt is None else learnt.get(name, usual)
        fits = {
            mark: bool(len(bare) and bare.str.fullmatch(pattern).all())
            for mark, pattern in ((".", _POINTS), (",", _COMMAS))
        }
        if known is None or not any(fits.values()):
            found[name] = None
        elif fits[known]:
            found[name] = known
        else:
            found[name] = "," if known == "." else "."
    return found


def _numbers(
    frame: pd.DataFrame,
    remarks: list[str],
    decimals: Mapping[str, Decimal | None] | None = None,
) -> pd.DataFrame:
    """Columns of text that are numbers written for people: 1,234.5 or 1.234,5 or $ 12 or 7 %."""
    for name, decimal in (_decimals(frame) if decimals is None else decimals).items():
        if decimal is None:
            continue
        bare = _bare_text(frame[name])
        if decimal == ",":
            plain = bare.str.replace(".", "").str.replace(",", ".")
        else:
            plain = bare.str.replace(r"[,' \u00a0\u202f]", "", regex=True)
        first = str(frame[name].dropna().iloc[0]).strip()
        frame = frame.assign(**{name: plain.astype(float).reindex(frame.index)})
        remarks.append(
            f"column {name!r}: read as numbers ({first!r} is {frame[name].dropna().iloc[0]:.15g})"
        )
    return frame


def _bare_text(column: pd.Series[Any]) -> pd.Series[Any]:
    """Its values without blanks and units around them."""
    return column.dropna().astype(str).str.strip().str.replace(_UNITS, "", regex=True)


def _is_number(column: pd.Series[Any]) -> bool:
    kinds = (pd.api.types.is_numeric_dtype, pd.api.types.is_datetime64_any_dtype)
    return any(kind(column.dtype) for kind in kinds)


def _is_text(column: pd.Series[Any]) -> bool:
    """Whether it may hold numbers in writing; a declared category is one, whatever it holds."""
    return not (_is_number(column) or isinstance(column.dtype, pd.CategoricalDtype))


def _with_target(frame: pd.DataFrame, target: str, name: str, remarks: list[str]) -> pd.DataFrame:
    known = frame[target].notna()
    lost = int((~known).sum())
    if lost == len(frame):
        raise InputError(f"column {target!r} of {name} is empty: there is nothing to learn from")
    if lost:
        remarks.append(f"{name}: {lost:,} of {len(frame):,} rows without a target were dropped")
    frame = frame[known].reset_index(drop=True)
    # among missing ones True and False are objects
    return frame.assign(**{target: frame[target].infer_objects()})


def _sorted(frame: pd.DataFrame, time: str | None, target: str, name: str) -> pd.DataFrame:
    if time is None:
        return frame
    if time == target or time not in frame.columns:
        seen = "is the target" if time == target else f"is no column of {name}"
        raise InputError(f"--time {time!r} {seen}")
    column = frame[time]
    if not _is_number(column):
        if len(possible_orders(column)) > 1:
            raise InputError(
                f"--time {time!r}: is {column.dropna().iloc[0]!r} its day or its month first? "
                "Every value could be either; write them as 2024-12-31"
            )
        column = other_times(column)
    if column.isna().any():
        raise InputError(f"--time {time!r} has {int(column.isna().sum())} values that are no time")
    return frame.iloc[np.argsort(column.to_numpy(), kind="stable")].reset_index(drop=True)


def _ids(X: pd.DataFrame, remarks: list[str]) -> list[str]:
    """Columns that name the rows: they differ in every row and would only be learnt by heart."""
    names = [c for c in X.columns if _is_id(X[c], str(c))]
    if len(names) == X.shape[1]:
        return []
    remarks += [f"column {c!r} dropped: it is different in every row and names them" for c in names]
    return names


def _is_id(column: pd.Series[Any], name: str) -> bool:
    values = column.dropna()
    if len(values) < MIN_IDS or not values.is_unique:
        return False
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return False
    if not pd.api.types.is_numeric_dtype(values.dtype):
        return True
    whole = bool((values == values.round()).all())
    counts_up = whole and float(values.max() - values.min()) < 1.5 * len(values)
    return whole and (bool(_ID.search(name)) or (counts_up and values.is_monotonic_increasing))


def _target_column(frame: pd.DataFrame, target: str | None, name: str) -> str:
    columns = list(frame.columns)
    if target is None and "target" in columns:
        return "target"
    shown = ", ".join(columns[:40]) + (", ..." if len(columns) > 40 else "")
    if target is None:
        raise InputError(f"say what to predict with --target COLUMN; {name} has: {shown}")
    if target not in columns:
        near = difflib.get_close_matches(target, columns, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(f"no column {target!r}{meant}; {name} has: {shown}")
    if columns.count(target) > 1:
        raise InputError(f"{name} has {columns.count(target)} columns named {target!r}")
    return target


def _groups(
    frame: pd.DataFrame, column: str | None, target: str, name: str
) -> pd.Series[Any] | None:
    if column is None:
        return None
    if column == target or column not in frame.columns:
        seen = "is the target" if column == target else f"is no column of {name}"
        raise InputError(f"--groups {column!r} {seen}")
    return frame[column]


def _task(y: pd.Series[Any], name: str, asked: Task | None) -> tuple[Task, str]:
    """Classes or numbers, and the rule that says so."""
    kind = y.dropna().infer_objects()
    levels = kind.nunique()
    if asked is not None:
        numbers = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
        if asked == "regression" and not numbers:
            raise InputError(
                f"--task regression needs numbers; {name!r} holds {levels} labels such as "
                f"{kind.iloc[0]!r}"
            )
        if asked == "classification" and numbers and (kind != np.round(kind)).any():
            raise InputError(
                f"--task classification needs labels; {name!r} has {levels} different numbers "
                f"such as {kind.iloc[0]:g}"
            )
        return asked, f"{asked}: as asked"
    if kind.dtype.kind in "mM":
        raise InputError(
            f"{name!r} holds times; make numbers of them to predict, such as days since the first, "
            "or say --task classification if they are labels"
        )
    if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
        return "classification", f"classification: {name!r} holds {levels} labels"
    values = kind.to_numpy(dtype=float)
    if levels <= MAX_INTEGER_CLASSES and np.equal(values, np.round(values)).all():
        rule = f"{levels} whole numbers, at most {MAX_INTEGER_CLASSES}"
        return "classification", f"classification: {name!r} has {rule} (--task regression if not)"
    return "regression", f"regression: {name!r} has {levels} different numbers"


def _test_rows(
    test: pd.DataFrame, X: pd.DataFrame, target: str, name: str
) -> tuple[pd.DataFrame, pd.Series[Any]]:
    lacking = [c for c in [*X.columns, target] if c not in test.columns]
    if lacking:
        raise InputError(f"{name} lacks columns of the training table: {', '.join(lacking[:20])}")
    return test[list(X.columns)], test[target]
