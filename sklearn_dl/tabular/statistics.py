"""Where is the middle of a column, how wide is it, and is anything missing?

Every statistic is weighted so that a weight of k equals the row repeated k times, is computed in
float64, and skips missing values. Rows of weight zero must be gone before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

FloatArray = npt.NDArray[np.float64]

QUARTILES = np.array([0.25, 0.5, 0.75])
# A spread beyond these is treated as this wide: 1 / spread stays finite and above zero.
SMALLEST_SPREAD, LARGEST_SPREAD = 1e-300, 1e300
# More order statistics than this in one block, and a full sort is faster than np.partition.
MAX_PARTITION_POINTS = 12


@dataclass(frozen=True)
class Statistics:
    """Summary of p columns; an encoded number is ``(x - center) * scale``.

    Attributes
    ----------
    center : ndarray of shape (p,)
        Weighted median or mean; NaN where a column has no value.
    scale : ndarray of shape (p,)
        One over the column's width; 0 where the column is constant.
    has_missing, all_missing : ndarray of shape (p,), bool
        Whether a row, or every row, of the column is NaN.
    """

    center: FloatArray
    scale: FloatArray
    has_missing: npt.NDArray[np.bool_]
    all_missing: npt.NDArray[np.bool_]


def dense_statistics(
    blocks: Iterable[npt.NDArray[Any]], weights: FloatArray | None, *, robust: bool
) -> Statistics:
    """Statistics of dense columns.

    Parameters
    ----------
    blocks : iterable of ndarray of shape (n_block_columns, n_rows)
        Columns as rows, of any real dtype; each block is reordered in place.
    weights : ndarray of shape (n_rows,) or None
        Positive weights; None weighs all rows alike.
    robust : bool
        Median and interquartile range; else mean and standard deviation.

    Returns
    -------
    Statistics
    """
    parts = [_block_statistics(block, weights, robust) for block in blocks]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if not columns:
        return Statistics(np.empty(0), np.empty(0), np.empty(0, bool), np.empty(0, bool))
    return Statistics(*columns)


def sparse_statistics(X: sp.csc_array, weights: FloatArray | None, *, robust: bool) -> Statistics:
    """Statistics of sparse columns, implicit zeros included, without densifying.

    The zeros a column does not store act as one more value, 0, that carries their joint weight.

    Parameters
    ----------
    X : csc_array of shape (n_rows, p)
        Canonical (no duplicates).
    weights : ndarray of shape (n_rows,) or None
        Positive weights; None weighs all rows alike.
    robust : bool
        Median and interquartile range; else mean and standard deviation.

    Returns
    -------
    Statistics
    """
    n_rows, n_columns = X.shape
    row_weights = np.ones(n_rows) if weights is None else weights
    values = X.data.astype(np.float64)
    column_of = np.repeat(np.arange(n_columns), np.diff(X.indptr))
    weight_of = row_weights[X.indices]

    def per_column(amount: FloatArray) -> FloatArray:
        return np.bincount(column_of, weights=amount, minlength=n_columns).astype(np.float64)

    missing = np.isnan(values)
    n_missing = per_column(missing.astype(np.float64))
    stored = np.diff(X.indptr)
    # Exactly 0 where all rows are stored: a difference of sums would leave rounding behind.
    zero_weight = np.where(stored == n_rows, 0.0, row_weights.sum() - per_column(weight_of))
    low, high = _sparse_range(values, X.indptr, has_zero=stored < n_rows)
    if robust:
        quartiles = _sparse_quartiles(X.indptr, values, weight_of, zero_weight, per_column)
        center, scale = _robust_scaling(quartiles, low, high)
    else:
        present = per_column(np.where(missing, 0.0, weight_of)) + zero_weight
        peak = _peak(low, high)
        scaled = np.where(missing, 0.0, values / peak[column_of])
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = per_column(weight_of * scaled) / present
            deviation = np.where(missing, 0.0, scaled - mean[column_of])
            squares = per_column(weight_of * deviation**2) + zero_weight * mean**2
            center, scale = _standard_scaling(mean, np.sqrt(squares / present), low, high)
    return Statistics(center, scale, n_missing > 0, n_missing == n_rows)


def weighted_quantiles(
    values: npt.NDArray[Any], weights: FloatArray, probabilities: FloatArray
) -> FloatArray:
    """Quantiles by the inverted weighted distribution function, with averaging.

    The q-quantile is the first value whose cumulated weight exceeds q W, and the mean of it and
    the one before where a cumulated weight equals q W (Hyndman and Fan, 1996, definition 2).

    Parameters
    ----------
    values : ndarray of shape (n,)
        No NaN, n >= 1.
    weights : ndarray of shape (n,)
        Positive.
    probabilities : ndarray of shape (k,)
        In (0, 1).

    Returns
    -------
    ndarray of shape (k,)
    """
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    target = probabilities * cumulated[-1]
    # Equality up to the rounding of the sum, so that the unit of the weights does not matter.
    tolerance = cumulated[-1] * len(values) * np.finfo(np.float64).eps
    last = len(values) - 1
    low = np.minimum(np.searchsorted(cumulated, target - tolerance), last)
    on_a_step = np.abs(cumulated[low] - target) <= tolerance
    high = np.minimum(low + on_a_step, last)
    return _middle(values[order[low]], values[order[high]])


def _block_statistics(
    block: npt.NDArray[Any], weights: FloatArray | None, robust: bool
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    if block.dtype.kind == "f":
        missing = np.isnan(block)
        n_present = block.shape[1] - np.count_nonzero(missing, axis=1)
    else:
        missing = None
        n_present = np.full(len(block), block.shape[1])
    has_missing = n_present < block.shape[1]
    low = np.fmin.reduce(block, axis=1).astype(np.float64)
    high = np.fmax.reduce(block, axis=1).astype(np.float64)
    if robust:
        if weights is None:
            quartiles = _unweighted_quartiles(block, n_present)
        else:
            quartiles = _weighted_quartiles(block, weights)
        center, scale = _robust_scaling(quartiles, low, high)
    else:
        gone = missing if has_missing.any() else None
        center, scale = _mean_scaling(block, weights, gone, low, high)
    return center, scale, has_missing, n_present == 0


def _unweighted_quartiles(block: npt.NDArray[Any], n_present: npt.NDArray[Any]) -> FloatArray:
    """What `weighted_quantiles` gives for weights of one, by selection in place of a full sort."""
    target = n_present[:, None] * QUARTILES
    low = np.maximum(np.ceil(target).astype(np.intp) - 1, 0)
    high = np.where(target == np.floor(target), low + 1, low)
    high = np.clip(high, 0, np.maximum(n_present - 1, 0)[:, None])
    points = np.unique([low, high])
    # Both put NaN last.
    if len(points) > MAX_PARTITION_POINTS:
        block.sort(axis=1)
    else:
        block.partition(points, axis=1)
    rows = np.arange(len(block))[:, None]
    return _middle(block[rows, low], block[rows, high])


def _weighted_quartiles(block: npt.NDArray[Any], weights: FloatArray) -> FloatArray:
    quartiles = np.full((len(block), len(QUARTILES)), np.nan)
    for row, values in enumerate(block):
        seen = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), bool)
        if seen.all():
            quartiles[row] = weighted_quantiles(values, weights, QUARTILES)
        elif seen.any():
            quartiles[row] = weighted_quantiles(values[seen], weights[seen], QUARTILES)
    return quartiles


def _sparse_quartiles(
    indptr: npt.NDArray[Any],
    values: FloatArray,
    weight_of: FloatArray,
    zero_weight: FloatArray,
    per_column: Any,
) -> FloatArray:
    n_columns = len(indptr) - 1
    quartiles = np.zeros((n_columns, len(QUARTILES)))
    negative = per_column(np.where(values < 0, weight_of, 0.0))
    positive = per_column(np.where(values > 0, weight_of, 0.0))
    total = per_column(np.where(np.isnan(values), 0.0, weight_of)) + zero_weight
    # Under a quarter of the weight on either side of zero: all three quartiles are 0.
    undecided = (np.maximum(negative, positive) >= 0.2499 * total).nonzero()[0]
    for column in undecided:
        entries = slice(indptr[column], indptr[column + 1])
        data, weights = values[entries], weight_of[entries]
        seen = ~np.isnan(data)
        data, weights = data[seen], weights[seen]
        if zero_weight[column] > 0:
            data = np.append(data, 0.0)
            weights = np.append(weights, zero_weight[column])
        quartiles[column] = weighted_quantiles(data, weights, QUARTILES) if len(data) else np.nan
    return quartiles


def _sparse_range(
    values: FloatArray, indptr: npt.NDArray[Any], *, has_zero: npt.NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest value of each column, NaN skipped."""
    n_columns = len(indptr) - 1
    low, high = np.full(n_columns, np.nan), np.full(n_columns, np.nan)
    filled = np.diff(indptr) > 0
    if filled.any():
        # Empty columns have no entries between two filled ones, so reduceat sees whole columns.
        starts = indptr[:-1][filled]
        low[filled] = np.fmin.reduceat(values, starts)
        high[filled] = np.fmax.reduceat(values, starts)
    return (
        np.where(has_zero, np.fmin(low, 0.0), low),
        np.where(has_zero, np.fmax(high, 0.0), high),
    )


