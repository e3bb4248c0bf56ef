"""How are rows and columns taken out of a table without copying all of it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from sklearn.utils.validation import _check_sample_weight

from sklearn_dl.tabular.checking import Table, all_numbers
from sklearn_dl.tabular.columns import FloatArray, Level, read_numbers

# Cells worked on at a time: float64 temporaries of 1 MB stay in the processor's cache.
CHUNK_CELLS = 2**17
# Columns of rows that lie behind one another are read by the cache line, which holds several, and
# by tiles of rows that stay in the cache: column by column each line would be fetched many times.
LINE_BYTES, TILE_ROWS = 64, 2**10


class ColumnReader:
    """Columns of a table in fit, without the rows of weight zero.

    Parameters
    ----------
    table : DataFrame, ndarray or csr_array of shape (n_rows, n_features)
        A checked table.
    keep : ndarray of shape (n_rows,), bool, or None
        Rows to read; None for all.
    """

    def __init__(self, table: Table, keep: npt.NDArray[np.bool_] | None) -> None:
        self.keep = keep
        self.csc: sp.csc_array | None = None
        self.table: pd.DataFrame | npt.NDArray[Any]
        if isinstance(table, (pd.DataFrame, np.ndarray)):
            self.table = table
        else:
            self.csc = sp.csc_array(table if keep is None else table[np.flatnonzero(keep)])

    def one(self, column: int) -> Any:
        """Column as a Series (of a frame) or ndarray, of shape (n_kept_rows,)."""
        if self.csc is not None:
            return take_column(self.csc, column)
        values = take_column(self.table, column)
        return values if self.keep is None else values[self.keep]

    def number_blocks(
        self,
        columns: Sequence[int],
        kinds: Sequence[str],
        levels: Mapping[int, Sequence[Level]],
        names: Sequence[str],
    ) -> Iterator[npt.NDArray[Any]]:
        """Columns as rows of fresh arrays: one of a large table, several of a small one."""
        table = self.table
        if isinstance(table, pd.DataFrame) and all_numbers(table) and table.size <= CHUNK_CELLS:
            table = table.to_numpy()
        if isinstance(table, pd.DataFrame):
            for c in columns:
                series = self.one(c)
                yield np.array(read_numbers(series, kinds[c], levels.get(c, ()), names[c]))[None]
            return
        width = max(1, CHUNK_CELLS // table.shape[0])
        together = max(width, LINE_BYTES // table.itemsize)
        for start in range(0, len(columns), together):
            chosen = columns[start : start + together]
            first, last = chosen[0], chosen[-1]
            contiguous = last - first == len(chosen) - 1
            block = table[:, first : last + 1] if contiguous else table[:, chosen]
            if self.keep is not None:
                block = block[self.keep]
            read = _transposed(block)
            for at in range(0, len(read), width):
                yield read[at : at + width]


def _transposed(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy with the columns as rows."""
    read = np.empty(block.shape[::-1], block.dtype)
    for start in range(0, len(block), TILE_ROWS):
        read[:, start : start + TILE_ROWS] = block[start : start + TILE_ROWS].T
    return read


def take_column(table: Table | sp.csc_array, column: int) -> Any:
    """One column by position, of shape (n_rows,): a Series of a frame, else an ndarray."""
    if isinstance(table, pd.DataFrame):
        return table.iloc[:, column]
    if isinstance(table, np.ndarray):
        return table[:, column]
    return table[:, [column]].toarray().ravel()


def row_chunks(table: Table) -> Iterator[tuple[slice, Any]]:
    """Slices of rows and the rows themselves, dense, `CHUNK_CELLS` cells at a time.

    Yields
    ------
    rows : slice
    chunk : DataFrame or ndarray of shape (n_chunk_rows, n_features)
    """
    n_rows, n_columns = table.shape
    step = max(1, CHUNK_CELLS // n_columns)
    if isinstance(table, pd.DataFrame):
        step *= 8  # taking a column out of a frame costs as much as a thousand of its cells
    for start in range(0, n_rows, step):
        rows = slice(start, min(start + step, n_rows))
        if isinstance(table, pd.DataFrame):
            yield rows, table.iloc[rows] if step < n_rows else table
        elif isinstance(table, np.ndarray):
            yield rows, table[rows]
        else:
            yield rows, table[rows].toarray()


def positive_weights(
    sample_weight: Any, table: Table
) -> tuple[FloatArray | None, npt.NDArray[np.bool_] | None]:
    """Check the weights of the rows.

    Returns
    -------
    weights : ndarray of shape (n_kept_rows,) or None
        The positive weights; None where all are alike, as their unit does not matter.
    keep : ndarray of shape (n_rows,), bool, or None
        Where the weight is positive; None for all rows.

    Raises
    ------
    ValueError
        If weights are negative, not finite, all zero, or not one a row.
    """
    if sample_weight is None:
        return None, None
    weights = _check_sample_weight(sample_weight, table, dtype=np.float64, ensure_non_negative=True)
    keep = weights > 0
    weights = weights[keep]
    return (
        None if weights.min() == weights.max() else weights,
        None if keep.all() else keep,
    )
