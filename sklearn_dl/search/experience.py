"""What other tables taught: how good a setting is to be expected before anything was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_dl.search.moves import place
from sklearn_dl.search.space import Space

__all__ = ["Experience"]

Floats = NDArray[np.float64]

#: Effects on the score, in which 0 is the median of random settings on a table and 1 is their best,
#: in the logarithmic measure of `ranking`: means over tables, by a linear model with random effects
#: of the table (Laird and Ware 1982) over 40 to 80 random settings of `param_space` on the ten
#: tuning tables of benchmarks/search.py and two of further_tables.py, 600 rows each.
#: Of a range: by the place in it, from -0.5 to 0.5, and by four times its square, centred.
SLOPES: dict[str, tuple[float, float]] = {
    "hidden_layer_sizes": (0.34, -0.07),
    "dropout": (-0.07, -0.07),
    "learning_rate": (0.71, -0.15),
    "weight_decay": (0.02, -0.02),
    "label_smoothing": (-0.14, -0.02),
    "max_epochs": (0.36, -0.07),
}
#: Of words.
LEVELS: dict[str, dict[Any, float]] = {
    "activation": {"relu": -0.02, "gelu": 0.02, "tanh": 0.0},
    "normalization": {None: 0.01, "batch": -0.06, "layer": 0.05},
    "schedule": {"cosine": 0.04, "one_cycle": 0.04, "exponential": -0.09},
    "augmentation": {None: -0.01, "noise": 0.01},
    "early_stopping": {False: 0.02, True: -0.02},
}
#: Of two places together, times four.
PAIRS: dict[tuple[str, str], float] = {
    ("learning_rate", "max_epochs"): -0.06,
    ("learning_rate", "hidden_layer_sizes"): -0.12,
    ("dropout", "hidden_layer_sizes"): -0.01,
    ("dropout", "learning_rate"): 0.08,
    ("dropout", "max_epochs"): 0.05,
    ("weight_decay", "learning_rate"): 0.0,
    ("hidden_layer_sizes", "max_epochs"): -0.01,
    ("label_smoothing", "learning_rate"): -0.06,
}
#: How much an effect differs between tables, a standard deviation.
SPREAD = 0.22
#: What differs together, the first principal component of the effects' covariance: where labels are
#: noisy a network is to learn less, in each of these ways. On three of the twelve tables, those
#: furthest below the mean in it, the mean effects order settings no better than chance.
TOGETHER = {"learning_rate": 0.40, "max_epochs": 0.26, "hidden_layer_sizes": 0.18, "dropout": -0.06}
#: What early stopping costs on other rows beyond what folds show of it: the tenth of the rows that
#: it holds back, and scores that differ more between seeds.
HELD_BACK = 0.15


@dataclass(frozen=True)
class Experience:
    """Of settings of one kind of network.

    Attributes
    ----------
    space : Space
        `param_space` of the estimator: the ranges that effects refer to.
    prefix : str
        Of the network's parameters.
    """

    space: Space
    prefix: str

    def effects(self, params: Mapping[str, Any]) -> Floats:
        """What a setting has of each effect; what is not known of it counts nothing."""
        at = {name: self._place(name, params) for name in SLOPES}
        found = [e for name in SLOPES for e in _line_and_bend(at[name])]
        for name, levels in LEVELS.items():
            value = params.get(self.prefix + name, levels)  # a dict: no level
            known = not isinstance(value, dict) and (value is None or isinstance(value, str | bool))
            share = 1 / len(levels) if known and value in levels else 0.0
            found += [float(known and value == level) - share for level in levels]
        found += [4 * (at[a] or 0.0) * (at[b] or 0.0) for a, b in PAIRS]
        return np.array(found)

    def _place(self, name: str, params: Mapping[str, Any]) -> float | None:
        name = self.prefix + name
        if name not in params or name not in self.space:
            return None
        return place(self.space[name], params[name])[0] - 0.5

    def beyond_folds(self, params: Mapping[str, Any]) -> float:
        """What folds do not show of a setting's score after it is fitted to all rows."""
        return -HELD_BACK if params.get(self.prefix + "early_stopping") is True else 0.0

    def how_much_it_learns(self, params: Mapping[str, Any]) -> float:
        """The score's change on a table one standard deviation above the others in `TOGETHER`."""
        at = {name: self._place(name, params) for name in TOGETHER}
        return sum(effect * (at[name] or 0.0) for name, effect in TOGETHER.items())


def _line_and_bend(x: float | None) -> tuple[float, float]:
    return (0.0, 0.0) if x is None else (x, 4 * (x * x - 1 / 12))


#: Expected effects, in the order of `Experience.effects`.
EFFECTS: Floats = np.array(
    [
        *(effect for both in SLOPES.values() for effect in both),
        *(effect for levels in LEVELS.values() for effect in levels.values()),
        *PAIRS.values(),
    ]
)
