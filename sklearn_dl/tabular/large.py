"""What of a table that lies in a file is read, and when?

A `numpy.memmap` (or a slice of one) may be larger than the memory. Such a table is never read as a
whole: its statistics come from a sample of rows, and its rows are encoded as training asks for
them, in blocks of neighbours.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LARGE_BYTES", "LargeTable", "is_large"]

#: A memory-mapped table of fewer bytes is treated like any other: its encoded copy is no burden.
LARGE_BYTES = 2**28
#: Rows that medians, quartiles and levels are taken from, and their numbers in all. The standard
#: error of a median is half over the square root of the rows, 0.1 % of the ranks; 0.4 % where there
#: are a thousand columns.
SAMPLE_ROWS, SAMPLE_CELLS = 2**18, 2**24


def is_large(table: Any) -> bool:
    """Whether a table is an array of numbers in a file, and too large to copy."""
    return isinstance(table, np.ndarray) and table.nbytes >= LARGE_BYTES and _in_a_file(table)


def _in_a_file(array: npt.NDArray[Any]) -> bool:
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return isinstance(base, mmap.mmap)


@dataclass(frozen=True, eq=False)
class LargeTable:
    """Rows of an array that lies in a file, all or some.

    Attributes
    ----------
    values : ndarray of shape (n_file_rows, n_features)
    index : ndarray of shape (n_rows,), int, or None
        The rows, ascending; None for all.
    """

    values: npt.NDArray[Any]
    index: npt.NDArray[np.intp] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), self.values.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers in the file."""
        return self.values.dtype

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.values) if self.index is None else len(self.index)

    def at(self, index: npt.NDArray[np.intp]) -> LargeTable:
        """Some of the rows, none read."""
        return LargeTable(self.values, index if self.index is None else self.index[index])

    def read(self, rows: npt.NDArray[np.intp] | slice) -> npt.NDArray[Any]:
        """Rows by position, in memory."""
        if self.index is not None:
            rows = self.index[rows]
        return np.array(self.values[rows])

    def sample(self) -> npt.NDArray[np.intp]:
        """Positions of some rows, ascending: one at random in each of many equal parts."""
        n, n_sample = len(self), min(SAMPLE_ROWS, max(1, SAMPLE_CELLS // self.values.shape[1]))
        if n <= n_sample:
            return np.arange(n)
        parts = np.linspace(0, n, n_sample + 1).astype(np.intp)
        return np.random.RandomState(0).randint(parts[:-1], parts[1:])
