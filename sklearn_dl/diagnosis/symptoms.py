"""Why training did not find good weights: what the history, one pass and going on say.

Looked at only where the training loss is large. History costs nothing; activations, the gradient
of each layer and the sharpness cost passes over the rows of one fold; going on from the weights
with a tenth, the same and three times the rate costs part of a fit. None of it decides the verdict
(that is what the strong optimizer is for); it names the cause behind it.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklearn_dl.curvature.objective import Objective
from sklearn_dl.curvature.spectrum import hessian_extremes
from sklearn_dl.curvature.studied import objective_of
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.diagnosis.table import Table
from sklearn_dl.training import DivergenceError

__all__ = [
    "CONTINUED",
    "Symptoms",
    "loss_rises",
    "network_inside",
    "stability_limit",
    "symptoms_of",
]

Floats = NDArray[np.float64]

CONTINUED = (0.1, 1.0, 3.0)  # times the rate
LONGER = 0.2  # of the epochs, at least 5 and at most 50
SATURATED = 0.01  # of the largest slope of the activation
ON_ROWS = 0.9  # on this share of the rows
STOPPED = 0.01  # of its highest value: a rate that hardly moves the weights any more
MAX_PARAMETERS = 20_000  # the sharpness of more is left to the thorough budget
MAX_ROWS = 1000  # activations, gradients and sharpness are means


@dataclass(frozen=True)
class Symptoms:
    """Numbers of one fitted network; NaN where a question does not apply.

    Attributes
    ----------
    first_loss : float
        Training loss of the first epoch over that of the prior.
    rises : float
        Sum of the rises of the training loss over its whole fall, in the last half of training.
    gradient_left : float
        Gradient norm of the last epoch over that of the first.
    dead, saturated : float
        Share of hidden units that are zero on every row, or whose slope is below a hundredth of
        its maximum on nine rows of ten.
    layer_ratio : float
        Largest over smallest root mean squared gradient of the weight matrices.
    sharpness : float
        Largest eigenvalue of the Hessian times the learning rate, over the stability limit.
    continued : dict of float to float
        Factor on the rate -> relative fall of the training loss by going on.
    n_rows, n_fits : int
        Rows looked at; fits that going on is worth, rounded up.
    clipped : float
        Median norm of the gradient over the norm it is cut to, for an optimizer whose steps grow
        with the gradient (those of the adaptive ones do not).
    decayed : float
        Share of the epochs at less than a hundredth of the highest learning rate.
    """

    first_loss: float
    rises: float
    gradient_left: float
    dead: float
    saturated: float
    layer_ratio: float
    sharpness: float
    continued: dict[float, float]
    n_rows: int
    n_fits: int
    clipped: float = math.nan
    decayed: float = math.nan


def symptoms_of(
    subject: Subject, fitted: Any, table: Table, prior_loss: float, *, go_on: bool = True
) -> Symptoms | None:
    """Examine a fitted network on the rows it learnt; None where there is none of ours.

    ``go_on``: whether to train on from its weights, which costs most of a fit.
    """
    inside = network_inside(fitted, table) if subject.is_network and fitted is not None else None
    if inside is None:
        return None
    core, X, y = inside
    history = core._history
    losses = np.asarray(history["train_loss"], dtype=np.float64)
    norms = np.asarray(history["gradient_norm"], dtype=np.float64)
    objective = _objective(core, X, y, table.fit_weight)
    dead = saturated = ratio = sharp = math.nan
    if objective is not None:
        dead, saturated = _units(objective)
        ratio = _layer_ratio(objective)
        sharp = _sharpness(core, X, y, objective)
    return Symptoms(
        _first_loss(core, losses, prior_loss),
        loss_rises(losses),
        float(norms[-1] / norms[0]) if len(norms) > 1 and norms[0] > 0 else math.nan,
        dead,
        saturated,
        ratio,
        sharp,
        _going_on(core, X, y, table.fit_weight) if go_on else {},
        len(table),
        int(go_on),
        _clipped(core, norms),
        _decayed(np.asarray(history["learning_rate"], dtype=np.float64)),
    )


def network_inside(fitted: Any, table: Table) -> tuple[Any, Any, Any] | None:
    """The network with the inputs and targets that reach it."""
    X, y = table.X, table.y
    while not hasattr(fitted, "module_"):
        if hasattr(fitted, "steps"):
            X = fitted[:-1].transform(X) if len(fitted.steps) > 1 else X
            fitted = fitted.steps[-1][1]
        elif hasattr(fitted, "regressor_"):
            columns = np.asarray(y, dtype=np.float64)
            changed = fitted.transformer_.transform(columns.reshape(len(columns), -1))
            y = changed.ravel() if columns.ndim == 1 else changed
            fitted = fitted.regressor_
        else:
            return None
    return fitted, X, y


def _objective(core: Any, X: Any, y: Any, weight: Floats | None) -> Objective | None:
    """The training loss as a function of the weights; None where it has no curvature."""
    try:
        return objective_of(core, (X, y), sample_weight=weight, max_rows=MAX_ROWS, random_state=0)
    except ValueError:  # a loss without second derivative, weights that are not finite
        return None


def _first_loss(core: Any, losses: Floats, prior_loss: float) -> float:
    """Only where what is minimised has the units of the ledger."""
    loss = getattr(core, "loss", None)
    if not len(losses) or loss not in ("cross_entropy", "mse") or not prior_loss > 0:
        return math.nan
    if loss == "mse" and hasattr(core, "classes_"):
        return math.nan
    return float(losses[0]) / prior_loss


def _clipped(core: Any, norms: Floats) -> float:
    limit = core.max_grad_norm
    if core.optimizer != "sgd" or limit is None or not len(norms):
        return math.nan
    return float(np.median(norms)) / float(limit)


def _decayed(rates: Floats) -> float:
    return float((rates < STOPPED * rates.max()).mean()) if len(rates) else math.nan


def loss_rises(losses: Floats) -> float:
    """Sum of the rises in the last half of training over the fall from the first to the lowest."""
    if len(losses) < 6 or not np.isfinite(losses).all():
        return math.nan
    steps = np.diff(losses[len(losses) // 2 :])
    fall = float(losses[0] - losses.min())
    return float(steps[steps > 0].sum()) / fall if fall > 0 else math.inf


def _units(objective: Objective) -> tuple[float, float]:
    """Shares of dead and of saturated hidden units."""
    counts = {"dead": 0, "flat": 0, "zeroing": 0, "bending": 0}

    def look(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        out = output.flatten(0, -2) if output.ndim > 1 else output.unsqueeze(0)
        if isinstance(layer, nn.ReLU):
            counts["dead"] += int((out == 0).all(0).sum())
            counts["zeroing"] += out.shape[-1]
        else:
            slope = 4 * out * (1 - out) if isinstance(layer, nn.Sigmoid) else 1 - out.square()
            counts["flat"] += int(((slope < SATURATED).double().mean(0) > ON_ROWS).sum())
            counts["bending"] += out.shape[-1]

    layers = [
        m for m in objective.module.modules() if isinstance(m, nn.ReLU | nn.Sigmoid | nn.Tanh)
    ]
    hooks = [layer.register_forward_hook(look) for layer in layers]
    try:
        with torch.no_grad():
            objective.outputs(objective.weights)
    finally:
        for hook in hooks:
            hook.remove()
    dead = counts["dead"] / counts["zeroing"] if counts["zeroing"] else math.nan
    flat = counts["flat"] / counts["bending"] if counts["bending"] else math.nan
    return dead, flat


def _layer_ratio(objective: Objective) -> float:
    """Largest over smallest RMS gradient of the matrices."""
    parts = objective.parts(objective.gradient())
    sizes = [float(g.square().mean().sqrt()) for g in parts.values() if g.ndim > 1]
    if len(sizes) < 2 or max(sizes) == 0:
        return math.nan
    return max(sizes) / max(min(sizes), 1e-300)


def stability_limit(optimizer: Any, momentum: float | None) -> float:
    """Largest ``rate x eigenvalue`` at which a quadratic still falls; NaN where none is known.

    Gradient descent 2, heavy ball ``2 (1 + momentum)``. The adaptive optimizers are stable up to
    a limit on their *preconditioned* sharpness (Cohen et al. 2022), which this is not.
    """
    if optimizer != "sgd":
        return math.nan
    return 2 * (1 + (0.9 if momentum is None else float(momentum)))


def _sharpness(core: Any, X: Any, y: Any, objective: Objective) -> float:
    """Rate times the largest eigenvalue, over the limit."""
    limit = stability_limit(core.optimizer, core.momentum)
    if math.isnan(limit) or objective.n_parameters > MAX_PARAMETERS:
        return math.nan
    try:
        top = hessian_extremes(
            core, X, y, tol=1e-2, max_products=20, max_rows=MAX_ROWS, random_state=0
        ).eigenvalue_max
    except ValueError:
        return math.nan
    return float(core.learning_rate) * top / limit


def _going_on(core: Any, X: Any, y: Any, weight: Floats | None) -> dict[float, float]:
    """Relative fall of the training loss, in evaluation mode, by the factor on the rate."""
    before = _objective(core, X, y, weight)
    if before is None:
        return {}
    start = before.value()
    epochs = max(5, min(50, round(LONGER * core.n_iter_)))
    falls = {}
    for factor in CONTINUED:
        longer = copy.deepcopy(core)
        longer.set_params(
            warm_start=True, early_stopping=False, schedule=None, warmup=0.0, max_epochs=epochs,
            learning_rate=factor * core.learning_rate,
        )  # fmt: skip
        try:
            longer.fit(X, y, sample_weight=weight)
            after = _objective(longer, X, y, weight)
            end = math.inf if after is None else after.value()
        except DivergenceError:
            end = math.inf
        falls[factor] = (start - end) / start if start > 0 and math.isfinite(end) else -math.inf
    return falls
