"""Which rows are learnt from, and which are held or left out?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pandas.util import hash_pandas_object
from scipy.sparse import csr_array
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_sample_weight, check_consistent_length

from sklearn_dl.tabular import LargeTable, Table, is_large
from sklearn_dl.tabular.checking import without_tensor

__all__ = [
    "Rows",
    "checked_rows",
    "hold_out",
    "member_folds",
    "scaled_weights",
]

#: Below so many rows no validation split is made.
FEWEST_ROWS_TO_SPLIT = 10


@dataclass(frozen=True)
class Rows:
    """Checked rows of a table with their targets.

    Attributes
    ----------
    table : DataFrame, ndarray, csr_array or LargeTable of shape (n, n_features)
    target : ndarray of shape (n,) or (n, n_outputs)
    weight : ndarray of shape (n,) or None
        Positive.
    """

    table: Table | LargeTable
    target: NDArray[Any]
    weight: NDArray[np.float64] | None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.target)

    def at(self, index: NDArray[np.intp]) -> Rows:
        """Some of the rows."""
        weight = None if self.weight is None else self.weight[index]
        if isinstance(self.table, LargeTable):
            return Rows(self.table.at(index), self.target[index], weight)
        return Rows(_safe_indexing(self.table, index), self.target[index], weight)

    def in_memory(self) -> Table:
        """The table, read where it lies in a file."""
        return self.table.read(slice(None)) if isinstance(self.table, LargeTable) else self.table

    def for_statistics(self) -> tuple[Table, NDArray[np.float64] | None]:
        """Table and weights that an encoding is learnt from: a sample of rows of a large one."""
        if not isinstance(self.table, LargeTable):
            return self.table, self.weight
        chosen = self.table.sample()
        return self.table.read(chosen), None if self.weight is None else self.weight[chosen]


def checked_rows(table: Table, target: NDArray[Any], sample_weight: Any) -> Rows:
    """Rows of equal number; those of weight zero are dropped before anything is counted."""
    check_consistent_length(table, target)
    held = LargeTable(table) if isinstance(table, np.ndarray) and is_large(table) else table
    if sample_weight is None:
        return Rows(held, target, None)
    weight = without_tensor(sample_weight)
    weight = _check_sample_weight(weight, table, dtype=np.float64, ensure_non_negative=True)
    rows = Rows(held, target, scaled_weights(weight))
    return rows if weight.all() else rows.at(np.flatnonzero(weight))


def scaled_weights(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same shares of the sum, which are all that counts, and neither sum nor mean overflows.

    In units of a power of two, which is exact: the largest comes to lie in [0.5, 1).
    """
    scaled: NDArray[np.float64] = np.ldexp(weight, -np.frexp(weight.max())[1])
    return scaled


def hold_out(
    rows: Rows, fraction: float, seed: int, labels: NDArray[Any] | None
) -> tuple[Rows, Rows | None]:
    """Split off validation rows, stratified by ``labels`` where every class has rows enough."""
    n = len(rows)
    if n < FEWEST_ROWS_TO_SPLIT:
        warnings.warn(
            f"early_stopping needs at least {FEWEST_ROWS_TO_SPLIT} rows to hold some out, got {n}: "
            "all rows are trained on for max_epochs epochs.",
            UserWarning,
            stacklevel=2,
        )
        return rows, None
    n_held_out = min(n - 1, max(1, round(fraction * n)))
    stratify = None
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() >= 2 and len(counts) <= min(n_held_out, n - n_held_out):
            stratify = labels
    train, test = train_test_split(
        np.arange(n), test_size=n_held_out, random_state=seed, stratify=stratify
    )
    return rows.at(np.sort(train)), rows.at(np.sort(test))


def member_folds(
    rows: Rows, n_members: int, seed: int, *, stratify: bool, one_batch: bool
) -> torch.Tensor | None:
    """The member that leaves out each row, (n_rows,); None where there are too few rows.

    Where one batch holds all rows, rows of equal content have the same fold: a row of weight two
    and a row that stands twice then leave the same rows to every member.
    """
    if n_members == 1:
        return None
    if one_batch:
        _, first, place = np.unique(_content(rows), return_index=True, return_inverse=True)
    else:
        first = place = np.arange(len(rows))
    if len(first) < max(FEWEST_ROWS_TO_SPLIT, n_members):
        return None
    order = np.random.RandomState(seed).permutation(len(first))
    if stratify:
        order = order[np.argsort(rows.target[first][order], kind="stable")]
    folds = np.empty(len(first), dtype=np.int64)
    folds[order] = np.arange(len(first)) % n_members
    return torch.from_numpy(folds[place])


def _content(rows: Rows) -> NDArray[np.uint64]:
    """A number for each row, equal for rows with equal features and target."""
    assert not isinstance(rows.table, LargeTable)  # one batch does not hold it
    table = rows.table.toarray() if isinstance(rows.table, csr_array) else rows.table
    if isinstance(table, np.ndarray):
        table = pd.DataFrame(np.asarray(table, dtype=np.float64))
    else:  # the same numbers of another dtype are the same rows
        plain = [isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in table.dtypes]
        table = table.astype(dict.fromkeys(table.columns[plain], np.float64))
    # by rank: units measured with weights or with repetitions differ in their last bit
    columns = rows.target.reshape(len(rows), -1).T
    target = pd.DataFrame([np.unique(column, return_inverse=True)[1] for column in columns]).T
    keys = [hash_pandas_object(frame, index=False).to_numpy() for frame in (table, target)]
    return np.asarray(keys[0] * np.uint64(3) + keys[1], dtype=np.uint64)
