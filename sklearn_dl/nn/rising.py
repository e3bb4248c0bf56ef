"""Outputs that rise from column to column: several quantiles that never cross."""

from __future__ import annotations

import torch
from scipy.special import ndtri
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus

from sklearn_dl.nn.layers import Batch, Stacked

__all__ = ["PlainRising", "StackedRising"]


class PlainRising(nn.Module):
    r"""The middle quantile, and positive steps away from it.

    With m the middle level, ``q_m = z_m + c_m`` and ``q_j = q_{j -+ 1} +- softplus(z_j + c_j)``
    above and below it. The constants c are such that outputs of zero are the quantiles of a
    standard normal distribution, so that a network starts near those of a standardised target.

    Differs from Cannon (2018, "Non-crossing nonlinear regression quantiles by monotone composite
    quantile regression neural network") and from Gasthaus et al. (2019): the steps start at the
    middle and not at one end, so that no quantile is the sum of all of them.

    Parameters
    ----------
    levels : tuple of float
        Levels of the quantiles, rising, in (0, 1).

    Notes
    -----
    Shapes: (..., n_targets * n_levels) to the same; the levels of one target are neighbours.

    Examples
    --------
    >>> layer = PlainRising((0.1, 0.5, 0.9))
    >>> layer(torch.zeros(1, 3)).numpy().round(2)
    array([[-1.28,  0.  ,  1.28]], dtype=float32)
    """

    def __init__(self, levels: tuple[float, ...]) -> None:
        super().__init__()
        if not levels or any(not 0 < a < 1 for a in levels) or sorted(set(levels)) != [*levels]:
            raise ValueError(f"levels must rise between 0 and 1, got {levels!r}.")
        self.levels = levels
        self.middle = len(levels) // 2
        normal = ndtri(levels)
        steps = normal[1:] - normal[:-1]
        offsets = [float(v) for v in _softplus_inverse(torch.from_numpy(steps))]
        offsets.insert(self.middle, float(normal[self.middle]))
        self._exact = self._used = torch.tensor(offsets, dtype=torch.float64, device="cpu")

    def offsets(self, like: Tensor) -> Tensor:
        """The constants in the precision and on the device of a tensor."""
        if (self._used.dtype, self._used.device) != (like.dtype, like.device):
            self._used = self._exact.to(like)
        return self._used

    def split(self, x: Tensor) -> Tensor:
        """``z + c`` of shape (..., n_targets, n_levels)."""
        x = x.unflatten(-1, (-1, len(self.levels)))
        return x + self.offsets(x)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs that rise within each target."""
        raw, m = self.split(x), self.middle
        centre, steps = raw[..., m : m + 1], softplus(raw)
        below = steps[..., :m].flip(-1).cumsum(-1).flip(-1)
        above = steps[..., m + 1 :].cumsum(-1)
        return torch.cat([centre - below, centre, centre + above], -1).flatten(-2)

    def backward(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The gradient at the inputs from that at the outputs."""
        raw, m = self.split(x), self.middle
        g = gradient.unflatten(-1, (-1, len(self.levels)))
        below = -g[..., :m].cumsum(-1)
        above = g[..., m + 1 :].flip(-1).cumsum(-1).flip(-1)
        slopes = torch.sigmoid(raw)
        parts = [
            below * slopes[..., :m], g.sum(-1, keepdim=True), above * slopes[..., m + 1 :],
        ]  # fmt: skip
        return torch.cat(parts, -1).flatten(-2)


def _softplus_inverse(y: Tensor) -> Tensor:
    """``log(exp(y) - 1)``, as ``y + log(1 - exp(-y))`` so that nothing overflows."""
    return y + torch.log(-torch.expm1(-y))


class StackedRising(Stacked):
    """`PlainRising` for every model of a stack: it has nothing to learn."""

    def __init__(self, levels: tuple[float, ...]) -> None:
        super().__init__()
        self.levels = levels
        self.function = PlainRising(levels)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, F) to (M, B, F)."""
        out: Tensor = self.function(x)
        return out

    def backward(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The gradient at the inputs from that at the outputs."""
        return self.function.backward(x, gradient)

    def reset(self, model: int, generator: Generator) -> None:
        """Nothing to draw."""

    def plain(self, model: int) -> nn.Module:
        """The same function."""
        return PlainRising(self.levels)
