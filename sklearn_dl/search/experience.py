"""What other tables taught: how good a setting is to be expected before anything was tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn_dl.search.moves import place
from sklearn_dl.search.space import Space

__all__ = ["expected"]

#: Effects on the score, in which 0 is the mean of random settings on a table and 1 is how far their
#: best lies above their median: ridge regression over 80 settings of `param_space` on each of the
#: ten tuning tables of benchmarks/search.py, 600 rows each; it explains 0.44 of the variance.
#: Of a range: by the place in it, from -0.5 to 0.5, and by its square over the mean square, 1/12.
SLOPES: dict[str, tuple[float, float]] = {
    "hidden_layer_sizes": (0.78, -0.22),
    "dropout": (-0.09, -0.26),
    "learning_rate": (1.46, -0.54),
    "weight_decay": (0.07, -0.21),
    "label_smoothing": (-0.27, 0.20),
    "max_epochs": (0.78, -0.10),
}
#: Of words.
LEVELS: dict[str, dict[Any, float]] = {
    "activation": {"relu": -0.02, "gelu": 0.03, "tanh": -0.02},
    "normalization": {None: -0.10, "batch": -0.09, "layer": 0.18},
    "schedule": {"cosine": 0.13, "one_cycle": 0.09, "exponential": -0.21},
    "early_stopping": {False: 0.02, True: -0.02},
}


def expected(params: Mapping[str, Any], space: Space, prefix: str) -> float:
    """How good a setting was on other tables (Wistuba et al. 2015).

    Parameters
    ----------
    params : mapping
        A setting; what is not known of it counts nothing.
    space : Space
        `param_space` of the estimator: the ranges that effects refer to.
    prefix : str
        Of the network's parameters.
    """
    total = 0.0
    for name, (slope, bend) in SLOPES.items():
        if prefix + name in params and prefix + name in space:
            x = place(space[prefix + name], params[prefix + name])[0] - 0.5
            total += slope * x + bend * (x * x - 1 / 12)
    for name, effects in LEVELS.items():
        value = params.get(prefix + name)
        if prefix + name in params and (value is None or isinstance(value, str | bool)):
            total += effects.get(value, 0.0)
    return total
