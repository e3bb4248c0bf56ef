"""What are the eigenvalues of the Hessian? Both ends by Lanczos, and their density."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklearn_dl.curvature.hessian import HessianOperator, hessian_operator
from sklearn_dl.curvature.lanczos import SMALL_EIGENVALUE, Ritz, Vector, ends_known, lanczos
from sklearn_dl.curvature.objective import Objective
from sklearn_dl.curvature.studied import MAX_ROWS
from sklearn_dl.fitting import new_seed

__all__ = [
    "HessianExtremes",
    "SpectralDensity",
    "check_effort",
    "extremes_from",
    "extremes_of",
    "hessian_extremes",
    "spectral_density",
]


@dataclass(frozen=True)
class HessianExtremes:
    """Both ends of the spectrum of the Hessian.

    Attributes
    ----------
    eigenvalue_min, eigenvalue_max : float
        Lanczos values: the true extremes are not inside them.
    residual_min, residual_max : float
        An eigenvalue lies within the residual of each.
    converged : bool
        Whether both residuals are below ``tol`` times the size of their eigenvalue (of one
        thousandth of the largest where it is smaller).
    n_products : int
        Products of the Hessian with a vector.
    n_parameters, n_rows : int
    vector_min, vector_max : ndarray of shape (n_parameters,)
        Unit vectors, in the order of the module's parameters.
    """

    eigenvalue_min: float
    eigenvalue_max: float
    residual_min: float
    residual_max: float
    converged: bool
    n_products: int
    n_parameters: int
    n_rows: int
    vector_min: Vector = field(repr=False)
    vector_max: Vector = field(repr=False)


def check_effort(tol: float, max_products: int) -> None:
    """Refuse an accuracy or a length that no Lanczos run has."""
    if not 0 < tol < 1:
        raise ValueError(f"tol must be in (0, 1), got {tol!r}.")
    if max_products < 1:
        raise ValueError(f"max_products must be at least 1, got {max_products!r}.")


def extremes_of(
    operator: HessianOperator, *, tol: float, max_products: int, seed: int
) -> tuple[HessianExtremes, Ritz]:
    """Extremes from one Lanczos run, with all that the run found."""
    check_effort(tol, max_products)
    start = np.random.default_rng(seed).standard_normal((1, operator.shape[0]))
    (ritz,) = lanczos(operator.products, start, max_products, tol)
    return extremes_from(ritz, operator.objective, tol), ritz


def extremes_from(ritz: Ritz, objective: Objective, tol: float) -> HessianExtremes:
    """Both ends of what a Lanczos run found."""
    p, n_products = objective.n_parameters, len(ritz.values)
    return HessianExtremes(
        eigenvalue_min=float(ritz.values[0]),
        eigenvalue_max=float(ritz.values[-1]),
        residual_min=float(ritz.residuals[0]),
        residual_max=float(ritz.residuals[-1]),
        converged=bool(ends_known(ritz.values, ritz.residuals, tol).all()) or n_products == p,
        n_products=n_products,
        n_parameters=p,
        n_rows=len(objective),
        vector_min=ritz.vectors(0),
        vector_max=ritz.vectors(n_products - 1),
    )


def hessian_extremes(
    model: Any,
    *data: Any,
    sample_weight: Any = None,
    penalty: bool | float = False,
    tol: float = 1e-3,
    max_products: int = 100,
    max_rows: int = MAX_ROWS,
    batch_size: int | None = None,
    random_state: Any = None,
) -> HessianExtremes:
    """The smallest and the largest eigenvalue of the Hessian, from one Lanczos run.

    Parameters
    ----------
    model, *data
        A fitted estimator, X, y; or a module, loss, X, y with unreduced losses.
    sample_weight : array-like of shape (n,), optional
    penalty : bool or float, default=False
        Coefficient of ``1/2 |w|^2``; True: the estimator's ``weight_decay``.
    tol : float in (0, 1), default=1e-3
        Relative residual at which to stop.
    max_products : int, default=100
        Stop at the latest after so many products of the Hessian with a vector.
    max_rows : int, default=4096
        More rows are subsampled.
    batch_size : int, optional
        Rows differentiated at a time; by default all.
    random_state : int, RandomState or None
        Start vector and subsample.

    Returns
    -------
    HessianExtremes

    Examples
    --------
    >>> import torch
    >>> from sklearn_dl.curvature import hessian_extremes
    >>> X, y = torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1)
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> found = hessian_extremes(net, lambda f, y: (f - y) ** 2, X, y, random_state=0)
    >>> round(found.eigenvalue_min, 6), round(found.eigenvalue_max, 6)
    (1.0, 9.0)
    """
    operator = hessian_operator(
        model,
        *data,
        sample_weight=sample_weight,
        penalty=penalty,
        max_rows=max_rows,
        batch_size=batch_size,
        random_state=random_state,
    )
    seed = new_seed(random_state)
    return extremes_of(operator, tol=tol, max_products=max_products, seed=seed)[0]


@dataclass(frozen=True)
class SpectralDensity:
    """Density of the eigenvalues of the Hessian.

    Attributes
    ----------
    values, mass : ndarray of shape (n_draws, n_steps)
        Nodes and weights of the quadratures; each row of ``mass`` sums to one.
    n_parameters, n_rows, n_products : int
    """

    values: Vector
    mass: Vector
    n_parameters: int
    n_rows: int
    n_products: int

    @property
    def trace(self) -> float:
        """Estimate of the trace."""
        return self.n_parameters * float((self.values * self.mass).sum(axis=1).mean())

    @property
    def negative_share(self) -> float:
        """Estimate of the share of eigenvalues below zero, beyond one thousandth of the largest."""
        floor = SMALL_EIGENVALUE * float(np.abs(self.values).max())
        return float((self.mass * (self.values < -floor)).sum(axis=1).mean())

    def curve(self, grid: Vector, width: float | None = None) -> Vector:
        """The density on a grid, smoothed by a Gaussian (default: 1 % of the range)."""
        span = float(np.ptp(self.values)) or 1.0
        sigma = 0.01 * span if width is None else width
        z = (np.asarray(grid)[:, None, None] - self.values) / sigma
        kernel = np.exp(-0.5 * z**2) / (sigma * np.sqrt(2 * np.pi))
        density: Vector = (kernel * self.mass).sum(axis=2).mean(axis=1)
        return density


def spectral_density(
    model: Any,
    *data: Any,
    n_draws: int = 10,
    n_steps: int = 40,
    sample_weight: Any = None,
    penalty: bool | float = False,
    max_rows: int = MAX_ROWS,
    batch_size: int | None = None,
    random_state: Any = None,
) -> SpectralDensity:
    """Density of the Hessian's eigenvalues, by stochastic Lanczos quadrature.

    Each random vector's Lanczos run gives a Gauss quadrature of the density (Ghorbani et al. 2019,
    An Investigation into Neural Net Optimization via Hessian Eigenvalue Density, section 2).

    Parameters
    ----------
    model, *data, sample_weight, penalty, max_rows, batch_size, random_state
        As for `hessian_extremes`.
    n_draws : int, default=10
        Random vectors.
    n_steps : int, default=40
        Lanczos steps for each: so many moments of the density are matched, twice over.
    """
    if min(n_draws, n_steps) < 1:
        raise ValueError(f"n_draws and n_steps must be at least 1, got {n_draws!r}, {n_steps!r}.")
    operator = hessian_operator(
        model,
        *data,
        sample_weight=sample_weight,
        penalty=penalty,
        max_rows=max_rows,
        batch_size=batch_size,
        random_state=random_state,
    )
    rng = np.random.default_rng(new_seed(random_state))
    p = operator.shape[0]
    steps = min(n_steps, p)
    values, mass = np.zeros((n_draws, steps)), np.zeros((n_draws, steps))
    for k in range(n_draws):
        (ritz,) = lanczos(operator.products, rng.standard_normal((1, p)), steps)
        m = len(ritz.values)  # fewer where the run broke down; the rest has no mass
        values[k, :m], mass[k, :m] = ritz.values, ritz.mass
        values[k, m:] = ritz.values[-1]
    return SpectralDensity(values, mass, p, len(operator.objective), operator.n_products)
