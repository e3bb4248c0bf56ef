"""Which rows belong together?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["group_codes", "group_labels"]


def group_labels(groups: Any) -> NDArray[Any] | None:
    """One label a row, (n,); a column (n, 1) counts as its values, and None stays None.

    Raises
    ------
    ValueError
        Several labels a row, or none.
    """
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"groups must have one value a row; got shape {labels.shape}. Give one column, such as "
            "groups=frame['patient']."
        )
    return labels


def group_codes(groups: Any) -> NDArray[np.int64] | None:
    """Groups as 0, 1, 2, ... in order of appearance; missing labels are one group of their own.

    Raises
    ------
    ValueError
        Several labels a row, or none.
    """
    labels = group_labels(groups)
    if labels is None:
        return None
    return np.asarray(pd.factorize(labels, use_na_sentinel=False)[0], dtype=np.int64)
