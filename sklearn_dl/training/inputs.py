"""Encoded rows that the loop can gather: held as one matrix, or encoded as they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

__all__ = ["DenseInputs", "Inputs", "SomeInputs", "SparseInputs"]


class Inputs(Protocol):
    """Rows of encoded features."""

    @property
    def n_features(self) -> int:
        """Columns of the encoded rows."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""

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
class SomeInputs:
    """Some rows of other inputs, which are shared, not copied.

    Attributes
    ----------
    whole : Inputs
    index : Tensor of shape (n_rows,), int64
        Positions of the rows in ``whole``.
    """

    whole: Inputs
    index: Tensor

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