def _middle(low: npt.NDArray[Any], high: npt.NDArray[Any]) -> FloatArray:
    """The mean of two order statistics; halves first, so that it cannot overflow."""
    middle: FloatArray = 0.5 * low.astype(np.float64) + 0.5 * high.astype(np.float64)
    return middle


def _robust_scaling(
    quartiles: FloatArray, low: FloatArray, high: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Median, and 1 / (q75 - q25), if 0 then 2 / (max - min), if 0 then 0.

    Holzmueller et al. (2024), Better by default (RealMLP), arXiv 2407.04491, section 3.
    """
    with np.errstate(over="ignore"):
        spread = quartiles[:, 2] - quartiles[:, 0]
        spread = np.where(spread > 0, spread, 0.5 * (high - low))
    return quartiles[:, 1].copy(), _inverse(spread)


def _mean_scaling(
    block: npt.NDArray[Any],
    weights: FloatArray | None,
    missing: npt.NDArray[np.bool_] | None,
    low: FloatArray,
    high: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    n_rows = block.shape[1]
    row_weights = np.ones(n_rows) if weights is None else weights
    scaled = block / _peak(low, high)[:, None]
    total: Any = row_weights.sum()
    if missing is not None:
        scaled[missing] = 0.0
        total = ~missing @ row_weights
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (scaled @ row_weights) / total
        scaled -= mean[:, None]
        if missing is not None:
            scaled[missing] = 0.0
        np.square(scaled, out=scaled)
        return _standard_scaling(mean, np.sqrt((scaled @ row_weights) / total), low, high)


def _standard_scaling(
    mean: FloatArray, deviation: FloatArray, low: FloatArray, high: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Undo the division by the peak; a constant column is told by its range, not by rounding."""
    peak = _peak(low, high)
    constant = low == high
    return np.where(constant, low, mean * peak), _inverse(np.where(constant, 0.0, deviation * peak))


def _peak(low: FloatArray, high: FloatArray) -> FloatArray:
    """Largest magnitude of each column, 1 where there is none: squares of x / peak stay finite."""
    peak = np.maximum(np.abs(low), np.abs(high))
    return np.where(peak > 0, peak, 1.0)


def _inverse(spread: FloatArray) -> FloatArray:
    """1 / spread, finite; 0 where the spread is 0 or unknown."""
    inverse = 1.0 / np.clip(spread, SMALLEST_SPREAD, LARGEST_SPREAD)
    return np.where(spread > 0, inverse, 0.0)
