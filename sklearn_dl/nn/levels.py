"""Columns of level codes as learnt vectors, so that thousands of levels stay a few inputs each."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Generator, Tensor, nn

from sklearn_dl.nn.layers import Batch, Stacked

__all__ = ["EMBEDDING_SIZE", "PlainLevels", "StackedLevels"]

#: Numbers that a level becomes (Holzmueller et al. 2024, RealMLP, table A.1).
EMBEDDING_SIZE = 8


def _places(x: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Row of the table for each code, and whether it stands for a level, both (..., n_coded)."""
    codes = x[..., -len(first) :].long()
    return (codes - 1).clamp(min=0) + first, codes > 0


def _first_rows(n_levels: tuple[int, ...]) -> Tensor:
    """The table's row of the first level of each column."""
    return torch.tensor([0, *accumulate(n_levels[:-1])])


class StackedLevels(Stacked):
    """Replaces the last columns, codes of levels, by a vector a level.

    Code k > 0 is the k-th level of its column, 0 is none: missing, or not seen in fit. Vectors
    start at zero, and so does what is said of a level that no row has: as of none.
    Differs from Holzmueller et al. (2024), whose vectors start normal: a level of few rows would
    keep much of that noise.

    Parameters
    ----------
    n_models : int
    n_levels : tuple of int
        Levels of each of the last columns.
    size : int
        Numbers a level.
    """

    def __init__(self, n_models: int, n_levels: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.n_levels = n_levels
        self.table = nn.Parameter(torch.empty(n_models, sum(n_levels), size))
        self._first = _first_rows(n_levels)

    @property
    def width(self) -> int:
        """Columns of the vectors, the last of the output."""
        return len(self.n_levels) * self.table.shape[2]

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, F) to (M, B, F + n_coded (size - 1))."""
        model, row, known = self._index(x)
        vectors = self.table[model, row] * known.unsqueeze(-1)
        return torch.cat([x[..., : -len(self.n_levels)], vectors.flatten(-2)], -1)

    def _index(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self._first = self._first.to(x.device)
        row, known = _places(x, self._first)
        return torch.arange(x.shape[0], device=x.device).view(-1, 1, 1), row, known

    def backward(self, x: Tensor, gradient: Tensor) -> None:
        """Write ``grad`` of the table from the input and the gradient at the vectors."""
        assert self.table.grad is not None
        model, row, known = self._index(x)
        parts = gradient.unflatten(-1, (len(self.n_levels), -1)) * known.unsqueeze(-1)
        self.table.grad.zero_().index_put_((model.expand_as(row), row), parts, accumulate=True)

    @torch.no_grad()
    def reset(self, model: int, generator: Generator) -> None:
        """Start at zero."""
        self.table[model].zero_()

    def plain(self, model: int) -> nn.Module:
        """One model as a plain module."""
        return PlainLevels(self.n_levels, self.table[model].detach().clone())


class PlainLevels(nn.Module):
    """The vectors of the levels of one model, on (batch, n_features)."""

    first: Tensor

    def __init__(self, n_levels: tuple[int, ...], table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)
        self.register_buffer("first", _first_rows(n_levels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Replace the codes by vectors."""
        row, known = _places(x, self.first)
        vectors = self.table[row] * known.unsqueeze(-1)
        return torch.cat([x[..., : -len(self.first)], vectors.flatten(-2)], -1)
