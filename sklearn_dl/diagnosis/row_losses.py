"""The loss of each row, the common currency in which all models are compared.

Errors of numbers are divided by those of the best constant, so that 1 is the loss of a model that
knows nothing, whatever the unit of the target.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sklearn_dl.losses import PROBABILITY_FLOOR

__all__ = [
    "AbsoluteError",
    "HuberError",
    "LabelLogLoss",
    "LogLoss",
    "PinballError",
    "PoissonDeviance",
    "RowLoss",
    "SquaredError",
]

Floats = NDArray[np.float64]


class RowLoss(Protocol):
    """What the ledger needs of a loss."""

    @property
    def name(self) -> str:
        """As printed, with its unit."""

    @property
    def of_classes(self) -> bool:
        """Whether outputs are probabilities of classes."""

    def output(self, fitted: Any, X: Any) -> Floats:
        """What a fitted model says of n rows: probabilities (n, k) or numbers (n,)."""

    def of(self, output: Floats, y: Any, classes: Any = None) -> Floats:
        """Losses of shape (n,) of such an output; NaN where it is not finite."""

    def __call__(self, fitted: Any, X: Any, y: Any) -> Floats:
        """Losses of shape (n,) of a fitted model."""


@dataclass(frozen=True)
class LogLoss:
    """``-log p(y)`` in nats, probabilities floored at 1e-6; classes a fold never saw have p = 0."""

    name: str = "log loss (nats)"
    of_classes: ClassVar[bool] = True

    def output(self, fitted: Any, X: Any) -> Floats:
        """Probabilities of shape (n, k), in the order of ``fitted.classes_``."""
        return np.asarray(fitted.predict_proba(X), dtype=np.float64)

    def of(self, output: Floats, y: Any, classes: Any = None) -> Floats:
        """Losses of shape (n,)."""
        hit = hits(output, y, classes)
        losses: Floats = -np.log(np.maximum(hit, PROBABILITY_FLOOR))
        losses[~np.isfinite(output).all(axis=1)] = np.nan
        return losses

    def __call__(self, fitted: Any, X: Any, y: Any) -> Floats:
        """Losses of shape (n,)."""
        return self.of(self.output(fitted, X), y, fitted.classes_)


def hits(p: Floats, y: Any, classes: Any) -> Floats:
    """Probability of each row's own class, 0 where the model does not know it."""
    column = {label: k for k, label in enumerate(np.asarray(classes).tolist())}
    known = np.array([column.get(label, -1) for label in np.asarray(y).tolist()], dtype=np.int64)
    hit: Floats = np.where(known >= 0, p[np.arange(len(p)), known], 0.0)
    return hit


@dataclass(frozen=True)
class LabelLogLoss:
    """Mean over labels of ``-log p(y_l)`` in nats, probabilities floored as in `LogLoss`."""

    name: str = "log loss of a label (nats)"
    of_classes: ClassVar[bool] = True

    def output(self, fitted: Any, X: Any) -> Floats:
        """Probability of each label, (n, n_labels)."""
        p = fitted.predict_proba(X)
        if not isinstance(p, list):
            return np.asarray(p, dtype=np.float64)
        # scikit-learn's own multi-output: an array a label, with the values that the label had
        columns = [
            own[:, list(values).index(1)] if 1 in values else np.zeros(len(own))
            for own, values in zip(p, fitted.classes_, strict=True)
        ]
        return np.asarray(np.stack(columns, axis=1), dtype=np.float64)

    def of(self, output: Floats, y: Any, classes: Any = None) -> Floats:
        """Losses of shape (n,)."""
        hit = np.where(np.asarray(y) > 0, output, 1 - output)
        losses: Floats = -np.log(np.maximum(hit, PROBABILITY_FLOOR)).mean(axis=1)
        losses[~np.isfinite(output).all(axis=1)] = np.nan
        return losses

    def __call__(self, fitted: Any, X: Any, y: Any) -> Floats:
        """Losses of shape (n,)."""
        return self.of(self.output(fitted, X), y)


