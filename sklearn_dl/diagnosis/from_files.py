"""Which rows of a table in a file are diagnosed, and what is said of it?"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from sklearn_dl.diagnosis.splits import subsample
from sklearn_dl.diagnosis.table import Table, Task
from sklearn_dl.tabular import is_large

__all__ = ["FILE_ROWS", "some_rows"]

#: A diagnosis fits each fold several times and keeps what it learns by row: of a table that is
#: larger than the memory it reads so many rows.
FILE_ROWS = 100_000


def some_rows(
    table: Table, name: str, task: Task, cv: Any, rng: np.random.RandomState
) -> tuple[Table, list[str]]:
    """The table itself, or in memory some rows of one in a file, and what to say of it.

    Parameters
    ----------
    table : Table
    name : str
        For messages.
    task : {"classification", "regression"}
        Classes keep their share.
    cv : object
        Splits that list rows of the whole table cannot be followed.
    rng : RandomState
        Draws.

    Raises
    ------
    ValueError
        ``cv`` lists rows.
    """
    if not is_large(table.X) or len(table) <= FILE_ROWS:
        return table, []
    if not (cv is None or isinstance(cv, Integral) or hasattr(cv, "split")):
        raise ValueError(
            f"{name} lies in a file and is diagnosed on {FILE_ROWS:,} of its {len(table):,} rows, "
            "so cv must be a number of folds or a splitter; got a list of rows. Read the rows to "
            "be diagnosed into memory and split those."
        )
    y = table.y if task == "classification" else None
    chosen = subsample(np.arange(len(table)), FILE_ROWS, rng, y=y, groups=table.groups)
    return table.take(chosen), [
        f"{name} lies in a file: diagnosed on {len(chosen):,} of its {len(table):,} rows, drawn at "
        "random; a fit on all of them overfits less"
    ]
