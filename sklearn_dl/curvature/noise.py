"""How noisy is the gradient of a batch, and from which batch size on does noise stop to matter?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.func import functional_call, grad, vmap

from sklearn_dl.curvature.objective import Objective, row_losses
from sklearn_dl.curvature.studied import MAX_ROWS, objective_of

__all__ = ["GradientNoise", "gradient_noise"]

#: Numbers of row gradients held at a time.
CHUNK = 2**22


@dataclass(frozen=True)
class GradientNoise:
    """Spread of the gradients of single rows around their mean.

    Attributes
    ----------
    trace : float
        ``tr(Sigma)``, Sigma the covariance of a row's gradient as training adds it up: times the
        row's weight over the mean weight.
    gradient_norm : float
        Of the mean gradient.
    scale : float
        ``tr(Sigma) / |g|^2``, the batch size at which noise and signal are equal (McCandlish et
        al. 2018, An Empirical Model of Large-Batch Training, eq. 2.9); inf at a critical point.
    n_rows : int
    """

    trace: float
    gradient_norm: float
    scale: float
    n_rows: int

    def variance(self, batch_size: int) -> float:
        """Expected squared distance of a batch's gradient from the mean one.

        ``tr(Sigma) / B`` for rows drawn with replacement; without, as training draws them, times
        ``(n - B) / n``.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size!r}.")
        n = self.n_rows
        return self.trace / batch_size * max(n - batch_size, 0) / n


def gradient_noise(
    model: Any,
    *data: Any,
    sample_weight: Any = None,
    max_rows: int = MAX_ROWS,
    random_state: Any = None,
) -> GradientNoise:
    """Covariance of the gradients of single rows, in sum over the weights.

    Parameters
    ----------
    model, *data, sample_weight, max_rows, random_state
        As for `hessian_extremes`; losses without curvature are welcome.

    Examples
    --------
    Two rows that pull with 2 and 4:

    >>> import torch
    >>> from sklearn_dl.curvature import gradient_noise
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(net.weight)
    >>> found = gradient_noise(net, lambda f, y: (f - y) ** 2, [[1.0], [1.0]], [[1.0], [2.0]])
    >>> found.trace, found.gradient_norm
    (2.0, 3.0)
    """
    objective = objective_of(
        model,
        data,
        sample_weight=sample_weight,
        max_rows=max_rows,
        random_state=random_state,
        curved=False,
    )
    n = len(objective)
    mean = objective.gradient()
    spread = sum(
        float((n * share[:, None] * rows - mean).square().sum())
        for share, rows in _row_gradients(objective)
    )
    square = float(mean.square().sum())
    trace = spread / (n - 1) if n > 1 else 0.0
    scale = trace / square if square > 0 else float("inf")
    return GradientNoise(trace, square**0.5, scale, n)


def _row_gradients(objective: Objective) -> Iterator[tuple[Tensor, Tensor]]:
    """Shares and gradients of the rows, some at a time: (b,) and (b, n_parameters)."""

    def loss_of_row(weights: Tensor, x: Tensor, target: Tensor) -> Tensor:
        out = functional_call(objective.module, objective.parts(weights), (x.unsqueeze(0),))
        return row_losses(objective.loss, out, target.unsqueeze(0), 1).sum()

    by_row = vmap(grad(loss_of_row), in_dims=(None, 0, 0))
    step = max(1, CHUNK // objective.n_parameters)
    for k in range(0, len(objective), step):
        part = slice(k, k + step)
        rows = by_row(objective.weights, objective.inputs[part], objective.target[part])
        yield objective.share[part], rows.detach()
