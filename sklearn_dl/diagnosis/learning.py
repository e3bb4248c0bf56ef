"""How the out-of-fold loss falls with the number of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedShuffleSplit

from sklearn_dl.diagnosis.fold_fits import FoldFit, Job, by_row, fit_jobs
from sklearn_dl.diagnosis.result import Diagnosis, Study
from sklearn_dl.diagnosis.statistics import row_mean
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.fitting import is_strong
from sklearn_dl.recipes import auto_max_epochs

__all__ = ["loss_by_size"]

FRACTIONS = (
    0.125,
    0.25,
    0.5,
)  # geometric sizes (Viering and Loog 2023); all rows are known already
MIN_ROWS = 10
MAX_LONGER = 4  # epochs are multiplied by this at most when rows are few


def loss_by_size(
    diagnosis: Diagnosis, *, seed: int = 0, done: Callable[[], None] | None = None
) -> pd.DataFrame:
    """Training and out-of-fold loss at an eighth, a quarter, half and all of the training rows.

    The folds and the held-out rows are those of the diagnosis. A network that learns fewer rows
    gets more epochs (up to 4 times), unless it stops by rows that it leaves out: at constant epochs
    more rows also mean more steps, and a badly chosen learning rate would pass for a lack of rows.

    Parameters
    ----------
    diagnosis : Diagnosis
        Of which estimator and rows.
    seed : int
        Draws the rows.
    done : callable, optional
        Called after each fit.

    Returns
    -------
    DataFrame
        Columns ``rows``, ``training``, ``out_of_fold``, ``stderr``.
    """
    study = diagnosis._study
    rng = np.random.RandomState(seed)
    plan: list[tuple[float, Job]] = []
    for fraction in FRACTIONS:
        for train, test in study.folds.splits:
            size = int(fraction * len(train))
            if size >= MIN_ROWS:
                rows = _subset(study, train, size, rng)
                estimator = as_many_steps(study.subject, len(train), fraction)
                plan.append(
                    (fraction, Job(estimator, study.table, rows, test, study.subject.fit_prefix))
                )
    fits = fit_jobs([job for _, job in plan], study.loss, done)
    sizes: dict[float, list[FoldFit]] = {}
    for (fraction, _), fit in zip(plan, fits, strict=True):
        sizes.setdefault(fraction, []).append(fit)
    lines = [_line(study, fits) for _, fits in sorted(sizes.items())]
    lines.append(_line(study, list(study.fits)))
    return pd.DataFrame(lines, columns=["rows", "training", "out_of_fold", "stderr"])


def _line(study: Study, fits: list[FoldFit]) -> tuple[int, float, float, float]:
    losses = by_row(fits, len(study.table))
    size = int(np.mean([len(fit.train) for fit in fits]))
    weight = study.table.loss_weight
    held_out = row_mean(losses.held_out, weight)
    return size, row_mean(losses.fitted, weight).value, held_out.value, held_out.stderr


def as_many_steps(subject: Subject, n_train: int, fraction: float) -> Any:
    """The estimator for a fraction of the rows, with about as many steps as for all of them.

    One that ends training by the loss on rows it leaves out finds the number that suits it: a
    fixed one would take that away, and its few rows would be learnt by heart.
    """
    epochs = subject.setting("max_epochs")
    if not subject.is_network or subject.setting("early_stopping"):
        return subject.estimator
    module = subject.setting("module")
    if epochs == "auto" and is_strong(module):
        return subject.estimator
    epochs = auto_max_epochs(n_train, module) if epochs == "auto" else int(epochs)
    longer = round(epochs * min(1 / fraction, MAX_LONGER))
    return subject.with_params(max_epochs=longer)


def _subset(
    study: Study, train: NDArray[np.int64], size: int, rng: np.random.RandomState
) -> NDArray[np.int64]:
    """Random rows; every class keeps its share where that is possible."""
    y = study.table.y[train]
    if study.subject.task == "classification" and y.ndim == 1:
        counts = np.unique(y, return_counts=True)[1]
        if counts.min() >= 2 and size >= len(counts) and len(train) - size >= len(counts):
            split = StratifiedShuffleSplit(1, train_size=size, random_state=rng)
            return np.asarray(train[next(split.split(y, y))[0]])
    return np.sort(rng.choice(train, size, replace=False))
