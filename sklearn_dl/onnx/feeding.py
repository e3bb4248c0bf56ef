"""Which inputs does the graph have, and how is a table fed to it?

A table of numbers without column names is one input "X" of shape (n_rows, n_features). Otherwise
every column that the encoder reads is an input of shape (n_rows, 1) with the column's name: numbers
as doubles, NaN where missing; text as strings, "" where missing.
Images are one input "X" of shape (n_rows, channels, height, width).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sklearn_dl.tabular import ImageEncoder, TabularEncoder, check_table, image_rows
from sklearn_dl.tabular.columns import level_key

__all__ = ["Column", "columns_of", "onnx_inputs"]

MISSING_TEXT = ""


@dataclass(frozen=True)
class Column:
    """One column of the table: its position, its name as input, and whether it holds text."""

    position: int
    name: str
    text: bool


def columns_of(encoder: TabularEncoder) -> list[Column]:
    """The columns that the graph reads.

    Raises
    ------
    ValueError
        A column has a kind that the graph cannot encode.
    """
    names = getattr(encoder, "feature_names_in_", None)
    if names is None:
        names = [f"x{position}" for position in range(encoder.n_features_in_)]
    found = []
    for position, kind in enumerate(encoder.kinds_):
        if kind in ("time", "elapsed"):
            raise ValueError(
                f"ONNX has no dates: column {str(names[position])!r} is of kind {kind!r}. Make "
                "numbers of it before fit, such as seconds, month and weekday."
            )
        if not str(names[position]):
            raise ValueError('ONNX inputs have names: column "" has none. Name it before fit.')
        if kind != "empty":
            text = kind in ("level", "rank") and _is_text(encoder, position, str(names[position]))
            found.append(Column(position, str(names[position]), text))
    return found


def _is_text(encoder: TabularEncoder, position: int, name: str) -> bool:
    levels = encoder.levels_[position]
    kinds = {isinstance(level, str) for level in levels}
    if len(kinds) > 1:
        raise ValueError(
            f"column {name!r} mixes text and numbers, e.g. {levels[0]!r} and {levels[-1]!r}; an "
            "ONNX input holds one of them. Convert it before fit."
        )
    if MISSING_TEXT in levels:
        raise ValueError(
            f'column {name!r} has the empty text "" as a category, which stands for missing in '
            "ONNX, where text cannot be missing. Name it otherwise before fit."
        )
    if False in kinds and len({float(level) for level in levels}) < len(levels):
        raise ValueError(
            f"column {name!r} has categories that are one number in double precision, in which "
            "ONNX compares them, such as integers above 2**53. Make text of them before fit."
        )
    return True in kinds


def is_matrix(encoder: TabularEncoder) -> bool:
    """Whether the graph has the one input "X"."""
    return not hasattr(encoder, "feature_names_in_") and not any(
        column.text for column in columns_of(encoder)
    )


def onnx_inputs(estimator: Any, X: Any) -> dict[str, NDArray[Any]]:
    """What onnxruntime takes for a table.

    Parameters
    ----------
    estimator : DLClassifier or DLRegressor
        The fitted estimator that was exported.
    X : array, sparse matrix or data frame of shape (n_rows, n_features), or images
        As for ``predict``.

    Returns
    -------
    dict of str to ndarray
        The second argument of ``InferenceSession.run``.
    """
    check_is_fitted(estimator)
    encoder = estimator.encoder_
    if isinstance(encoder, ImageEncoder):
        rows, _ = image_rows(X, encoder.shape)
        return {"X": np.asarray(_dense(rows), dtype=np.float64).reshape(-1, *encoder.shape)}
    table = check_table(encoder, X, reset=False, allow_nan=estimator.preprocessing is not None)
    if is_matrix(encoder):
        return {"X": np.asarray(_dense(table), dtype=np.float64)}
    frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(_dense(table))
    feeds = {}
    for column in columns_of(encoder):
        values: Any = frame.iloc[:, column.position]
        cells = (_texts if column.text else _numbers)(values)
        feeds[column.name] = cells.reshape(-1, 1)
    return feeds


def _dense(table: Any) -> Any:
    return table.toarray() if hasattr(table, "toarray") else table


def _texts(values: Any) -> NDArray[Any]:
    missing = values.isna().to_numpy()
    keys = [
        MISSING_TEXT if gone else str(level_key(value))
        for gone, value in zip(missing, values, strict=True)
    ]
    return np.array(keys, dtype=object)


def _numbers(values: Any) -> NDArray[np.float64]:
    return np.asarray(pd.to_numeric(values.astype(object), errors="coerce"), dtype=np.float64)
