"""How flat or sharp is the loss around the weights? A description, not evidence of overfitting.

Raw eigenvalues and balls change under rescalings that leave the network's function alone (Dinh et
al. 2017), and adaptive sharpness does not reliably correlate with generalisation (Andriushchenko et
al. 2023): compare models of one architecture only, over several seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklearn_dl.curvature.hessian import HessianOperator
from sklearn_dl.curvature.objective import Objective
from sklearn_dl.curvature.spectrum import extremes_of
from sklearn_dl.curvature.studied import MAX_ROWS, objective_of
from sklearn_dl.fitting import new_seed

__all__ = ["LossSlice", "Sharpness", "loss_slice", "sharpness"]

#: What a reader of these numbers must know.
CAVEAT = (
    "sharpness describes one parametrisation of one architecture; it is no measure of "
    "generalisation (Dinh et al. 2017; Andriushchenko et al. 2023)"
)


@dataclass(frozen=True)
class Sharpness:
    """How much the loss rises near the weights.

    Attributes
    ----------
    loss : float
        At the weights.
    sam : float
        ``max L(w + d) - L(w)`` over ``|d| <= rho`` (Foret et al. 2021, eq. 1).
    adaptive_sam : float
        The same over ``|d / |w|| <= rho``, which rescaling of layers leaves alone (Kwon et al.
        2021, eq. 3).
    average_adaptive, average_stderr : float
        Mean rise for ``d ~ N(0, rho^2 w^2)``, and its standard error over the draws.
    rho : float
    n_draws, n_rows : int
    caveat : str

    Notes
    -----
    The maxima come from projected gradient ascent, so they are lower bounds.
    """

    loss: float
    sam: float
    adaptive_sam: float
    average_adaptive: float
    average_stderr: float
    rho: float
    n_draws: int
    n_rows: int
    caveat: str = field(default=CAVEAT, repr=False)


def sharpness(
    model: Any,
    *data: Any,
    rho: float = 0.05,
    n_steps: int = 20,
    n_draws: int = 20,
    sample_weight: Any = None,
    penalty: bool | float = False,
    max_rows: int = MAX_ROWS,
    random_state: Any = None,
) -> Sharpness:
    """Worst and average rise of the loss near the weights, in plain and in adaptive units.

    Parameters
    ----------
    model, *data, sample_weight, penalty, max_rows, random_state
        As for `hessian_extremes`; losses without curvature are welcome.
    rho : float, default=0.05
        Radius; for the adaptive ones relative to each weight.
    n_steps : int, default=20
        Steps of the ascent.
    n_draws : int, default=20
        Random perturbations of the average.
    """
    if not rho > 0 or n_steps < 1 or n_draws < 2:
        raise ValueError(
            f"need rho > 0, n_steps >= 1 and n_draws >= 2; got {rho!r}, {n_steps!r}, {n_draws!r}."
        )
    objective = objective_of(
        model, data, sample_weight, penalty, max_rows, random_state, curved=False
    )
    rng = np.random.default_rng(new_seed(random_state))
    size = objective.weights.abs()
    start = _normal(rng, objective)
    loss = objective.value()
    rises = []
    for _ in range(n_draws):
        d = rho * size * _normal(rng, objective)
        rises.append(objective.value(objective.weights + d) - loss)
    return Sharpness(
        loss=loss,
        sam=_worst_rise(objective, torch.ones_like(size), rho, start, n_steps),
        adaptive_sam=_worst_rise(objective, size, rho, start, n_steps),
        average_adaptive=float(np.mean(rises)),
        average_stderr=float(np.std(rises, ddof=1) / np.sqrt(n_draws)),
        rho=rho,
        n_draws=n_draws,
        n_rows=len(objective),
    )


def _normal(rng: np.random.Generator, objective: Objective) -> Tensor:
    draws = torch.as_tensor(rng.standard_normal(objective.n_parameters))
    return draws.to(objective.weights)


def _worst_rise(
    objective: Objective, scale: Tensor, rho: float, start: Tensor, n_steps: int
) -> float:
    """Maximum of ``L(w + scale * e) - L(w)`` over ``|e| <= rho``, found from below.

    Each step goes to the point of the sphere that the gradient points to (Frank and Wolfe 1956),
    which is the power method where the loss is quadratic. It starts at the gradient, as SAM does,
    and, since at a critical point that says little, at a random point too.
    """
    w, base = objective.weights, objective.value()
    best = 0.0
    for e in (scale * objective.gradient(), scale * start):
        for _ in range(n_steps):
            length = float(e.norm())
            if length == 0 or not np.isfinite(length):
                break
            point = w + scale * (rho / length) * e
            value = objective.value(point)
            if not np.isfinite(value):
                return float("inf")
            best = max(best, value - base)
            e = scale * objective.gradient(point)
    return best


@dataclass(frozen=True)
class LossSlice:
    """The loss on a line or plane through the weights.

    Attributes
    ----------
    steps : ndarray of shape (n_points,)
        Lengths along each direction, zero in the middle.
    losses : ndarray of shape (n_points,) or (n_points, n_points)
        First axis: along the first direction.
    taylor : ndarray, same shape
        ``L + g'd + d'Hd / 2``: what the second derivatives predict.
    directions : ndarray of shape (1 or 2, n_parameters)
    names : tuple of str
        What the directions are.
    loss : float
        At the weights.
    """

    steps: NDArray[np.float64]
    losses: NDArray[np.float64]
    taylor: NDArray[np.float64]
    directions: NDArray[np.float64] = field(repr=False)
    names: tuple[str, ...]
    loss: float


def loss_slice(
    model: Any,
    *data: Any,
    directions: Any = "random",
    n_directions: int = 1,
    span: float = 1.0,
    n_points: int = 41,
    sample_weight: Any = None,
    penalty: bool | float = False,
    max_rows: int = MAX_ROWS,
    random_state: Any = None,
) -> LossSlice:
    """The loss along one direction or over two, with its second-order Taylor model.

    Random directions are filter-normalised: each unit's weights in the direction are as long as
    the unit's own, and biases and other vectors stay as they are (Li et al. 2018, Visualizing the
    Loss Landscape of Neural Nets, section 4).

    Parameters
    ----------
    model, *data, sample_weight, penalty, max_rows, random_state
        As for `hessian_extremes`.
    directions : {"random", "hessian"} or array of shape (n_directions, n_parameters)
        "hessian": v_min, and v_max as the second. Given arrays are used as they are.
    n_directions : {1, 2}, default=1
    span : float, default=1
        The slice goes from ``-span`` to ``span``; random directions are as long as the weights,
        Hessian ones have length 1.
    n_points : int, default=41
        Points along each direction.
    """
    if n_directions not in (1, 2) or n_points < 3 or not span > 0:
        raise ValueError(
            "need n_directions 1 or 2, n_points >= 3 and span > 0; got "
            f"{n_directions!r}, {n_points!r}, {span!r}."
        )
    objective = objective_of(model, data, sample_weight, penalty, max_rows, random_state)
    operator = HessianOperator(objective)
    rng = np.random.default_rng(new_seed(random_state))
    rays, names = _directions(operator, directions, n_directions, rng)
    steps = np.linspace(-span, span, n_points | 1)  # an odd number has its middle at zero
    grid = np.stack(np.meshgrid(*[steps] * len(rays), indexing="ij"), axis=-1)
    basis = torch.as_tensor(rays).to(objective.weights)
    coordinates = torch.as_tensor(grid.reshape(-1, len(rays))).to(objective.weights)
    losses = np.array([objective.value(objective.weights + c @ basis) for c in coordinates])
    slope = rays @ operator.gradient.cpu().numpy()
    bend = np.array([rays @ operator.matvec(ray) for ray in rays])
    loss = objective.value()
    taylor = loss + grid @ slope + 0.5 * np.einsum("...i,ij,...j->...", grid, bend, grid)
    return LossSlice(steps, losses.reshape(grid.shape[:-1]), taylor, rays, names, loss)


def _directions(
    operator: HessianOperator, asked: Any, n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    objective = operator.objective
    if isinstance(asked, str):
        if asked == "hessian":
            seed = int(rng.integers(2**31 - 1))
            ends, _ = extremes_of(operator, tol=1e-3, max_products=100, seed=seed)
            both = np.stack([ends.vector_min, ends.vector_max])
            return both[:n], ("v_min", "v_max")[:n]
        if asked == "random":
            drawn = [filter_normalised(_normal(rng, objective), objective) for _ in range(n)]
            return torch.stack(drawn).cpu().numpy(), ("random 1", "random 2")[:n]
        raise ValueError(f"directions must be 'random', 'hessian' or an array, got {asked!r}.")
    rays = np.atleast_2d(np.asarray(asked, dtype=np.float64))
    if rays.shape not in ((1, objective.n_parameters), (2, objective.n_parameters)):
        raise ValueError(
            f"directions must have shape (1 or 2, {objective.n_parameters}), got {rays.shape}."
        )
    return rays, tuple(f"direction {k + 1}" for k in range(len(rays)))


def filter_normalised(direction: Tensor, objective: Objective) -> Tensor:
    """A direction whose every filter (row of a weight matrix) has the length of the weights'."""
    weights, pieces = objective.parts(objective.weights), objective.parts(direction)
    out = []
    for name, w in weights.items():
        d = pieces[name]
        if w.ndim < 2:
            out.append(torch.zeros_like(d).flatten())
            continue
        length = d.flatten(1).norm(dim=1).clamp_min(torch.finfo(d.dtype).tiny)
        factor = w.flatten(1).norm(dim=1) / length
        out.append((d.flatten(1) * factor[:, None]).flatten())
    return torch.cat(out)
