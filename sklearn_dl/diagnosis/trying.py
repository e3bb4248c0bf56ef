"""Refit with a remedy on the folds of the diagnosis and measure what it gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone

from sklearn_dl.diagnosis import references
from sklearn_dl.diagnosis.cures import Gain, Remedy
from sklearn_dl.diagnosis.fold_fits import (
    FoldFit,
    RowLosses,
    as_prior,
    by_row,
    fit_jobs,
    fit_table,
    jobs_on,
)
from sklearn_dl.diagnosis.own_loss import says_several
from sklearn_dl.diagnosis.shift import importance_weights
from sklearn_dl.diagnosis.statistics import paired_difference
from sklearn_dl.diagnosis.table import Table
from sklearn_dl.fitting import n_members_of
from sklearn_dl.priors import prior_ratio

if TYPE_CHECKING:
    from sklearn_dl.diagnosis.result import Study

__all__ = ["try_out"]

Floats = NDArray[np.float64]

SEEDS = 5  # networks averaged by the ensemble
CALIBRATION_FOLDS = 3


def try_out(study: Study, remedy: Remedy, k: int) -> tuple[Any, Gain]:
    """An estimator with the remedy, fitted on all rows, and its gain.

    Raises
    ------
    ValueError
        The remedy needs something that only the user has; the message says what.
    """
    table, prefix, on_test = study.table, study.subject.fit_prefix, False
    if remedy.params:
        changed = clone(study.estimator).set_params(**remedy.params)
    elif remedy.does == "calibrate":
        changed = _calibrated(study)
    elif remedy.does == "ensemble":
        changed = _ensemble(study)
    elif remedy.does:
        changed, table, on_test = study.estimator, _weighted(study, remedy.does), True
    else:
        raise ValueError(
            f"remedy {k} is no parameter that could be set: {remedy.action}. "
            "Do that and call diagnose again."
        )
    jobs = jobs_on(
        study.folds, changed, table, fit_prefix=prefix, judge_train=False,
        extra=study.test if on_test else None,
    )  # fmt: skip
    before, after = (_losses(study, f) for f in (study.fits, fit_jobs(jobs, study.loss)))
    if on_test:
        assert study.test is not None
        gain = paired_difference(before.extra, after.extra, study.test.loss_weight)
    else:
        within = bool(study.folds.inside)
        old, new = (before.inside, after.inside) if within else (before.held_out, after.held_out)
        gain = paired_difference(old, new, study.table.loss_weight, study.table.clusters)
    return fit_table(changed, table, prefix), Gain(gain.value, gain.stderr)


def _losses(study: Study, fits: Sequence[FoldFit]) -> RowLosses:
    """By row, as in the ledger: what a fit that diverged says is worth no more than the prior."""
    rows = by_row(fits, len(study.table))
    return as_prior(rows, fits, study.prior_losses, study.table)


def _calibrated(study: Study) -> Any:
    from sklearn.calibration import CalibratedClassifierCV  # takes 0.1 s to import

    rarest = min(
        np.unique(study.table.y[train], return_counts=True)[1].min()
        for train, _ in study.folds.splits
    )
    if rarest < 2:
        raise ValueError(
            "A class has a single row in a training fold: there is none left to calibrate on. "
            "Collect more rows of it, or merge it with another class."
        )
    folds = int(min(CALIBRATION_FOLDS, rarest))
    core = clone(study.subject.core)
    return study.subject.with_core(CalibratedClassifierCV(core, method="temperature", cv=folds))


def _ensemble(study: Study) -> Any:
    """The same network with several seeds, averaged."""
    from sklearn.ensemble import VotingClassifier, VotingRegressor  # take 0.2 s to import

    subject = study.subject
    if says_several(subject, study.table.y):  # on which scikit-learn does not vote
        return subject.with_params(n_members=SEEDS * n_members_of(subject.core))
    seeds = [subject.seed + k for k in range(SEEDS)]
    members = [(f"seed{k}", clone(subject.core).set_params(random_state=k)) for k in seeds]
    if subject.task == "classification":
        return subject.with_core(VotingClassifier(members, voting="soft"))
    return subject.with_core(VotingRegressor(members))


def _weighted(study: Study, how: str) -> Table:
    """The training rows weighed towards the test rows; what they count in losses is kept."""
    table, test = study.table, study.test
    assert test is not None
    if not study.subject.takes_weights:
        raise ValueError(
            f"{type(study.subject.core).__name__} takes no sample_weight, which this remedy needs. "
            "Resample the training rows instead, or choose an estimator that takes weights."
        )
    if how == "prior correction":
        weights = _class_ratios(table, test)
    else:
        frames = [references.plain_frame(t.X) for t in (table, test)]
        both = pd.concat(frames, ignore_index=True)
        is_test = np.repeat([False, True], [len(table), len(test)])
        weights = importance_weights(both, is_test, seed=0)
    own = np.ones(len(table)) if table.fit_weight is None else table.fit_weight
    return replace(table, fit_weight=own * weights / weights.mean())


def _class_ratios(table: Table, test: Table) -> Floats:
    """``q(y) / p(y)`` of each training row."""
    classes, inverse, counts = np.unique(table.y, return_inverse=True, return_counts=True)
    wanted = np.array([(test.y == label).sum() for label in classes], dtype=np.float64)
    ratio: Floats = prior_ratio(counts, wanted)[inverse]
    return ratio
