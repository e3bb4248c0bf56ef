"""The loss of each row, the common currency in which all models are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["LogLoss", "RowLoss", "SquaredError"]

Floats = NDArray[np.float64]

# METHODS 2.0: all models alike, so that one impossible event costs 13.8 nats and not infinity.
PROBABILITY_FLOOR = 1e-6


class RowLoss(Protocol):
    """What the ledger needs of a loss."""

    @property
    def name(self) -> str:
        """As printed, with its unit."""

    def __call__(self, fitted: Any, X: Any, y: Any) -> Floats:
        """Losses of shape (n,) of a fitted model; NaN where its prediction is not finite."""


@dataclass(frozen=True)
class LogLoss:
    """``-log p(y)`` in nats, probabilities floored at 1e-6; classes a fold never saw have p = 0."""

    name: str = "log loss (nats)"

    def __call__(self, fitted: Any, X: Any, y: Any) -> Floats:
        """Losses of shape (n,)."""
        p = np.asarray(fitted.predict_proba(X), dtype=np.float64)
        column = {label: k for k, label in enumerate(fitted.classes_.tolist())}
        known = np.array([column.get(label, -1) for label in np.asarray(y).tolist()])
        hit = np.where(known >= 0, p[np.arange(len(p)), known], 0.0)
        losses = -np.log(np.maximum(hit, PROBABILITY_FLOOR))
        losses[~np.isfinite(p).all(axis=1)] = np.nan
        return losses


@dataclass(frozen=True)
class SquaredError:
    """``(f - y)^2 / Var(y)``: 1 is the loss of the mean, and 1 - loss is about R2."""

    variance: float
    name: str = "squared error / Var(y)"

    def __call__(self, fitted: Any, X: Any, y: Any) -> Floats:
        """Losses of shape (n,)."""
        prediction = np.asarray(fitted.predict(X), dtype=np.float64).reshape(len(y), -1)[:, 0]
        residual = prediction - np.asarray(y, dtype=np.float64)
        with np.errstate(over="ignore"):
            losses: Floats = np.square(residual) / self.variance
        losses[~np.isfinite(losses)] = np.nan
        return losses
