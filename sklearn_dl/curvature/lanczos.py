"""Lanczos runs of many symmetric operators at once; one operator is a stack of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

__all__ = ["SMALL_EIGENVALUE", "Products", "Ritz", "Vector", "ends_known", "lanczos"]

Vector = NDArray[np.float64]
Products = Callable[[Vector], Vector]
"""``(n_models, p) -> (n_models, p)``: a product of each model's operator with its own vector."""

#: The Lanczos vectors may take so much memory.
MAX_BASIS_BYTES = 2**31
#: An eigenvalue below this share of the largest is found to ``tol`` of that share, not of itself.
SMALL_EIGENVALUE = 1e-3
#: An operator is used up where the next Lanczos vector is rounding.
BREAKDOWN = 1e-13


@dataclass(frozen=True)
class Ritz:
    """What a Lanczos run knows of one operator's spectrum.

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
        ``H start``, start scaled to length one.
    """

    values: Vector
    residuals: Vector
    mass: Vector
    vectors: Callable[[int], Vector] = field(repr=False)
    first_product: Vector = field(repr=False)


@dataclass
class _Run:
    """One operator's tridiagonal matrix while it grows; ``ended`` with the steps it took."""

    alpha: Vector
    beta: Vector
    ended: int = 0

    def grow(self, m: int, alpha: float, beta: float, tol: float | None) -> None:
        """Take step ``m`` and see whether it was the last."""
        self.alpha[m - 1], self.beta[m - 1] = alpha, beta
        values, residuals, _ = self.ritz(m)
        used_up = beta <= BREAKDOWN * float(np.abs(values).max())
        enough = tol is not None and bool(ends_known(values, residuals, tol).all())
        if used_up or enough or m == len(self.alpha):
            self.ended = m

    def ritz(self, m: int) -> tuple[Vector, Vector, Vector]:
        """Values, residuals and eigenvectors of the tridiagonal matrix after m steps."""
        values, s = (
            np.asarray(a, np.float64) for a in eigh_tridiagonal(self.alpha[:m], self.beta[: m - 1])
        )
        rounding = m * np.finfo(np.float64).eps * float(np.abs(values).max())
        return values, np.abs(self.beta[m - 1] * s[-1]) + rounding, s


def lanczos(
    products: Products, start: Vector, n_steps: int, tol: float | None = None
) -> list[Ritz]:
    """Lanczos with full re-orthogonalisation (Parlett 1998, The Symmetric Eigenvalue Problem, 13).

    Parameters
    ----------
    products : callable
        ``(n_models, p) -> (n_models, p)``, symmetric.
    start : ndarray of shape (n_models, p)
    n_steps : int
        Products at most.
    tol : float, optional
        A model is done where both its ends are known to this relative accuracy; the run goes on
        until all are.
    """
    n_models, p = start.shape
    n_steps = min(n_steps, p)
    _check_memory(n_models, n_steps, p)
    basis = np.zeros((n_models, n_steps, p))
    runs = [_Run(np.zeros(n_steps), np.zeros(n_steps)) for _ in range(n_models)]
    basis[:, 0] = start / np.linalg.norm(start, axis=1, keepdims=True)
    first = start
    for m in range(1, n_steps + 1):
        w = np.array(products(basis[:, m - 1]), dtype=np.float64)
        if m == 1:
            first = w.copy()
        alpha = np.einsum("kp,kp->k", basis[:, m - 1], w)
        known = basis[:, :m]
        for _ in range(2):  # twice is enough (Parlett 1998, 6.9)
            w -= ((known @ w[:, :, None]).transpose(0, 2, 1) @ known)[:, 0]
        beta = np.linalg.norm(w, axis=1)
        for k, run in enumerate(runs):
            if not run.ended:
                run.grow(m, float(alpha[k]), float(beta[k]), tol)
        if all(run.ended for run in runs):
            break
        going = np.array([not run.ended for run in runs])  # the others' vectors stay zero
        basis[going, m] = w[going] / beta[going, None]
    return [_found(run, basis[k], first[k]) for k, run in enumerate(runs)]


def _found(run: _Run, basis: Vector, first: Vector) -> Ritz:
    m = run.ended
    values, residuals, s = run.ritz(m)

    def vector(k: int) -> Vector:
        u: Vector = s[:, k] @ basis[:m]
        return u / np.linalg.norm(u)

    return Ritz(values, residuals, s[0] ** 2, vector, first)


def ends_known(values: Vector, residuals: Vector, tol: float) -> NDArray[np.bool_]:
    """Whether the two ends, lowest first, are known to ``tol``."""
    ends = np.array([0, -1])
    size = np.abs(values).max()
    return np.asarray(
        residuals[ends] <= tol * np.maximum(np.abs(values[ends]), SMALL_EIGENVALUE * size)
    )


def _check_memory(n_models: int, n_steps: int, p: int) -> None:
    each = 8 * p * n_models
    if n_steps * each > MAX_BASIS_BYTES:
        raise ValueError(
            f"{n_steps} Lanczos vectors of {p:,} parameters"
            f"{f' for {n_models} models' if n_models > 1 else ''} take "
            f"{n_steps * each / 2**30:.1f} GiB, more than {MAX_BASIS_BYTES / 2**30:.0f} GiB. Ask "
            f"for at most {MAX_BASIS_BYTES // each} steps (max_products or n_steps), or use "
            "sharpness or loss_slice, which keep none."
        )
