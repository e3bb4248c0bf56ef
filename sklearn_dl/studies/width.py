"""How common is negative curvature? More so with more directions, along which a saddle may fall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from sklearn_dl.curvature import spectral_density
from sklearn_dl.fitting import new_seed
from sklearn_dl.studies.runs import Subject, initial, mean_interval, seeds_from, subject_of

__all__ = ["negative_curvature_by_width"]


def negative_curvature_by_width(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    widths: Sequence[int] = (2, 8, 32, 128),
    n_seeds: int = 5,
    max_rows: int = 512,
    random_state: Any = None,
) -> pd.DataFrame:
    """Share of the Hessian's eigenvalues that are negative at the initial weights, over width.

    A point with n negative and m positive eigenvalues is no minimum as soon as n is above zero; the
    chance that all of many are positive is small (Dauphin et al. 2014, Identifying and attacking
    the saddle point problem).

    Parameters
    ----------
    estimator : DLClassifier, DLRegressor or Pipeline that ends in one
        Its hidden layers, one at least, are given each width; a smooth activation is needed.
    X, y : training rows
    widths : sequence of int
    n_seeds : int, default=5
    max_rows : int, default=512
    random_state : int, RandomState or None

    Returns
    -------
    DataFrame
        A row a width: ``width``, ``n_parameters``, ``negative_share`` with its 95 % interval over
        seeds, counting eigenvalues below minus one thousandth of the largest; ``n_negative``, the
        share times the number of parameters.
    """
    subject = subject_of(estimator, X, y)
    depth = max(1, len(tuple(subject.network.hidden_layer_sizes)))
    if not len(widths) or min(widths) < 1 or n_seeds < 1:
        raise ValueError(f"need positive widths and a seed, got {widths!r} and {n_seeds!r}.")
    seeds = seeds_from(np.random.default_rng(new_seed(random_state)), n_seeds)
    records = []
    for width in sorted(set(widths)):
        network = clone(subject.network).set_params(hidden_layer_sizes=(width,) * depth)
        found = [
            spectral_density(
                run.fitted, subject.X, subject.y, max_rows=max_rows, n_draws=4, random_state=0
            )
            for run in initial(Subject(network, subject.X, subject.y), seeds)
        ]
        mean, low, high = mean_interval([f.negative_share for f in found])
        p = found[0].n_parameters
        records.append((width, p, mean, low, high, mean * p))
    columns = ["width", "n_parameters", "negative_share", "negative_low", "negative_high"]
    return pd.DataFrame(records, columns=[*columns, "n_negative"])
