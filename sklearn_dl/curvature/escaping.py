"""How does a model get away from a saddle: by a Hessian step, noise, momentum, or not at all?"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sklearn_dl.curvature.critical import CriticalPoint, best_drop
from sklearn_dl.curvature.hessian import HessianOperator
from sklearn_dl.curvature.objective import Objective
from sklearn_dl.curvature.spectrum import extremes_of
from sklearn_dl.curvature.studied import MAX_ROWS, core_estimator, objective_of
from sklearn_dl.fitting import new_seed, plain_module

__all__ = ["escape", "saddle_race", "stored_as"]

#: A runner has left once it has lost this share of what the Hessian step gains.
LEFT = 0.5
#: Momentum of the third runner.
MOMENTUM = 0.9


def escape(model: Any, cp: CriticalPoint) -> Any:
    """The model after the best step along the direction of most negative curvature.

    The step is the one that gave ``cp.escape_value``; where no step lowered the loss it is zero. To
    go on training from there: ``escape(...).set_params(warm_start=True).fit(X, y)``.

    Parameters
    ----------
    model : estimator or torch.nn.Module
        The model that ``cp`` was measured on; it is not changed.
    cp : CriticalPoint

    Returns
    -------
    estimator or torch.nn.Module
        A new fitted one. The optimizer's moments are forgotten: they belong to where it stood.

    Raises
    ------
    ValueError
        ``cp`` belongs to a model with another number of parameters.
    """
    moved = copy.deepcopy(model)
    if isinstance(moved, nn.Module):
        _move(moved, cp)
        return moved
    estimator = core_estimator(moved)
    check_is_fitted(estimator)
    module = copy.deepcopy(estimator.module_)
    _move(module, cp)
    estimator._take_weights(stored_as(estimator, module))
    return moved


@torch.no_grad()
def _move(module: nn.Module, cp: CriticalPoint) -> None:
    trainable = [p for p in module.parameters() if p.requires_grad]
    n = sum(p.numel() for p in trainable)
    if n != cp.n_parameters:
        raise ValueError(
            f"the critical point has {cp.n_parameters} parameters and the model {n}: pass the "
            "model that critical_point was called with."
        )
    step = torch.as_tensor(cp.escape_step * cp.direction)
    pieces = step.split([p.numel() for p in trainable])
    for parameter, piece in zip(trainable, pieces, strict=True):
        parameter.add_(piece.view(parameter.shape).to(parameter))


def stored_as(estimator: Any, module: nn.Module) -> dict[str, NDArray[Any]]:
    """The values of ``module_`` under the names, and in the layout, that the estimator keeps.

    How stored numbers become a plain module is known to `plain_module` alone, so it is asked: it
    is given each number's own position as its value, and these show up where they go.
    """
    state = estimator._state
    sizes = [value.size for value in state.values()]
    ends = np.cumsum(sizes)
    numbered = {
        name: np.arange(end - value.size, end, dtype=np.float64).reshape(value.shape)
        for (name, value), end in zip(state.items(), ends, strict=True)
    }
    flat = np.concatenate([value.ravel().astype(np.float64) for value in state.values()])
    places = dict(plain_module(estimator._network, numbered).named_parameters())
    for name, parameter in module.named_parameters():
        position = places[name].detach().double().numpy().ravel().astype(np.intp)
        flat[position] = parameter.detach().double().cpu().numpy().ravel()
    pieces = np.split(flat, ends[:-1])
    return {
        name: piece.reshape(value.shape).astype(value.dtype)
        for (name, value), piece in zip(state.items(), pieces, strict=True)
    }


def saddle_race(
    model: Any,
    *data: Any,
    distance: float = 1e-3,
    n_seeds: int = 10,
    n_steps: int = 200,
    batch_size: int = 32,
    learning_rate: float | None = None,
    goal_loss: float | None = None,
    sample_weight: Any = None,
    max_rows: int = MAX_ROWS,
    random_state: Any = None,
) -> pd.DataFrame:
    """Who leaves a saddle or a bad minimum, in how many steps: gradients, noise, momentum, Hessian.

    Every runner starts at the model's weights plus a random step of length ``distance``, the same
    for all runners of a seed: from the exact saddle of y = w1 w2 x no gradient leads anywhere.

    Parameters
    ----------
    model, *data, sample_weight, max_rows, random_state
        As for `critical_point`; the weights should be those of a saddle, or of a bad minimum.
    distance : float, default=1e-3
    n_seeds, n_steps : int
        Starts, and steps at most from each.
    batch_size : int, default=32
        Of the runner with mini-batches, drawn without replacement at each step.
    learning_rate : float, optional
        By default one tenth of one over the largest curvature at the start.
    goal_loss : float, optional
        Loss at which a runner has left. From a saddle the default is half of what the best step
        along v_min gains; around a minimum that step may gain nothing, and it must be given.

    Returns
    -------
    DataFrame
        A row a runner and seed: ``runner`` ("full batch", "mini-batch", "momentum" 0.9 on full
        batches, "hessian step": one searched step along v_min, then full batches), ``seed``,
        ``left`` (whether its loss reached the goal), ``steps`` until it had (NaN where not) and the
        last ``loss``.

    Raises
    ------
    ValueError
        There is nothing to leave: no step along v_min lowers the loss.
    """
    if not distance > 0 or min(n_seeds, n_steps, batch_size) < 1:
        raise ValueError(
            "need distance > 0 and n_seeds, n_steps and batch_size of at least 1; got "
            f"{distance!r}, {n_seeds!r}, {n_steps!r}, {batch_size!r}."
        )
    if learning_rate is not None and not 0 < learning_rate < np.inf:
        raise ValueError(f"learning_rate must be positive and finite, got {learning_rate!r}.")
    objective = objective_of(
        model, data, sample_weight=sample_weight, max_rows=max_rows, random_state=random_state
    )
    rng = np.random.default_rng(new_seed(random_state))
    seed = int(rng.integers(2**31 - 1))
    ends, _ = extremes_of(HessianOperator(objective), tol=1e-3, max_products=100, seed=seed)
    v_min = torch.as_tensor(ends.vector_min).to(objective.weights)
    gain = best_drop(objective, v_min, both_ways=True)[0]
    if gain <= 0 and goal_loss is None:
        raise ValueError(
            "there is nothing to leave: no step along the direction of least curvature "
            f"({ends.eigenvalue_min:.3g}) lowers the loss. Start the race at a saddle point, or "
            "give the goal_loss beyond a minimum."
        )
    size = max(abs(ends.eigenvalue_min), abs(ends.eigenvalue_max))
    if learning_rate is None and size == 0:
        raise ValueError(
            "the loss has no curvature here, from which the learning_rate would be chosen: give it."
        )
    rate = 0.1 / size if learning_rate is None else learning_rate
    goal = objective.value() - LEFT * gain if goal_loss is None else goal_loss
    runners: dict[str, dict[str, Any]] = {
        "full batch": {},
        "mini-batch": {"batch_size": batch_size},
        "momentum": {"momentum": MOMENTUM},
        "hessian step": {"v_min": v_min},
    }
    records = []
    for seed in range(n_seeds):
        away = torch.as_tensor(rng.standard_normal(objective.n_parameters)).to(v_min)
        start = objective.weights + distance * away / away.norm()
        for runner, options in runners.items():
            steps, loss = _run(objective, start, goal, rate, n_steps, rng, **options)
            records.append((runner, seed, bool(np.isfinite(steps)), steps, loss))
    return pd.DataFrame(records, columns=["runner", "seed", "left", "steps", "loss"])


def _run(
    objective: Objective,
    weights: Tensor,
    goal: float,
    rate: float,
    n_steps: int,
    rng: np.random.Generator,
    *,
    batch_size: int | None = None,
    momentum: float = 0.0,
    v_min: Tensor | None = None,
) -> tuple[float, float]:
    """Steps until the loss is at the goal (NaN: never), and the loss then."""
    velocity = torch.zeros_like(weights)
    n = len(objective)
    for step in range(1, n_steps + 1):
        if v_min is not None and step == 1:
            from_here = replace(objective, weights=weights)
            weights = weights + best_drop(from_here, v_min, both_ways=True)[1] * v_min
        else:
            part = objective
            if batch_size is not None and batch_size < n:
                part = objective.at(rng.choice(n, batch_size, replace=False))
            velocity = momentum * velocity - rate * part.gradient(weights)
            weights = weights + velocity
        loss = objective.value(weights)
        if not loss > goal:  # non-finite: it left, upwards
            return (float(step), loss) if np.isfinite(loss) else (np.nan, loss)
    return np.nan, loss
