"""How much of a held-out loss is overconfidence: what one temperature would take away.

Probabilities become ``p^(1/T) / sum p^(1/T)`` (Guo et al. 2017). T is found on the held-out rows of
the *other* folds, so the gain is itself held out. It is one at least: a network that is not sure
enough has been trained too little, and has not learnt its rows by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from sklearn_dl.diagnosis.row_losses import hits
from sklearn_dl.losses import PROBABILITY_FLOOR

__all__ = ["Predicted", "tempered_losses"]

Floats = NDArray[np.float64]

LOG_RANGE = (0.0, 3.0)  # T from 1 to 20: beyond, a net says the same of every row
Predicted = tuple[NDArray[np.int64], Floats, Any]  # rows, probabilities (n, k), classes


def tempered_losses(parts: Sequence[Predicted], y: NDArray[Any], weights: Floats) -> Floats | None:
    """Log losses by row after the temperature that the other parts call for.

    Parameters
    ----------
    parts : sequence of (rows, probabilities, classes)
        Held-out predictions, one a fold.
    y, weights : ndarray of shape (n,)
        Labels and weights of all rows.

    Returns
    -------
    ndarray of shape (n,) or None
        NaN where no part has the row; None where there are fewer than two parts.
    """
    if len(parts) < 2:
        return None
    logs = [np.log(np.maximum(p, PROBABILITY_FLOOR)) for _, p, _ in parts]
    known = [hits(np.ones_like(p), y[rows], classes) > 0 for rows, p, classes in parts]
    columns = [_columns(y[rows], classes) for rows, _, classes in parts]
    total, count = np.zeros(len(y)), np.zeros(len(y))

    def losses(k: int, log_t: float) -> Floats:
        log_p = log_softmax(logs[k] / np.exp(log_t), axis=1)
        own = log_p[np.arange(len(log_p)), columns[k]]
        own = np.where(known[k], own, np.log(PROBABILITY_FLOOR))
        floored: Floats = np.minimum(-own, -np.log(PROBABILITY_FLOOR))
        return floored

    for k, (rows, _, _) in enumerate(parts):
        others = [j for j in range(len(parts)) if j != k]

        def objective(log_t: float, others: list[int] = others) -> float:
            return float(sum(weights[parts[j][0]] @ losses(j, log_t) for j in others))

        best = minimize_scalar(objective, bounds=LOG_RANGE, method="bounded")
        np.add.at(total, rows, losses(k, float(best.x)))
        np.add.at(count, rows, 1)
    mean: Floats = np.divide(total, count, out=np.full(len(y), np.nan), where=count > 0)
    return mean


def _columns(y: NDArray[Any], classes: Any) -> NDArray[np.int64]:
    place = {label: k for k, label in enumerate(np.asarray(classes).tolist())}
    return np.array([place.get(label, 0) for label in y.tolist()], dtype=np.int64)
