"""Which columns does `categorical_features` mean?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sklearn_dl.tabular.checking import Table


def categorical_mask(table: Table, categorical_features: Any) -> npt.NDArray[np.bool_]:
    """Mask of the columns named by `categorical_features`, as HistGradientBoosting reads it.

    Parameters
    ----------
    table : DataFrame, ndarray or csr_array of shape (n_rows, n_features)
        A checked table.
    categorical_features : array-like of bool, int or str, or None
        Mask, positions or names; None for no column.

    Returns
    -------
    ndarray of shape (n_features,), bool

    Raises
    ------
    ValueError
        With HistGradientBoosting's messages.
    """
    n_features = table.shape[1]
    mask = np.zeros(n_features, dtype=bool)
    if categorical_features is None:
        return mask
    wanted = np.asarray(categorical_features)
    if wanted.size == 0:
        return mask
    types = sorted({type(item).__name__ for item in wanted.tolist()})
    if wanted.dtype.kind not in "biUO" or (wanted.dtype.kind == "O" and types != ["str"]):
        raise ValueError(
            "categorical_features must be an array-like of bool, int or str, got: "
            f"{', '.join(types)}."
        )
    if wanted.dtype.kind in "UO":
        mask[_positions(table, wanted.tolist())] = True
    elif wanted.dtype.kind == "i":
        if wanted.max() >= n_features or wanted.min() < 0:
            raise ValueError(
                "categorical_features set as integer indices must be in [0, n_features - 1], "
                f"with n_features = {n_features}, got: {wanted.tolist()}"
            )
        mask[wanted] = True
    else:
        if wanted.shape != (n_features,):
            raise ValueError(
                "categorical_features set as a boolean mask must have shape (n_features,), "
                f"with n_features = {n_features}, got: {wanted.shape}"
            )
        mask[:] = wanted
    return mask


def _positions(table: Table, names: list[str]) -> list[int]:
    known = list(table.columns) if isinstance(table, pd.DataFrame) else []
    if not any(isinstance(name, str) for name in known):
        raise ValueError(
            "categorical_features should be passed as an array of integers or as a boolean mask "
            "when the model is fitted on data without feature names."
        )
    for name in names:
        if name not in known:
            raise ValueError(
                f"categorical_features has an item value {name!r} which is not a valid feature "
                f"name of the training data. Observed feature names: {known}"
            )
    return [known.index(name) for name in names]
