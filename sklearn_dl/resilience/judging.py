"""The loss and the score of each prediction, and what a model without inputs would lose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sklearn_dl.losses import PROBABILITY_FLOOR

__all__ = ["LOSSES", "Judge", "find_judge"]

Floats = NDArray[np.float64]
#: From this probability on a predicted class counts as sure.
SURE = 0.9

LOSSES = ("log", "zero_one", "squared", "absolute")


@dataclass(frozen=True)
class Judge:
    """How predictions for one set of rows are judged.

    Attributes
    ----------
    kind : {"log", "zero_one", "squared", "absolute"}
        The loss.
    y : ndarray of shape (n,)
        Targets: positions in ``classes``, or numbers.
    classes : ndarray or None
        For classes, sorted.
    prior : ndarray
        Class frequencies of the training rows, or (low, centre, high) of the training target.
    """

    kind: str
    y: NDArray[Any]
    classes: NDArray[Any] | None
    prior: Floats

    @property
    def name(self) -> str:
        """As printed."""
        return {
            "log": "log loss (nats)",
            "zero_one": "share of wrong classes",
            "squared": "squared error",
            "absolute": "absolute error",
        }[self.kind]

    def outputs(self, fitted: Any, X: Any) -> Floats:
        """Probabilities (n, n_classes) in the order of ``classes``, or numbers (n, 1)."""
        if self.classes is None:
            return np.asarray(fitted.predict(X), dtype=np.float64).reshape(-1, 1)
        own = np.asarray(fitted.classes_)
        place = np.searchsorted(self.classes, own)
        if hasattr(fitted, "predict_proba"):
            said = np.asarray(fitted.predict_proba(X), dtype=np.float64)
        else:
            said = (np.asarray(fitted.predict(X))[:, None] == own).astype(np.float64)
        p = np.zeros((len(said), len(self.classes)))
        p[:, place] = said
        return p

    def losses(self, outputs: Floats, rows: Any = slice(None)) -> Floats:
        """One loss a row."""
        y = self.y[rows]
        if self.kind == "squared":
            return np.asarray((outputs[:, 0] - y) ** 2)
        if self.kind == "absolute":
            return np.asarray(np.abs(outputs[:, 0] - y))
        if self.kind == "zero_one":
            return np.asarray(outputs.argmax(axis=1) != y, dtype=np.float64)
        return np.asarray(-np.log(np.maximum(outputs[np.arange(len(y)), y], PROBABILITY_FLOOR)))

    def prior_losses(self) -> Floats:
        """Losses of the constant that the training rows suggest, (n,)."""
        best = self.prior if self.classes is not None else self.prior[1:2]
        return self.losses(np.tile(best, (len(self.y), 1)))

    def score(self, outputs: Floats, rows: Any = slice(None)) -> float:
        """Accuracy or R2."""
        y = self.y[rows]
        if self.classes is not None:
            return float((outputs.argmax(axis=1) == y).mean())
        spread = ((y - y.mean()) ** 2).sum()
        return float(1 - ((outputs[:, 0] - y) ** 2).sum() / spread) if spread > 0 else np.nan

    def agreement(self, a: Floats, b: Floats) -> float:
        """How well two predictions of the same rows agree beyond chance; 1 where they are equal.

        Cohen's kappa (1960) of the classes, Lin's concordance (1989) of numbers.
        """
        if self.classes is None:
            x, z = a[:, 0], b[:, 0]
            spread = x.var() + z.var() + (x.mean() - z.mean()) ** 2
            return float(2 * ((x - x.mean()) * (z - z.mean())).mean() / spread) if spread else 1.0
        x, z = a.argmax(axis=1), b.argmax(axis=1)
        k = a.shape[1]
        chance = float((np.bincount(x, minlength=k) * np.bincount(z, minlength=k)).sum())
        chance /= len(x) ** 2
        same = float((x == z).mean())
        return (same - chance) / (1 - chance) if chance < 1 else 1.0

    def absurd(self, clean: Floats, noisy: Floats) -> NDArray[np.bool_]:
        """Which predictions make no sense, (n,).

        Classes: tiny noise changes the class although one of the two was given p > 0.9. Numbers:
        outside the range of the training target by more than its width.
        """
        if self.classes is None:
            low, _, high = self.prior
            width = high - low
            return np.asarray((noisy[:, 0] < low - width) | (noisy[:, 0] > high + width))
        flipped = clean.argmax(axis=1) != noisy.argmax(axis=1)
        sure = np.maximum(clean.max(axis=1), noisy.max(axis=1)) > SURE
        return np.asarray(flipped & sure)


def find_judge(task: str, kind: str, y: Any, y_train: Any, fitted: Any) -> Judge:
    """The judge for these targets.

    Raises
    ------
    ValueError
        The loss does not belong to the task, a target is missing, or the model knows none of the
        classes.
    """
    y, y_train = np.asarray(y), np.asarray(y_train)
    if y.ndim != 1 or y_train.ndim != 1:
        raise ValueError(f"y must have one value a row, got shape {y.shape}.")
    for name, values in (("y", y), ("y_train", y_train)):
        missing = int(pd.isna(values).sum())
        if missing:
            raise ValueError(f"{missing} values of {name} are missing: leave their rows out.")
    allowed = ("log", "zero_one") if task == "classification" else ("squared", "absolute")
    if kind == "auto":
        kind = allowed[0]
        if task == "classification" and not hasattr(fitted, "predict_proba"):
            kind = "zero_one"
    if kind not in allowed:
        raise ValueError(f"loss must be 'auto' or one of {allowed} for {task}, got {kind!r}.")
    if kind == "log" and not hasattr(fitted, "predict_proba"):
        raise ValueError(
            f"loss='log' needs probabilities, and {type(fitted).__name__} has no predict_proba: "
            "use loss='zero_one'."
        )
    if task == "regression":
        target = y_train.astype(np.float64)
        centre: Callable[[Floats], Any] = np.median if kind == "absolute" else np.mean
        prior = np.array([target.min(), centre(target), target.max()])
        return Judge(kind, y.astype(np.float64), None, prior)
    known = np.asarray(fitted.classes_)
    labels = y.tolist()
    if not set(labels) & set(known.tolist()):
        raise ValueError(
            f"none of the labels in y, such as {labels[0]!r}, is a class of the model: {known}."
        )
    classes = np.unique(np.concatenate([known, y, y_train]))
    counts = np.array([(y_train == c).mean() for c in classes])
    return Judge(kind, np.searchsorted(classes, y), classes, counts)
