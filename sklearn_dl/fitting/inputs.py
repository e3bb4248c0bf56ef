"""How do rows become inputs of a network?"""

from __future__ import annotations

import warnings
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sklearn_dl.fitting.rows import Rows
from sklearn_dl.fitting.settings import batch_size_of, is_strong
from sklearn_dl.tabular import ImageEncoder, ImageShape, LargeTable, TabularEncoder, table_dtype
from sklearn_dl.tabular.bins import encoded_bins
from sklearn_dl.training import DenseInputs, Examples, FileInputs, Inputs, SparseInputs

__all__ = [
    "Bins",
    "Encoder",
    "embedded_levels",
    "encoded_examples",
    "fitted_encoder",
    "piecewise_bins",
    "shared_tensor",
    "training_dtype",
]

Encoder: TypeAlias = TabularEncoder | ImageEncoder
Bins: TypeAlias = "tuple[tuple[int, ...], NDArray[np.float64]]"
"""Encoded columns of numbers that the network encodes, and slope, offset and mean of their bins."""


def fitted_encoder(estimator: Any, rows: Rows, image: ImageShape | None) -> Encoder:
    """What turns tables like this one into inputs of the network."""
    if image is None:
        return TabularEncoder(
            preprocessing=estimator.preprocessing,
            categorical_features=estimator.categorical_features,
            many_levels=_many_levels(estimator),
        ).fit_table(*rows.for_statistics())
    given = estimator.categorical_features
    if given is not None and not (isinstance(given, str) and given == "from_dtype"):
        raise ValueError(
            f"images have no categories, but categorical_features={given!r}. Leave it at "
            "'from_dtype', or input_shape at None for a table."
        )
    encoder = ImageEncoder(shape=image, preprocessing=estimator.preprocessing)
    return encoder.fit_table(*rows.for_statistics())


def _many_levels(estimator: Any) -> str:
    """What the module reads of columns with many levels; codes cannot be mixed or shaken."""
    return "code" if is_strong(estimator.module) and not estimator.augmentation else "infrequent"


def embedded_levels(encoder: Encoder) -> tuple[int, ...]:
    """Levels of each column of codes."""
    if isinstance(encoder, ImageEncoder):
        return ()
    return tuple(len(encoder.levels_[column]) for column in encoder.coded_columns_)


def piecewise_bins(estimator: Any, encoder: Encoder, rows: Rows) -> Bins:
    """Numbers that the module encodes and their bins, none where it has none."""
    if not is_strong(estimator.module) or isinstance(encoder, ImageEncoder):
        return (), np.zeros((3, 0, 0))
    return encoded_bins(encoder, *rows.for_statistics())


def training_dtype(estimator: Any, rows: Rows) -> torch.dtype:
    """Precision of the numbers that are learnt, see ``dtype`` of the estimators."""
    if estimator.dtype != "auto":
        return torch.float64 if estimator.dtype == "float64" else torch.float32
    one_batch = len(rows) <= batch_size_of(estimator, len(rows))
    exact = one_batch and table_dtype(rows.table) == np.float64
    return torch.float64 if exact else torch.float32


def encoded_examples(encoder: Encoder, rows: Rows, dtype: torch.dtype) -> Examples:
    """Rows as the loop wants them; a sparse or large table is encoded batch by batch."""
    numpy_dtype = np.dtype(str(dtype).removeprefix("torch."))
    inputs: Inputs
    if isinstance(rows.table, csr_array):
        inputs = SparseInputs(rows.table, encoder.transform_table, encoder.n_encoded_, numpy_dtype)
    elif isinstance(rows.table, LargeTable):
        read, encode = rows.table.read, encoder.transform_table
        inputs = FileInputs(read, encode, len(rows), encoder.n_encoded_, numpy_dtype)
    else:
        inputs = DenseInputs(shared_tensor(encoder.transform_table(rows.table, numpy_dtype)))
    target = shared_tensor(rows.target)
    weight = None if rows.weight is None else shared_tensor(rows.weight)
    return Examples(inputs, target if target.dtype == torch.int64 else target.to(dtype), weight)


def shared_tensor(array: NDArray[Any]) -> torch.Tensor:
    """Share memory, also with a read-only array, which nothing here writes to."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)
