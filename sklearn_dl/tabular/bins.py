"""Where does the piecewise-linear encoding of a column bend?

Bins lie between quantiles of the column, in encoded units. The first layer of a network works them
out (`sklearn_dl.nn.piecewise`), so the encoded matrix stays as narrow as the table.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from sklearn_dl.tabular.checking import Table, column_names
from sklearn_dl.tabular.columns import FloatArray, read_numbers
from sklearn_dl.tabular.encoder import TabularEncoder
from sklearn_dl.tabular.reading import ColumnReader, positive_weights
from sklearn_dl.tabular.statistics import weighted_quantiles
from sklearn_dl.tabular.writing import scale_numbers

__all__ = ["bins_of_column", "bins_per_column", "encoded_bins"]

#: Bins of a column: every sixteenth part of the rows can have a slope of its own.
N_BINS = 16
#: Bins of all columns together: the first layer stays narrow. Tables of more columns get fewer
#: each, and none where fewer than ``FEWEST_BINS`` would be left.
MOST_BINS, FEWEST_BINS = 512, 4
#: Quantiles are taken over no more rows than about this, evenly spaced.
QUANTILE_ROWS = 2**16
#: Narrower bins than this in encoded units would be lost in the rounding of float32.
NARROWEST = 1e-5


def bins_per_column(n_columns: int) -> int:
    """Bins for each of so many columns of numbers; 0 for none."""
    n_bins = min(N_BINS, MOST_BINS // max(1, n_columns))
    return n_bins if n_bins >= FEWEST_BINS else 0


def encoded_bins(
    encoder: TabularEncoder, table: Table, sample_weight: FloatArray | None = None
) -> tuple[tuple[int, ...], FloatArray]:
    """Bins of the columns of numbers, for `sklearn_dl.nn.piecewise`.

    Parameters
    ----------
    encoder : TabularEncoder
        Fitted.
    table : DataFrame, ndarray or csr_array of shape (n_rows, n_features)
        The checked table of its fit.
    sample_weight : ndarray of shape (n_rows,) or None
        As in its fit.

    Returns
    -------
    columns : tuple of int
        Columns of the encoded matrix that have bins: numbers of three values and more.
    bins : ndarray of shape (3, len(columns), n_bins)
        Slope, offset and mean of each bin.
    """
    n_bins = bins_per_column(len(encoder.number_columns_))
    if n_bins == 0:
        return (), np.zeros((3, 0, 0))
    weights, keep = positive_weights(sample_weight, table)
    reader, names = ColumnReader(table, keep), column_names(table)
    found = {}
    for position, column in enumerate(encoder.number_columns_):
        kind, ranks = encoder.kinds_[column], encoder.levels_.get(column, ())
        values = reader.one(column)
        if isinstance(values, pd.Series):
            values = read_numbers(values, kind, ranks, names[column])
        step = -(-len(values) // QUANTILE_ROWS)
        bins = bins_of_column(
            np.asarray(values, dtype=np.float64)[::step],
            None if weights is None else weights[::step],
            encoder.center_[position],
            encoder.scale_[position],
            clip=encoder.preprocessing == "auto",
            n_bins=n_bins,
        )
        if bins is not None:
            found[position] = bins
    empty = np.zeros((3, 0, n_bins))
    return tuple(found), np.stack([*found.values()], axis=1) if found else empty


def bins_of_column(
    values: npt.NDArray[np.floating],
    weights: FloatArray | None,
    center: float,
    scale: float,
    *,
    clip: bool,
    n_bins: int,
) -> FloatArray | None:
    """Bins between quantiles of one column.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        As read, NaN where missing; at least one is not.
    weights : ndarray of shape (n_rows,) or None
        Positive.
    center, scale, clip
        How the column is encoded, see `scale_numbers`.
    n_bins : int

    Returns
    -------
    ndarray of shape (3, n_bins) or None
        Slope, offset and mean of each bin: an encoded x gives ``clip(slope x + offset, -mean, 1 -
        mean)``. Bins beyond those that the quantiles bound are 0. None where there is but one bin,
        a straight line, which the column itself is.
    """
    seen = ~np.isnan(values)
    values = values[seen].astype(np.float64)
    amounts = np.ones(len(values)) if weights is None else weights[seen]
    levels = np.arange(n_bins + 1) / n_bins
    inner = weighted_quantiles(values, amounts, levels[1:-1])
    edges = np.concatenate([[values.min()], inner, [values.max()]])[:, None]
    no_missing = np.zeros(edges.shape, dtype=bool)
    scale_numbers(edges, no_missing, np.array([center]), np.array([scale]), clip=clip)
    kept = [0]
    for position, edge in enumerate(edges[:, 0]):
        if edge - edges[kept[-1], 0] > NARROWEST:
            kept.append(position)
    if len(kept) < 3:
        return None
    edges, levels = edges[kept, 0], levels[kept]
    bins = np.zeros((3, n_bins))
    used = slice(0, len(kept) - 1)
    bins[0, used] = 1 / np.diff(edges)
    bins[1, used] = -edges[:-1] / np.diff(edges)
    # a share of 1 - p of the rows lies above the p-quantile; linear in between
    bins[2, used] = 1 - (levels[:-1] + levels[1:]) / 2
    bins[1] -= bins[2]
    return bins