class _NumberLoss(ABC):
    """A loss of the residual; subclasses say which."""

    of_classes: ClassVar[bool] = False

    def output(self, fitted: Any, X: Any) -> Floats:
        """Predictions of shape (n,), or (n, k) of several outputs or quantiles."""
        prediction = np.asarray(fitted.predict(X), dtype=np.float64)
        columns = prediction.reshape(len(prediction), -1)
        return columns[:, 0] if columns.shape[1] == 1 else columns

    def of(self, output: Floats, y: Any, classes: Any = None) -> Floats:
        """Losses of shape (n,)."""
        with np.errstate(over="ignore", invalid="ignore"):
            losses = self._error(output, np.asarray(y, dtype=np.float64))
        losses[~np.isfinite(losses)] = np.nan
        return losses

    def __call__(self, fitted: Any, X: Any, y: Any) -> Floats:
        """Losses of shape (n,)."""
        return self.of(self.output(fitted, X), y)

    @abstractmethod
    def _error(self, prediction: Floats, y: Floats) -> Floats:
        """Losses of shape (n,), not yet checked to be finite."""


@dataclass(frozen=True)
class SquaredError(_NumberLoss):
    """``(f - y)^2 / Var(y)``: 1 is the loss of the mean, and 1 - loss is about R2.

    Of several outputs the mean, each over its own variance.
    """

    variance: float | tuple[float, ...]
    name: str = "squared error / Var(y)"

    def _error(self, prediction: Floats, y: Floats) -> Floats:
        errors = np.square(prediction - y) / np.asarray(self.variance)
        return errors if errors.ndim == 1 else np.asarray(errors.mean(axis=1))


@dataclass(frozen=True)
class AbsoluteError(_NumberLoss):
    """``|f - y| / scale``, the scale being that of the median."""

    scale: float
    name: str = "absolute error / that of the median"

    def _error(self, prediction: Floats, y: Floats) -> Floats:
        return np.abs(prediction - y) / self.scale


@dataclass(frozen=True)
class PinballError(_NumberLoss):
    """``max(q r, (q - 1) r) / scale``, ``r = y - f`` (Koenker and Bassett 1978).

    Of several quantiles the mean.
    """

    quantile: float | tuple[float, ...]
    scale: float
    name: str = "pinball error / that of the quantile"

    def _error(self, prediction: Floats, y: Floats) -> Floats:
        q = np.asarray(self.quantile)
        r = (y if q.ndim == 0 else y[:, None]) - prediction
        errors = np.maximum(q * r, (q - 1) * r) / self.scale
        return errors if q.ndim == 0 else np.asarray(errors.mean(axis=1))


@dataclass(frozen=True)
class HuberError(_NumberLoss):
    """Huber's (1964) loss of the residual over ``delta``, divided by that of the mean."""

    delta: float
    scale: float
    name: str = "Huber error / that of the mean"

    def _error(self, prediction: Floats, y: Floats) -> Floats:
        r = np.abs(prediction - y) / self.delta
        return np.where(r < 1, 0.5 * np.square(np.minimum(r, 1)), r - 0.5) / self.scale


@dataclass(frozen=True)
class PoissonDeviance(_NumberLoss):
    """``2 (y log(y / f) - y + f) / scale``; predictions are floored at a millionth of the mean."""

    mean: float
    scale: float
    name: str = "Poisson deviance / that of the mean"

    def _error(self, prediction: Floats, y: Floats) -> Floats:
        f = np.where(np.isfinite(prediction), np.maximum(prediction, 1e-6 * self.mean), prediction)
        log_ratio = np.log(np.where(y > 0, y, 1.0) / f)
        return 2 * (np.where(y > 0, y * log_ratio, 0.0) - y + f) / self.scale
