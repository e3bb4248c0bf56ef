"""How does a file become a frame: its separator, its encoding, its header?"""

from __future__ import annotations

import codecs
import csv
import lzma
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["InputError", "read_table"]

COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")
# Beside pandas' own marks; letters of one case or another are pandas' affair.
MISSING = ("?", "-", "--", ".", "nil", "missing", "(missing)", "NULL")
SEPARATORS = (",", ";", "\t", "|")


class InputError(Exception):
    """The user's file, column or option is wrong; its text is the one line shown."""


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
            frame = _with_named_index(pd.read_parquet(file))
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
    names = pd.Index([str(c) for c in frame.columns])
    bare = names.str.strip()
    frame.columns = bare if bare.is_unique else names
    _refuse_nested(frame, path)
    return frame


def _with_named_index(frame: pd.DataFrame) -> pd.DataFrame:
    """What pandas keeps beside the table is a column of it where it has a name."""
    named = [n for n in frame.index.names if n is not None and n not in frame.columns]
    return frame.reset_index(named) if named else frame


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
    """By the separator that its header has most of, or that a line for Excel names before it."""
    header = pd.read_csv(
        file, sep="\0", header=None, nrows=1, dtype=str, quoting=csv.QUOTE_NONE, encoding=encoding
    )
    first = str(header.iloc[0, 0])
    told = re.fullmatch(r'"?sep=(.)"?', first.strip(), re.IGNORECASE)
    bare = re.sub(r'"[^"]*"', "", first)
    # the first of them where there is none
    separator = told[1] if told else max(SEPARATORS, key=bare.count)
    options: dict[str, Any] = {
        "skiprows": 1 if told else 0,
        "sep": separator,
        "encoding": encoding,
        "low_memory": False,
        "na_values": list(MISSING),
        "skipinitialspace": True,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame: pd.DataFrame = pd.read_csv(file, index_col=False, **options)
    except pd.errors.ParserWarning:  # the rows have more values than the header has names
        frame = _without_row_names(pd.read_csv(file, **options), file.name, remarks)
    frame.attrs["separator"] = separator
    if separator != ",":
        remarks.append(f"{file.name}: columns are separated by {separator!r}")
    return frame


def _without_row_names(frame: pd.DataFrame, name: str, remarks: list[str]) -> pd.DataFrame:
    """The first values of the rows, which pandas takes for an index, put where they belong."""
    n_more, n_columns = frame.index.nlevels, frame.shape[1]
    if frame.iloc[:, n_columns - n_more :].isna().all(axis=None):  # separators end the rows
        columns = frame.columns
        frame = frame.set_axis(range(n_columns), axis=1).reset_index().iloc[:, :n_columns]
        return frame.set_axis(columns, axis=1)
    row_names = frame.index
    if n_more > 1 or row_names.dtype.kind == "f" or not row_names.is_unique:
        raise InputError(
            f"{name} names {n_columns} columns, but its rows have {n_columns + n_more} values: "
            "complete the header"
        )
    remarks.append(
        f"{name}: the first value of each row, {row_names[0]!r} and so on, is under no name of the "
        "header; read as the name of the row"
    )
    return frame.reset_index(drop=True)


def _bare(name: str) -> str:
    return name.removesuffix(next((end for end in COMPRESSED if name.endswith(end)), ""))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
