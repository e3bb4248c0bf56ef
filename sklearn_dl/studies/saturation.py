"""When does a unit that is surely wrong still learn? Losses, activations and the initial scale.

The gradient of cross-entropy at the outputs is ``p - q``; that of squared error carries the slope
of the sigmoid or softmax as a factor, which vanishes where the output is sure, right or wrong.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_dl.curvature.escaping import stored_as
from sklearn_dl.curvature.objective import Objective
from sklearn_dl.curvature.studied import objective_of
from sklearn_dl.fitting import new_seed
from sklearn_dl.losses import CLASSIFIER_LOSSES
from sklearn_dl.studies.runs import Run, Subject, initial, mean_interval, seeds_from, subject_of

__all__ = ["SaturationStudy", "gradient_by_saturation", "saturation_study"]

Floats = NDArray[np.float64]
LOSSES = ("cross_entropy", "mse")
LOGITS = tuple(float(z) for z in np.linspace(-10, 10, 81))


def gradient_by_saturation(
    logits: Sequence[float] | Floats = LOGITS,
    *,
    link: str = "softmax",
    n_classes: int = 2,
) -> pd.DataFrame:
    """Loss and size of its gradient at the outputs, from surely wrong to surely right.

    Parameters
    ----------
    logits : sequence of float
        Output of the right class; the others are 0.
    link : {"softmax", "sigmoid"}
        Sigmoid: one output for one label.
    n_classes : int, default=2
        Of the softmax.

    Returns
    -------
    DataFrame
        A row a logit: ``logit``, ``probability`` of the right class, and for each loss
        ``cross_entropy``, ``mse``, ``cross_entropy_gradient``, ``mse_gradient`` (Euclidean norm).

    Examples
    --------
    >>> from sklearn_dl.studies import gradient_by_saturation
    >>> table = gradient_by_saturation([-10.0], link="sigmoid")
    >>> table[["cross_entropy_gradient", "mse_gradient"]].round(4).to_numpy().tolist()
    [[1.0, 0.0001]]
    """
    if link not in ("softmax", "sigmoid") or n_classes < 2:
        raise ValueError(
            "link must be 'softmax' or 'sigmoid' and n_classes at least 2; got "
            f"{link!r}, {n_classes!r}."
        )
    z = torch.as_tensor(np.asarray(logits, dtype=np.float64))
    if link == "sigmoid":
        outputs, target = z[:, None], torch.ones(len(z), 1, dtype=torch.float64)
    else:
        outputs = torch.nn.functional.pad(z[:, None], (0, n_classes - 1))
        target = torch.zeros(len(z), dtype=torch.int64)
    table = {"logit": z.numpy(), "probability": _right(outputs, link).numpy()}
    gradients = {}
    for name in LOSSES:
        leaf = outputs.clone().requires_grad_()
        losses = CLASSIFIER_LOSSES[name][link == "sigmoid"](leaf, target, 0.0)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        table[name] = losses.detach().numpy()
        gradients[f"{name}_gradient"] = gradient.norm(dim=1).numpy()
    return pd.DataFrame({**table, **gradients})


def _right(outputs: torch.Tensor, link: str) -> torch.Tensor:
    return (torch.sigmoid(outputs) if link == "sigmoid" else torch.softmax(outputs, -1))[:, 0]


@dataclass(frozen=True)
class SaturationStudy:
    """Training by loss, activation and initial scale.

    Attributes
    ----------
    table : DataFrame
        A row a ``loss``, ``activation`` and ``scale``, means over seeds: ``start_gradient`` (norm
        of the gradient at the start), ``layer_ratio`` (that of the first weight matrix over that
        of the last), and the training ``accuracy`` at the end with its 95 % interval.
    curves : DataFrame
        A row a fit and epoch: training ``accuracy`` after it.
    """

    table: pd.DataFrame
    curves: pd.DataFrame


def saturation_study(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    losses: Sequence[str] = LOSSES,
    activations: Sequence[str] | None = None,
    scales: Sequence[float] = (1.0, 10.0),
    n_seeds: int = 3,
    random_state: Any = None,
) -> SaturationStudy:
    """Train the same classifier under other losses and activations, from larger initial weights.

    All trainings of a seed start from the same draw, times ``scale``: a large scale saturates the
    outputs (and sigmoid or tanh units) before training begins.

    Parameters
    ----------
    estimator : DLClassifier or Pipeline that ends in one
        Not changed. Its early stopping is set aside.
    X, y : training rows
    losses : sequence of str, default=("cross_entropy", "mse")
    activations : sequence of str, optional
        The estimator's own by default.
    scales : sequence of float, default=(1, 10)
        Factors on all initial weights.
    n_seeds : int, default=3
    random_state : int, RandomState or None

    Returns
    -------
    SaturationStudy
    """
    subject = subject_of(estimator, X, y)
    if not hasattr(subject.network, "class_weight"):
        raise TypeError("the losses are those of a classifier: pass a DLClassifier.")
    if not all(s > 0 for s in scales) or n_seeds < 1:
        raise ValueError(f"need positive scales and a seed, got {scales!r} and {n_seeds!r}.")
    own = [subject.network.activation] if activations is None else list(activations)
    seeds = seeds_from(np.random.default_rng(new_seed(random_state)), n_seeds)
    records, curves = [], []
    for activation in own:
        network = clone(subject.network).set_params(activation=activation)
        starts = initial(Subject(network, subject.X, subject.y), seeds)
        for loss, scale in product(losses, scales):
            key = {"loss": loss, "activation": activation, "scale": scale}
            record, trained = _one_cell(key, starts, subject)
            records.append(record)
            curves += trained
    return SaturationStudy(pd.DataFrame(records), pd.DataFrame(curves))


def _one_cell(
    key: dict[str, Any], starts: Sequence[Run], subject: Subject
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row of the table and its curves: one loss, activation and scale from every seed."""
    gradients, ends, curves = [], [], []
    for run in starts:
        start = _scaled(run, key["loss"], key["scale"])
        gradients.append(_gradients(objective_of(start, (subject.X, subject.y), curved=False)))
        accuracy = _accuracies(start, subject)
        ends.append(accuracy[-1])
        curves += [
            {**key, "seed": run.seed, "epoch": epoch, "accuracy": value}
            for epoch, value in enumerate(accuracy)
        ]
    gradient, ratio = np.mean(gradients, axis=0)
    mean, low, high = mean_interval(ends)
    record = {**key, "start_gradient": gradient, "layer_ratio": ratio}
    return record | {"accuracy": mean, "accuracy_low": low, "accuracy_high": high}, curves


