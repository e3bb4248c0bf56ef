"""How the out-of-fold loss falls with the number of rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from sklearn_dl.diagnosis.fewer_rows import MIN_ROWS, as_many_steps, some_of
from sklearn_dl.diagnosis.fold_fits import FoldFit, Job, as_prior, by_row, fit_jobs
from sklearn_dl.diagnosis.result import Diagnosis, Study
from sklearn_dl.diagnosis.statistics import row_mean

__all__ = ["loss_by_size"]

FRACTIONS = (0.125, 0.25, 0.5)  # geometric (Viering and Loog 2023); all rows are known already


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
    stratify = study.subject.task == "classification"
    plan: list[tuple[float, Job]] = []
    for fraction in FRACTIONS:
        for train, test in study.folds.splits:
            size = int(fraction * len(train))
            if size >= MIN_ROWS:
                rows = some_of(train, size, study.table, rng, stratify=stratify)
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
    table = study.table
    losses = as_prior(by_row(fits, len(table)), fits, study.prior_losses, table)
    size = int(np.mean([len(fit.train) for fit in fits]))
    weight = table.loss_weight
    held_out = row_mean(losses.held_out, weight, table.clusters)
    return size, row_mean(losses.fitted, weight).value, held_out.value, held_out.stderr
