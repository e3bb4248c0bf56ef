"""How will the learning rate move, and does the training need its warm-up?"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from sklearn_dl.fitting import new_seed, recipe_of
from sklearn_dl.schedules import learning_rate_schedule
from sklearn_dl.studies.learning_rate import rate_grid
from sklearn_dl.studies.runs import (
    fit_runs,
    initial,
    mean_interval,
    network_of,
    seeds_from,
    subject_of,
)
from sklearn_dl.training.model import steps_per_epoch

__all__ = ["schedule_rates", "warmup_study"]

#: Decades around the estimator's rate that are tried with and without warm-up.
DECADES = (0.0, 2.0)
#: A training loss of so many times that of the start has exploded.
EXPLODED = 2.0


def schedule_rates(estimator: Any, n_rows: int) -> pd.DataFrame:
    """The learning rate of every update, as training will set it.

    Parameters
    ----------
    estimator : DLClassifier, DLRegressor or Pipeline that ends in one
    n_rows : int
        Training rows.

    Returns
    -------
    DataFrame
        ``step`` from 1, ``epoch`` as a fraction, ``learning_rate``. "plateau" reads the loss and is
        constant here.

    Examples
    --------
    >>> from sklearn_dl import DLClassifier
    >>> from sklearn_dl.studies import schedule_rates
    >>> net = DLClassifier(learning_rate=0.1, schedule="step", warmup=0, max_epochs=3)
    >>> schedule_rates(net.set_params(batch_size=50), 100)["learning_rate"].round(6).tolist()
    [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    """
    network = network_of(estimator)
    if not isinstance(n_rows, Integral) or n_rows < 1:
        raise ValueError(f"n_rows must be a positive int, such as len(y); got {n_rows!r}.")
    recipe = recipe_of(network, n_rows, incremental=False, watched=False)
    schedule = learning_rate_schedule(
        recipe.schedule,
        max_epochs=recipe.max_epochs,
        decay_every=recipe.decay_every,
        decay_factor=recipe.decay_factor,
        warmup=recipe.warmup,
    )
    per_epoch = steps_per_epoch(n_rows, recipe.batch_size)
    total = per_epoch * recipe.max_epochs
    step = np.arange(total)
    factor = [1.0 if schedule is None else schedule(k, total) for k in range(total)]
    return pd.DataFrame(
        {
            "step": step + 1,
            "epoch": (step + 1) / per_epoch,
            "learning_rate": recipe.learning_rate * np.array(factor),
        }
    )


def warmup_study(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    warmup: float = 0.1,
    rates: Sequence[float] | None = None,
    n_seeds: int = 5,
    random_state: Any = None,
) -> pd.DataFrame:
    """Train with and without warm-up, at rates from the estimator's own upwards.

    Parameters
    ----------
    estimator : DLClassifier, DLRegressor or Pipeline that ends in one
    X, y : training rows
    warmup : float in (0, 1), default=0.1
        Share of training in which the rate rises from 0.
    rates : sequence of float, optional
        By default three a decade from the estimator's rate to a hundred times that.
    n_seeds : int, default=5
    random_state : int, RandomState or None

    Returns
    -------
    DataFrame
        A row a rate and ``warmup`` (0 and the given share): ``exploded`` (share of seeds that
        diverged, or whose loss was twice that of its start in some epoch), mean final ``loss`` with
        its 95 % interval over seeds (inf where one diverged).
    """
    if not 0 < warmup < 1 or n_seeds < 1:
        raise ValueError(f"need 0 < warmup < 1 and a seed; got {warmup!r} and {n_seeds!r} seeds.")
    subject = subject_of(estimator, X, y)
    grid = rate_grid(subject.network.learning_rate, DECADES) if rates is None else sorted(rates)
    if not grid:
        raise ValueError("rates is empty: give one or more learning rates.")
    seeds = seeds_from(np.random.default_rng(new_seed(random_state)), n_seeds)
    highest = [EXPLODED * run.loss for run in initial(subject, seeds)]
    settings = [
        {"learning_rate": rate, "warmup": share, "early_stopping": False}
        for rate in grid
        for share in (0.0, warmup)
    ]
    runs = fit_runs(subject, settings, seeds)
    records = []
    for k, setting in enumerate(settings):
        own = runs[k * n_seeds : (k + 1) * n_seeds]
        exploded = [
            run.diverged or max(run.fitted.loss_curve_, default=0) > limit
            for run, limit in zip(own, highest, strict=True)
        ]
        mean, low, high = mean_interval([run.loss for run in own])
        records.append(
            (setting["learning_rate"], setting["warmup"], np.mean(exploded), mean, low, high)
        )
    columns = ["learning_rate", "warmup", "exploded", "loss", "loss_low", "loss_high"]
    return pd.DataFrame(records, columns=columns)
