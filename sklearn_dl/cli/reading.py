"""A table from disk as its user means it: what is a number, what is missing, what is no input."""

from __future__ import annotations

import argparse
import codecs
import csv
import difflib
import lzma
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from sklearn_dl.datasets import default_table

__all__ = ["InputError", "Problem", "read_problem", "read_table"]

Task = Literal["classification", "regression"]
Decimal = Literal[".", ","]

MAX_INTEGER_CLASSES = 20  # more different whole numbers than this are taken for numbers
COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")
# Beside pandas' own marks; letters of one case or another are pandas' affair.
MISSING = ("?", "-", "--", ".", "nil", "missing", "(missing)", "NULL")
MIN_IDS = 20  # so many rows that are all different in a column are no accident
SEPARATORS = (",", ";", "\t", "|")
# How people write numbers, 1,234.5 or 1.234,5: no group of thousands begins with 0.
_POINTS = re.compile(r"[+-]?([1-9]\d{0,2}([,' \u00a0\u202f]\d{3})+|\d+)(\.\d+)?([eE][+-]?\d+)?")
_COMMAS = re.compile(r"[+-]?(([1-9]\d{0,2}(\.\d{3})+|\d+),\d+|\d+)")
_UNITS = re.compile(r"^[$\u20ac\u00a3]\s*|\s*[%$\u20ac\u00a3]$")
_ID = re.compile(
    r"(^|[_ ])(id|uuid|guid|key|index)$|^(unnamed: ?\d+|row|row_?n(umber|r)?|nr|no)$", re.I
)


class InputError(Exception):
    """The user's file, column or option is wrong; its text is the one line shown."""


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
        decimals = _decimals(read)
        frame = _numbers(read, remarks, decimals)
        target = _target_column(frame, options.target, name)
        test = None
        if options.test is not None:
            read = read_table(options.test, remarks)
            test = _numbers(read, remarks, _decimals(read, decimals))
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
    for column in frame.columns[[not _is_number(frame[c]) for c in frame.columns]]:
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


def _with_target(frame: pd.DataFrame, target: str, name: str, remarks: list[str]) -> pd.DataFrame:
    known = frame[target].notna()
    lost = int((~known).sum())
    if lost == len(frame):
        raise InputError(f"column {target!r} of {name} is empty: there is nothing to learn from")
    if lost:
        remarks.append(f"{name}: {lost:,} of {len(frame):,} rows without a target were dropped")
    return frame[known].reset_index(drop=True)


def _sorted(frame: pd.DataFrame, time: str | None, target: str, name: str) -> pd.DataFrame:
    if time is None:
        return frame
    if time == target or time not in frame.columns:
        seen = "is the target" if time == target else f"is no column of {name}"
        raise InputError(f"--time {time!r} {seen}")
    column = frame[time]
    if not _is_number(column):
        column = pd.to_datetime(column, errors="coerce", format="mixed")
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


def read_table(path: str, remarks: list[str] | None = None) -> pd.DataFrame:
    """Read a csv or parquet file; what was found out about a csv is added to ``remarks``.

    Raises
    ------
    InputError
        Missing, unreadable, empty, of another kind.
    """
    file = Path(path)
    lower = file.name.lower()
    if not file.exists():
        raise InputError(f"no such file: {path}")
    if file.is_dir():
        raise InputError(f"{path} is a directory; give a .csv, .tsv, .csv.gz or .parquet file")
    try:
        if _bare(lower).endswith((".csv", ".tsv")):
            frame = _read_csv(file, [] if remarks is None else remarks)
        elif lower.endswith((".parquet", ".pq")):
            frame = pd.read_parquet(file)
        else:
            raise InputError(
                f"{path} is neither .csv, .tsv, .csv.gz nor .parquet; save it as one of them"
            )
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty") from None
    except ImportError:
        raise InputError('reading parquet needs pyarrow: pip install "sklearn-dl[cli]"') from None
    except (
        OSError,
        ValueError,
        EOFError,
        UnicodeError,
        zipfile.BadZipFile,
        lzma.LZMAError,
    ) as error:
        raise InputError(f"{path} cannot be read: {_first_line(error)}") from error
    if frame.empty:
        raise InputError(f"{path} has no rows")
    frame.columns = pd.Index([str(c) for c in frame.columns])
    _refuse_nested(frame, path)
    return frame


def _refuse_nested(frame: pd.DataFrame, path: str) -> None:
    """A cell of parquet may hold several values."""
    objects = frame.columns[[frame[c].dtype == object for c in frame.columns]]
    several = (list, tuple, set, dict, np.ndarray)
    nested = [str(c) for c in objects if any(isinstance(v, several) for v in frame[c])]
    if nested:
        shown = ", ".join(repr(c) for c in nested[:20]) + (", ..." if len(nested) > 20 else "")
        raise InputError(
            f"{path} has columns of lists or records: {shown}; drop them, or give each value a "
            "column of its own"
        )


def _read_csv(file: Path, remarks: list[str]) -> pd.DataFrame:
    """In UTF-8 or, failing that, in the Windows code page; in UTF-16 where its mark is there."""
    with file.open("rb") as start:
        if start.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return _separated(file, "utf-16", remarks)
    try:
        return _separated(file, "utf-8", remarks)
    except UnicodeDecodeError:
        frame = _separated(file, "cp1252", remarks)
        remarks.append(f"{file.name}: no UTF-8; read as Windows-1252")
        return frame


def _separated(file: Path, encoding: str, remarks: list[str]) -> pd.DataFrame:
    """By the separator that its header has most of."""
    header = pd.read_csv(
        file, sep="\0", header=None, nrows=1, dtype=str, quoting=csv.QUOTE_NONE, encoding=encoding
    )
    bare = re.sub(r'"[^"]*"', "", str(header.iloc[0, 0]))
    separator = max(SEPARATORS, key=bare.count)  # the first of them where there is none
    frame: pd.DataFrame = pd.read_csv(
        file, sep=separator, encoding=encoding, low_memory=False, na_values=list(MISSING)
    )
    frame.attrs["separator"] = separator
    if separator != ",":
        remarks.append(f"{file.name}: columns are separated by {separator!r}")
    return frame


def _bare(name: str) -> str:
    return name.removesuffix(next((end for end in COMPRESSED if name.endswith(end)), ""))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]


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
                f"such as {kind.iloc[0]!r}"
            )
        return asked, f"{asked}: as asked"
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
