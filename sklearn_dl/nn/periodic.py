"""Numbers beside waves of learnt frequencies, so that a linear layer sees what is not monotone."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from sklearn_dl.nn.layers import Batch, Stacked

__all__ = ["PERIODIC", "PlainPeriodic", "StackedPeriodic"]

#: Frequencies of a column, and the numbers that their waves become.
PERIODIC = (16, 4)
#: Standard deviation of initial frequencies: most waves have a period of two interquartile ranges
#: and more. The best of 0.03, 0.1 and 0.3 on tables the recipe was chosen on.
DEVIATION = 0.3


def _waves(picked: Tensor, frequency: Tensor) -> Tensor:
    """``[cos, sin](2 pi c x)``, (..., rows, n_columns) to (..., n_columns, waves, rows).

    Rows come last: products with few rows are quick, with few columns they are not.
    """
    angle = (2 * math.pi) * frequency * picked.mT.unsqueeze(-2)
    return torch.cat([torch.cos(angle), torch.sin(angle)], -2)


def _embedded(waves: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``relu(W waves + b)``, (..., n_columns, size, rows)."""
    return torch.relu(torch.matmul(weight, waves) + bias)


def _beside(x: Tensor, embedded: Tensor) -> Tensor:
    return torch.cat([x, embedded.flatten(-3, -2).mT], -1)


class StackedPeriodic(Stacked):
    """Adds ``relu(W [cos, sin](2 pi c x) + b)`` of some columns behind all columns.

    The periodic embedding of Gorishniy et al. (2022), On embeddings for numerical features, eq. 3,
    with a linear map of its own for each column. Frequencies c start normal, cut at three
    deviations; W and b start as in ``nn.Linear``. Differs from the paper: the column itself stays.

    Parameters
    ----------
    n_models : int
    columns : tuple of int
        Columns of the input that are embedded.
    n_frequencies, size : int
        Frequencies of a column, and numbers it becomes.
    """

    def __init__(
        self, n_models: int, columns: tuple[int, ...], n_frequencies: int, size: int
    ) -> None:
        super().__init__()
        self.columns, n = columns, len(columns)
        self.frequency = nn.Parameter(torch.empty(n_models, n, n_frequencies, 1))
        self.weight = nn.Parameter(torch.empty(n_models, n, size, 2 * n_frequencies))
        self.bias = nn.Parameter(torch.empty(n_models, n, size, 1))
        self._index = torch.tensor(columns)
        self._kept: tuple[Tensor, Tensor]

    @property
    def width(self) -> int:
        """Columns of the embeddings, the last of the output."""
        return self.bias[0].numel()

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, F) to (M, B, F + embedded columns times size)."""
        waves = _waves(self._picked(x), self.frequency)
        embedded = _embedded(waves, self.weight, self.bias)
        if self.training and not torch.is_grad_enabled():
            self._kept = waves, embedded  # for ``backward``: waves are the larger part of its time
        return _beside(x, embedded)

    def _picked(self, x: Tensor) -> Tensor:
        self._index = self._index.to(x.device)
        return x.index_select(-1, self._index)

    def backward(self, x: Tensor, gradient: Tensor) -> None:
        """Write ``grad`` of the parameters from the last input and the gradient behind it."""
        picked, (waves, embedded) = self._picked(x), self._kept
        above = gradient.mT.unflatten(-2, (len(self.columns), -1)) * (embedded > 0)
        cos, sin = waves.chunk(2, -2)
        at_cos, at_sin = torch.matmul(self.weight.mT, above).chunk(2, -2)
        at_angle = torch.addcmul(cos * at_sin, sin, at_cos, value=-1)
        slope = (2 * math.pi) * picked.mT.unsqueeze(-1)  # (M, n_columns, B, 1)
        for parameter, found in (
            (self.weight, torch.matmul(above, waves.mT)),
            (self.bias, above.sum(-1, keepdim=True)),
            (self.frequency, torch.matmul(at_angle, slope)),
        ):
            assert parameter.grad is not None
            parameter.grad.copy_(found)

    @torch.no_grad()
    def reset(self, model: int, generator: Generator) -> None:
        """Draw the initial values of one model."""
        bound = 1 / math.sqrt(self.weight.shape[-1])
        for parameter in self.parameters():
            # drawn in float64 whatever the dtype, so that the dtype does not change the draw
            row = parameter[model]
            drawn = torch.empty(row.shape, dtype=torch.float64, device=generator.device)
            if parameter is self.frequency:
                drawn.normal_(generator=generator).clamp_(-3, 3).mul_(DEVIATION)
            else:
                drawn.uniform_(-bound, bound, generator=generator)
            row.copy_(drawn)

    def plain(self, model: int) -> nn.Module:
        """One model as a plain module."""
        own = (p[model].detach().clone() for p in (self.frequency, self.weight, self.bias))
        return PlainPeriodic(self.columns, *own)


class PlainPeriodic(nn.Module):
    """The periodic embedding of one model, on (batch, n_features)."""

    columns: Tensor

    def __init__(
        self, columns: tuple[int, ...], frequency: Tensor, weight: Tensor, bias: Tensor
    ) -> None:
        super().__init__()
        self.frequency = nn.Parameter(frequency)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the embeddings behind the columns."""
        waves = _waves(x.index_select(-1, self.columns), self.frequency)
        return _beside(x, _embedded(waves, self.weight, self.bias))
