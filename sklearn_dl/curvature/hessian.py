"""The Hessian of the training loss as an operator: products without the matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from sklearn_dl.curvature.lanczos import Vector
from sklearn_dl.curvature.objective import Objective
from sklearn_dl.curvature.smoothness import no_second_derivative
from sklearn_dl.curvature.studied import MAX_ROWS, objective_of

__all__ = ["HessianOperator", "hessian_operator"]


class HessianOperator(LinearOperator):
    """The Hessian of an objective as a scipy operator, by double backward passes.

    ``H v = d/dw (g(w) . v)`` (Pearlmutter 1994), exact for the weighted mean over all rows, however
    they are divided into batches.

    Parameters
    ----------
    objective : Objective
    batch_size : int, optional
        Rows differentiated at a time. By default all at once, and the graph of the gradient is
        kept, so that a product is one backward pass; with a number it is built anew for each
        product and memory is bounded.

    Attributes
    ----------
    n_products : int
        Products made so far.
    """

    def __init__(self, objective: Objective, batch_size: int | None = None) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be a positive int or None, got {batch_size!r}.")
        p = objective.n_parameters
        super().__init__(dtype=np.dtype(np.float64), shape=(p, p))  # type: ignore[call-arg]  # stubs
        self.objective = objective
        self.n_products = 0
        n = len(objective)
        self._n_batches = 1 if batch_size is None else -(-n // batch_size)
        self._graph = _slope(objective) if self._n_batches == 1 else None

    @property
    def gradient(self) -> Tensor:
        """Gradient at the same weights, (n_parameters,)."""
        return self._graph[1].detach() if self._graph else self.objective.gradient()

    def products(self, vectors: Vector) -> Vector:
        """Products with the rows of a (n, n_parameters) array."""
        return np.stack([self.matvec(v) for v in vectors])

    def _matvec(self, x: Any) -> Vector:
        self.n_products += 1
        device = self.objective.weights.device
        v = torch.tensor(np.asarray(x, dtype=np.float64).reshape(-1), device=device)
        if self._graph is not None:
            product = _product(*self._graph, v)
        else:
            product = torch.zeros_like(v)
            for start in np.array_split(np.arange(len(self.objective)), self._n_batches):
                mass = float(self.objective.share[torch.as_tensor(start)].sum())
                if mass > 0:
                    product += mass * _product(*_slope(self.objective.at(start)), v)
        return np.asarray(product.cpu().numpy())

    def _adjoint(self) -> HessianOperator:
        return self


def _slope(objective: Objective) -> tuple[Tensor, Tensor]:
    """Weights and the gradient there, as a graph."""
    leaf = objective.weights.detach().requires_grad_()
    try:
        (gradient,) = torch.autograd.grad(objective.mean_loss(leaf), leaf, create_graph=True)
    except RuntimeError as error:
        raise no_second_derivative(str(error)) from error
    return leaf, gradient


def _product(leaf: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
    if not gradient.requires_grad:  # the objective is linear in the weights
        return torch.zeros_like(v)
    try:
        (product,) = torch.autograd.grad(
            gradient, leaf, v, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    except RuntimeError as error:
        raise no_second_derivative(str(error)) from error
    return product


def hessian_operator(
    model: Any,
    *data: Any,
    sample_weight: Any = None,
    penalty: bool | float = False,
    max_rows: int = MAX_ROWS,
    batch_size: int | None = None,
    random_state: Any = None,
) -> HessianOperator:
    """The Hessian of the mean training loss as a scipy ``LinearOperator``.

    Parameters
    ----------
    model, *data
        A fitted estimator, X, y; or a module, loss, X, y.
    sample_weight : array-like of shape (n,), optional
    penalty : bool or float, default=False
        Coefficient of ``1/2 |w|^2``; True: the estimator's ``weight_decay``.
    max_rows : int, default=4096
        More rows are subsampled.
    batch_size : int, optional
        Rows differentiated at a time; by default all.
    random_state : int, RandomState or None

    Examples
    --------
    >>> import torch
    >>> from sklearn_dl.curvature import hessian_operator
    >>> X, y = torch.eye(2), torch.zeros(2, 1)
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> H = hessian_operator(net, lambda f, y: (f - y) ** 2, X, y)
    >>> (H @ [1.0, 0.0]).tolist()
    [1.0, 0.0]
    """
    objective = objective_of(model, data, sample_weight, penalty, max_rows, random_state)
    return HessianOperator(objective, batch_size)
