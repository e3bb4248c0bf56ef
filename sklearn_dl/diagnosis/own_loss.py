"""The loss an estimator minimises: what it, and everybody it is compared with, is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sklearn_dl.diagnosis.row_losses import (
    AbsoluteError,
    HuberError,
    LabelLogLoss,
    LogLoss,
    PinballError,
    PoissonDeviance,
    RowLoss,
    SquaredError,
)
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.diagnosis.table import Table

__all__ = ["Aim", "find_aim", "row_loss", "says_several"]

Floats = NDArray[np.float64]
AimKind = Literal["log", "labels", "squared", "absolute", "huber", "pinball", "poisson"]

_NAMES: dict[str, AimKind] = {
    "mse": "squared",
    "squared_error": "squared",
    "friedman_mse": "squared",
    "mae": "absolute",
    "absolute_error": "absolute",
    "huber": "huber",
    "pinball": "pinball",
    "quantile": "pinball",
    "poisson": "poisson",
}
_CLASSES: dict[str, AimKind] = {
    "QuantileRegressor": "pinball",
    "HuberRegressor": "huber",
    "PoissonRegressor": "poisson",
}


_UNWEIGHED = "class_weight is not part of the log loss of labels that is judged"


@dataclass(frozen=True)
class Aim:
    """What is minimised.

    Attributes
    ----------
    kind : str
        Log loss of classes or of labels, squared, absolute, Huber's or pinball error, Poisson
        deviance.
    quantile : float or tuple of float
        Of the pinball error.
    note : str or None
        Said where it is not the estimator's own.
    """

    kind: AimKind
    quantile: float | tuple[float, ...] = 0.5
    note: str | None = None


def find_aim(subject: Subject, y: NDArray[Any]) -> Aim:
    """The estimator's own loss where the ledger can use it, else log loss or squared error.

    Raises
    ------
    ValueError
        Several outputs and another loss than the squared error.
    """
    own = subject.setting("loss", subject.setting("criterion"))
    if subject.task == "classification" and y.ndim == 2:
        weighs = subject.setting("class_weight") is not None
        return Aim("labels", note=_UNWEIGHED if weighs else None)
    if subject.task == "classification":
        if own == "mse":
            return Aim("log", note="squared error on classes is no likelihood: judged by log loss")
        if subject.is_network and callable(own):
            return Aim("log", note="a loss given as a function: judged by log loss")
        return Aim("log")
    kind = _CLASSES.get(type(subject.core).__name__)
    if kind is None and callable(own):
        return Aim("squared", note="a loss given as a function: judged by squared error")
    kind = kind or (_NAMES.get(own) if isinstance(own, str) else "squared")
    if kind is None:
        return Aim("squared", note=f"judged by squared error, not by its own loss {own!r}")
    if y.ndim == 2 and kind != "squared":
        raise ValueError(
            f"y has {y.shape[1]} columns, of which together only squared error can be judged, and "
            f"the estimator minimises {own!r}. Diagnose one at a time, for example y[:, 0]."
        )
    if kind == "poisson" and not (y >= 0).all():
        return Aim("squared", note="y has negative values: judged by squared error")
    level = subject.setting("quantile", subject.setting("alpha") if own == "quantile" else None)
    if kind != "pinball" or level is None:
        return Aim(kind)
    levels = tuple(float(q) for q in np.ravel(level))
    return Aim(kind, levels if len(levels) > 1 else levels[0])


def says_several(subject: Subject, y: NDArray[Any]) -> bool:
    """Whether a row has several labels, outputs or quantiles."""
    return y.ndim == 2 or isinstance(find_aim(subject, y).quantile, tuple)


def row_loss(aim: Aim, table: Table) -> RowLoss:
    """The loss in units of that of the best constant."""
    if aim.kind == "log":
        return LogLoss()
    if aim.kind == "labels":
        return LabelLogLoss()
    y, w = np.asarray(table.y, dtype=np.float64), table.loss_weight
    if y.ndim == 2:
        spread = np.average(np.square(y - np.average(y, axis=0, weights=w)), axis=0, weights=w)
        # an output that is constant has no unit of its own
        return SquaredError(tuple(float(v) or 1.0 for v in spread))
    mean = float(np.average(y, weights=w))
    variance = float(np.average(np.square(y - mean), weights=w))
    if aim.kind == "squared":
        return SquaredError(variance)

    def of_constant(loss: RowLoss, constant: float | Floats) -> float:
        # Some constants are perfect on the weighted rows; then the loss stays in the user's units.
        said = np.broadcast_to(constant, (len(y), *np.shape(constant)))
        return float(np.average(loss.of(said, y), weights=w)) or 1.0

    if aim.kind == "huber":
        deviation = variance**0.5
        return HuberError(deviation, of_constant(HuberError(deviation, 1.0), mean))
    if aim.kind == "poisson":
        return PoissonDeviance(mean, of_constant(PoissonDeviance(mean, 1.0), mean))
    if aim.kind == "absolute":
        return AbsoluteError(of_constant(AbsoluteError(1.0), _quantile(y, w, 0.5)))
    if isinstance(aim.quantile, tuple):
        own = np.array([_quantile(y, w, q) for q in aim.quantile])
        listed = ", ".join(f"{q:g}" for q in aim.quantile)
        name = f"pinball error (mean of {listed}) / that of the quantiles"
    else:
        own = np.asarray(_quantile(y, w, aim.quantile))
        name = f"pinball error ({aim.quantile:g}) / that of the quantile"
    return PinballError(aim.quantile, of_constant(PinballError(aim.quantile, 1.0), own), name)


def _quantile(y: Floats, w: Floats, q: float) -> float:
    order = np.argsort(y)
    share = np.cumsum(w[order]) / w.sum()
    return float(y[order][min(int(np.searchsorted(share, q)), len(y) - 1)])
