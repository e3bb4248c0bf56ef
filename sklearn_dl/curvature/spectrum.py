"""What are the eigenvalues of the Hessian? Both ends by Lanczos, and their density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import LinearOperator

from sklearn_dl.curvature.hessian import HessianOperator, Vector, hessian_operator
from sklearn_dl.curvature.objective import MAX_ROWS
from sklearn_dl.fitting import new_seed

__all__ = [
    "HessianExtremes",
    "Ritz",
    "SpectralDensity",
    "extremes_of",
    "hessian_extremes",
    "lanczos",
    "spectral_density",
]

#: The Lanczos vectors may take so much memory.
MAX_BASIS_BYTES = 2**31
#: An eigenvalue below this share of the largest is found to ``tol`` of that share, not of itself.
SMALL_EIGENVALUE = 1e-3
#: An operator is used up where the next Lanczos vector is rounding.
BREAKDOWN = 1e-13


@dataclass(frozen=True)
class Ritz:
    """What a Lanczos run knows of the spectrum.

    Attributes
    ----------
    values : ndarray of shape (n_steps,)
        Ritz values, ascending.
    residuals : ndarray of shape (n_steps,)
        ``|H u - value u| = |beta_m s_mi|``: an eigenvalue lies within that of the Ritz value.
    mass : ndarray of shape (n_steps,)
        Squared first components: the weights of Gauss quadrature.
    vectors : callable
        Position -> Ritz vector, (n_parameters,).
    first_product : ndarray of shape (n_parameters,)
        ``H start``.
    """

    values: Vector
    residuals: Vector
    mass: Vector
    vectors: Callable[[int], Vector] = field(repr=False)
    first_product: Vector = field(repr=False)


def lanczos(
    operator: LinearOperator, start: Vector, n_steps: int, tol: float | None = None
) -> Ritz:
    """Lanczos with full re-orthogonalisation (Parlett 1998, The Symmetric Eigenvalue Problem, 13).

    Parameters
    ----------
    operator : LinearOperator of shape (p, p)
        Symmetric.
    start : ndarray of shape (p,)
    n_steps : int
        Products at most.
    tol : float, optional
        Stop where both ends are known to this relative accuracy.
    """
    p = len(start)
    n_steps = min(n_steps, p)
    _check_memory(n_steps, p)
    basis = np.zeros((n_steps, p))
    alpha, beta = np.zeros(n_steps), np.zeros(n_steps)
    basis[0] = start / np.linalg.norm(start)
    first = np.zeros(p)
    m = 0
    while True:
        w = np.asarray(operator.matvec(basis[m]), dtype=np.float64)
        if m == 0:
            first = w.copy()
        alpha[m] = basis[m] @ w
        known = basis[: m + 1]
        for _ in range(2):  # twice is enough (Parlett 1998, 6.9)
            w -= known.T @ (known @ w)
        beta[m] = np.linalg.norm(w)
        m += 1
        values, s = (np.asarray(a, np.float64) for a in eigh_tridiagonal(alpha[:m], beta[: m - 1]))
        size = float(np.abs(values).max())
        rounding = m * np.finfo(np.float64).eps * size
        residuals = np.abs(beta[m - 1] * s[-1]) + rounding
        enough = tol is not None and bool(_within(values, residuals, tol).all())
        if enough or m == n_steps or beta[m - 1] <= BREAKDOWN * size:
            break
        basis[m] = w / beta[m - 1]

    def vector(k: int) -> Vector:
        u: Vector = s[:, k] @ basis[:m]
        return u / np.linalg.norm(u)

    return Ritz(values, residuals, s[0] ** 2, vector, first)


def _within(values: Vector, residuals: Vector, tol: float) -> NDArray[np.bool_]:
    """Whether the two ends, lowest first, are known to ``tol``."""
    ends = np.array([0, -1])
    size = np.abs(values).max()
    return np.asarray(
        residuals[ends] <= tol * np.maximum(np.abs(values[ends]), SMALL_EIGENVALUE * size)
    )


def _check_memory(n_steps: int, p: int) -> None:
    if n_steps * p * 8 > MAX_BASIS_BYTES:
        raise ValueError(
            f"{n_steps} Lanczos vectors of {p:,} parameters take {n_steps * p * 8 / 2**30:.1f} "
            f"GiB, more than {MAX_BASIS_BYTES / 2**30:.0f} GiB. Ask for at most "
            f"{MAX_BASIS_BYTES // (8 * p)} steps (max_products or n_steps), or use sharpness or "
            "loss_slice, which keep none."
        )


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


def extremes_of(
    operator: HessianOperator, *, tol: float, max_products: int, rng: np.random.Generator
) -> tuple[HessianExtremes, Ritz]:
    """Extremes from one Lanczos run, with all that the run found."""
    if not 0 < tol < 1:
        raise ValueError(f"tol must be in (0, 1), got {tol!r}.")
    if max_products < 1:
        raise ValueError(f"max_products must be at least 1, got {max_products!r}.")
    p = operator.shape[0]
    before = operator.n_products
    ritz = lanczos(operator, rng.standard_normal(p), max_products, tol)
    extremes = HessianExtremes(
        eigenvalue_min=float(ritz.values[0]),
        eigenvalue_max=float(ritz.values[-1]),
        residual_min=float(ritz.residuals[0]),
        residual_max=float(ritz.residuals[-1]),
        converged=bool(_within(ritz.values, ritz.residuals, tol).all())
        or operator.n_products - before == p,
        n_products=operator.n_products - before,
        n_parameters=p,
        n_rows=len(operator.objective),
        vector_min=ritz.vectors(0),
        vector_max=ritz.vectors(len(ritz.values) - 1),
    )
    return extremes, ritz


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
    rng = np.random.default_rng(new_seed(random_state))
    return extremes_of(operator, tol=tol, max_products=max_products, rng=rng)[0]


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
        ritz = lanczos(operator, rng.standard_normal(p), steps)
        m = len(ritz.values)  # fewer where the run broke down; the rest has no mass
        values[k, :m], mass[k, :m] = ritz.values, ritz.mass
        values[k, m:] = ritz.values[-1]
    return SpectralDensity(values, mass, p, len(operator.objective), operator.n_products)