def _scaled(run: Run, loss: str, scale: float) -> Any:
    """The initial network with all weights times a factor, ready to be trained on."""
    start = copy.deepcopy(run.fitted).set_params(loss=loss)
    module = copy.deepcopy(start.module_)
    with torch.no_grad():  # what is learnt, not the numbers that encode the columns beside it
        for weight in module.parameters():
            if weight.requires_grad:
                weight.mul_(scale)
    start._take_weights(stored_as(start, module))
    return start


def _gradients(objective: Objective) -> tuple[float, float]:
    """Norm of the gradient, and that of the first weight matrix over that of the last."""
    gradient = objective.gradient()
    matrices = [float(g.norm()) for g in objective.parts(gradient).values() if g.ndim > 1]
    last = matrices[-1] if matrices else 0.0
    return float(gradient.norm()), matrices[0] / last if last > 0 else np.nan


def _accuracies(start: Any, subject: Subject) -> list[float]:
    """Training accuracy before and after each epoch; a diverged training keeps its last."""
    trained = start.set_params(
        **{
            name: getattr(subject.network, name)
            for name in (
                "optimizer", "momentum", "weight_decay", "learning_rate", "max_epochs", "schedule",
                "warmup", "max_grad_norm",
            )
        },
        warm_start=True,
    )  # fmt: skip
    before = float(trained.score(subject.X, subject.y))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        try:
            trained.fit(subject.X, subject.y, X_val=subject.X, y_val=subject.y)
        except FloatingPointError:
            return [before, float(trained.score(subject.X, subject.y))]
    return [before, *map(float, trained.validation_scores_)]
