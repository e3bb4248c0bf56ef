"""The same network, its settings kept, on a part of the rows and in about as many steps.

On a few rows: can it learn them by heart? If not, its training or its capacity fails whatever the
rows say (Zhang et al. 2017; "overfit one batch", Karpathy 2019). On half of them: does it predict
worse? Then rows are what it lacks.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit

from sklearn_dl.diagnosis.fold_fits import Job
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.diagnosis.table import Rows, Table
from sklearn_dl.fitting import is_strong
from sklearn_dl.recipes import auto_batch_size, auto_max_epochs

__all__ = ["as_many_steps", "few_rows", "half_of", "some_of"]

MAX_LONGER = 4  # epochs are multiplied by this at most when rows are few
FEW_ROWS, FEW_SHARE = 256, 0.25  # learnt by heart: so many, and of few rows a quarter
MIN_ROWS = 10


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


def some_of(
    train: Rows, size: int, table: Table, rng: np.random.RandomState, *, stratify: bool
) -> Rows:
    """Random rows; every class keeps its share where that is possible."""
    y = table.y[train]
    if stratify and y.ndim == 1:
        counts = np.unique(y, return_counts=True)[1]
        if counts.min() >= 2 and size >= len(counts) and len(train) - size >= len(counts):
            split = StratifiedShuffleSplit(1, train_size=size, random_state=rng)
            return np.asarray(train[next(split.split(y, y))[0]])
    return np.sort(rng.choice(train, size, replace=False))


def half_of(job: Job, subject: Subject, rng: np.random.RandomState) -> Job | None:
    """A fit of half the rows of another; None where they are too few."""
    size = len(job.train) // 2
    if size < MIN_ROWS:
        return None
    stratify = subject.task == "classification"
    rows = some_of(job.train, size, job.table, rng, stratify=stratify)
    return replace(job, estimator=as_many_steps(subject, len(job.train), 0.5), train=rows)


def few_rows(job: Job, subject: Subject, rng: np.random.RandomState) -> Job | None:
    """A fit of a few of the rows, every one of them to the last step; None where there are none."""
    n = len(job.train)
    size = min(FEW_ROWS, int(FEW_SHARE * n))
    if size < MIN_ROWS:
        return None
    epochs, batch = subject.setting("max_epochs", "auto"), subject.setting("batch_size", "auto")
    module = subject.setting("module")
    epochs = auto_max_epochs(n, module) if epochs == "auto" else int(epochs)
    all_of, few = (
        auto_batch_size(rows, module) if batch == "auto" else int(batch) for rows in (n, size)
    )
    steps = epochs * math.ceil(n / all_of)
    longer = math.ceil(steps / math.ceil(size / few))
    stratify = subject.task == "classification"
    rows = some_of(job.train, size, job.table, rng, stratify=stratify)
    estimator = subject.with_params(max_epochs=longer, early_stopping=False)
    return replace(job, estimator=estimator, train=rows)
