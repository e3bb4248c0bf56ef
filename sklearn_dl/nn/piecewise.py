"""Numbers beside their piecewise-linear encoding, so that a linear layer can bend at quantiles."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from sklearn_dl.nn.layers import Batch, Stacked

__all__ = ["PlainPiecewise", "StackedPiecewise"]


def _widened(
    x: Tensor,
    columns: Tensor,
    slope: Tensor,
    offset: Tensor,
    mean: Tensor,
    new: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """``[x, clip(slope_t x_j + offset_t, -mean_t, 1 - mean_t) for columns j, bins t]``.

    Parameters
    ----------
    x : Tensor of shape (..., rows, n_features)
    columns : Tensor of shape (n_binned,), int64
    slope, offset, mean : Tensor of shape (..., 1, n_binned, n_bins)
    new : callable or None
        Gives room for so many numbers, for a pass without a graph; None: fresh memory.

    Returns
    -------
    Tensor of shape (..., rows, n_features + n_binned n_bins)
    """
    picked = x.index_select(-1, columns).unsqueeze(-1)
    if torch.is_grad_enabled():
        bent = torch.clamp(torch.addcmul(offset, picked, slope), -mean, 1 - mean)
        return torch.cat([x, bent.flatten(-2)], -1)
    # written in place: fresh memory for each intermediate was seen to take 20 times as long
    n_features, bins = x.shape[-1], slope.shape[-2:]
    shape = (*x.shape[:-1], n_features + bins.numel())
    size = math.prod(shape)
    out = (x.new_empty(size) if new is None else new(size)).view(shape)
    out[..., :n_features] = x
    room = out[..., n_features:].unflatten(-1, bins)
    torch.addcmul(offset, picked, slope, out=room)
    room.clamp_(-mean, 1 - mean)
    return out


class StackedPiecewise(Stacked):
    """Adds the piecewise-linear encoding of some columns behind all columns.

    Bin t of a column, between the quantiles b_t and b_{t+1}, gives
    ``clip((x - b_t) / (b_{t+1} - b_t), 0, 1)`` less its mean over the rows (Gorishniy et al. 2022,
    On embeddings for numerical features, eq. 1). The bins are no parameters: ``load`` sets them.
    Differs from the paper: centred, and clipped below the first bin and above the last, as the
    column itself goes on beside its bins.

    Parameters
    ----------
    n_models : int
    columns : tuple of int
        Columns of the input that have bins.
    n_bins : int
        Bins of each; a bin with slope 0 stays 0.
    """

    slope: Tensor
    offset: Tensor
    mean: Tensor

    def __init__(self, n_models: int, columns: tuple[int, ...], n_bins: int) -> None:
        super().__init__()
        self.columns = columns
        for name in ("slope", "offset", "mean"):
            self.register_buffer(name, torch.zeros(n_models, 1, len(columns), n_bins))
        self._index = torch.tensor(columns)
        self._room = torch.empty(0)

    @torch.no_grad()
    def load(self, model: int, bins: Tensor) -> None:
        """Set the bins of one model: slope, offset and mean, (3, n_binned, n_bins)."""
        for name, values in zip(("slope", "offset", "mean"), bins, strict=True):
            getattr(self, name)[model, 0].copy_(values)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, F) to (M, B, F + binned columns times bins)."""
        self._index = self._index.to(x.device)

        def new(size: int) -> Tensor:
            """The same memory in each step: what a step wrote is not read in the next."""
            if self._room.numel() < size or self._room.dtype != x.dtype:
                self._room = x.new_empty(size)
            return self._room[:size]

        return _widened(x, self._index, self.slope, self.offset, self.mean, new)

    def reset(self, model: int, generator: Generator) -> None:
        """Nothing to draw."""

    def plain(self, model: int) -> nn.Module:
        """One model as a plain module."""
        return PlainPiecewise(
            self.columns,
            *(getattr(self, name)[model].clone() for name in ("slope", "offset", "mean")),
        )


class PlainPiecewise(nn.Module):
    """The piecewise-linear encoding of one model, on (batch, n_features)."""

    slope: Tensor
    offset: Tensor
    mean: Tensor
    columns: Tensor

    def __init__(
        self, columns: tuple[int, ...], slope: Tensor, offset: Tensor, mean: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("slope", slope)
        self.register_buffer("offset", offset)
        self.register_buffer("mean", mean)
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the encodings behind the columns."""
        return _widened(x, self.columns, self.slope, self.offset, self.mean)
