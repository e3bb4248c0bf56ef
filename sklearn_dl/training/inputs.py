"""Encoded rows that the loop can gather: held as one matrix, or encoded as they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

__all__ = ["DenseInputs", "FileInputs", "Inputs", "SomeInputs", "SparseInputs"]

#: Rows of a file are shuffled within windows of so many blocks, which come from anywhere in it ...
WINDOW_BLOCKS = 64
#: ... and hold so many bytes of encoded rows together: half a mebibyte a block is a long read.
WINDOW_BYTES = 2**25
#: Blocks are read in parts: the rows of a member (four of five) lie across the borders of blocks.
PARTS = 8


class Inputs(Protocol):
    """Rows of encoded features."""

    @property
    def n_features(self) -> int:
        """Columns of the encoded rows."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""

    @property
    def block_rows(self) -> int | None:
        """Neighbours that are best read together; None where any order is as good."""

    def __len__(self) -> int:
        """Number of rows."""

    def take(self, index: Tensor, out: Tensor) -> None:
        """Write the rows ``index`` (n,) to ``out`` (n, n_features)."""

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop), (n, n_features)."""

    def to(self, device: torch.device) -> Inputs:
        """The same rows, served on a device."""


@dataclass(frozen=True)
class DenseInputs:
    """Encoded rows held as one tensor of shape (n_rows, n_features)."""

    values: Tensor

    @property
    def block_rows(self) -> None:
        """Any order is as good."""
        return None

    def __len__(self) -> int:
        """Number of rows."""
        return self.values.shape[0]

    @property
    def n_features(self) -> int:
        """Columns of the encoded rows."""
        return self.values.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.values.nbytes

    def take(self, index: Tensor, out: Tensor) -> None:
        """Write the rows ``index`` to ``out``."""
        torch.index_select(self.values, 0, index, out=out)

    def rows(self, start: int, stop: int) -> Tensor:
        """A view of the rows [start, stop)."""
        return self.values[start:stop]

    def to(self, device: torch.device) -> Self:
        """The same rows on a device."""
        return type(self)(self.values.to(device))


@dataclass(frozen=True)
class SparseInputs:
    """Rows of a sparse table, encoded and made dense batch by batch.

    Attributes
    ----------
    table : csr_array of shape (n_rows, n_columns)
    encode : callable
        ``(csr rows, numpy dtype) -> ndarray (n, n_features)``.
    n_features : int
    dtype : numpy dtype
    """

    table: sp.csr_array
    encode: Callable[[sp.csr_array, Any], np.ndarray[Any, Any]]
    n_features: int
    dtype: np.dtype[Any]

    @property
    def block_rows(self) -> None:
        """Any order is as good."""
        return None

    def __len__(self) -> int:
        """Number of rows."""
        return int(self.table.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return int(self.table.data.nbytes + self.table.indices.nbytes + self.table.indptr.nbytes)

    def take(self, index: Tensor, out: Tensor) -> None:
        """Encode the rows ``index`` into ``out``."""
        out.copy_(torch.from_numpy(self.encode(self.table[index.cpu().numpy()], self.dtype)))

    def rows(self, start: int, stop: int) -> Tensor:
        """The rows [start, stop), encoded."""
        return torch.from_numpy(self.encode(self.table[start:stop], self.dtype))

    def to(self, device: torch.device) -> Self:
        """The rows stay where they are; batches go to the device."""
        return self


@dataclass(frozen=True)
class FileInputs:
    """Rows of a table in a file, read and encoded in parts of neighbours when they are asked for.

    The parts read last stay in memory, those of three windows at most.

    Attributes
    ----------
    read : callable
        ``slice -> ndarray (n, n_columns)``.
    encode : callable
        ``(rows, numpy dtype) -> ndarray (n, n_features)``.
    n_rows, n_features : int
    dtype : numpy dtype
    """

    read: Callable[[slice], np.ndarray[Any, Any]]
    encode: Callable[[np.ndarray[Any, Any], Any], np.ndarray[Any, Any]]
    n_rows: int
    n_features: int
    dtype: np.dtype[Any]
    _parts: OrderedDict[int, np.ndarray[Any, Any]] = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        """Number of rows."""
        return self.n_rows

    @property
    def nbytes(self) -> int:
        """Bytes held for good."""
        return 0

    @property
    def block_rows(self) -> int:
        """Rows of a block, a whole number of parts."""
        width = max(1, self.n_features * self.dtype.itemsize)
        return PARTS * max(1, WINDOW_BYTES // (WINDOW_BLOCKS * PARTS * width))

    def take(self, index: Tensor, out: Tensor) -> None:
        """Write the rows ``index`` to ``out``, each part visited once."""
        rows = index.cpu().numpy()
        size = self.block_rows // PARTS
        order = np.argsort(rows, kind="stable")
        part_of = rows[order] // size
        starts = np.flatnonzero(np.diff(part_of, prepend=-1))
        gathered = np.empty((len(rows), self.n_features), self.dtype)
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
            part, places = int(part_of[start]), order[start:stop]
            gathered[places] = self._part(part, size)[rows[places] - part * size]
        out.copy_(torch.from_numpy(gathered))

    def _part(self, part: int, size: int) -> np.ndarray[Any, Any]:
        if part in self._parts:
            self._parts.move_to_end(part)
            return self._parts[part]
        encoded = self._encoded(part * size, min((part + 1) * size, self.n_rows))
        self._parts[part] = encoded
        if len(self._parts) > 3 * WINDOW_BLOCKS * PARTS:
            self._parts.popitem(last=False)
        return encoded

    def _encoded(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        return self.encode(self.read(slice(start, stop)), self.dtype)

    def rows(self, start: int, stop: int) -> Tensor:
        """The rows [start, stop), encoded."""
        return torch.from_numpy(self._encoded(start, stop))

    def to(self, device: torch.device) -> Self:
        """The rows stay where they are; batches go to the device."""
        return self


@dataclass(frozen=True)
class SomeInputs:
    """Some rows of other inputs, which are shared, not copied.

    Attributes
    ----------
    whole : Inputs
    index : Tensor of shape (n_rows,), int
        Positions of the rows in ``whole``, ascending.
    """

    whole: Inputs
    index: Tensor

    @property
    def block_rows(self) -> int | None:
        """As of the whole: neighbours there are neighbours here."""
        return self.whole.block_rows

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.index)

    @property
    def n_features(self) -> int:
        """Columns of the encoded rows."""
        return self.whole.n_features

    @property
    def nbytes(self) -> int:
        """Bytes held beside the shared ones."""
        return self.index.nbytes

    def take(self, index: Tensor, out: Tensor) -> None:
        """Write the rows ``index`` to ``out``."""
        self.whole.take(self.index[index], out)

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop), copied."""
        index = self.index[start:stop]
        first = self.whole.rows(0, 1)
        out = first.new_empty(len(index), self.n_features)
        self.whole.take(index, out)
        return out

    def to(self, device: torch.device) -> SomeInputs:
        """The same rows, served on a device."""
        return SomeInputs(self.whole.to(device), self.index.to(device))
