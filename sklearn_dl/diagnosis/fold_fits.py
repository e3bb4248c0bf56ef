"""Fit an estimator on every fold and note the loss of each row, in evaluation mode."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.parallel import Parallel, delayed

from sklearn_dl.batching import batched_fits
from sklearn_dl.diagnosis.row_losses import RowLoss
from sklearn_dl.diagnosis.statistics import row_mean
from sklearn_dl.diagnosis.table import Folds, Rows, Table

__all__ = [
    "FoldFit",
    "Job",
    "RowLosses",
    "as_prior",
    "at_prior",
    "by_row",
    "fit_jobs",
    "fit_one",
    "fit_table",
    "jobs_on",
    "training_by_fold",
]

Floats = NDArray[np.float64]
Scorer = Callable[[Any, Any, Any], float]


@dataclass(frozen=True)
class Job:
    """One fit of a diagnosis.

    Attributes
    ----------
    estimator : estimator
        Cloned before it is fitted.
    table : Table
        Rows that ``train`` and ``test`` count.
    train, test : ndarray of row numbers
        What is learnt, and what is held out.
    fit_prefix : str
        What ``fit`` needs before ``sample_weight``.
    weighted : bool
        Whether the table's weights are passed to ``fit``.
    judge_train : bool
        Whether the losses on the learnt rows are wanted.
    extra : Table or None
        Labelled test rows.
    scorer : callable or None
        The user's metric.
    optional : bool
        Whether any ValueError of the fit is its result: the pool can do without a reference.
    inside : ndarray of row numbers or None
        Rows of the training groups or period that are held out too.
    validation : ndarray of row numbers or None
        What an early-stopping network of ours watches; it would draw single rows itself, and
        those of a learnt group say nothing about a new one.
    keep_outputs : bool
        Whether probabilities or predictions are wanted beside the losses.
    keep_fitted : bool
        Whether the fitted estimator is wanted.
    """

    estimator: Any
    table: Table
    train: Rows
    test: Rows
    fit_prefix: str = ""
    weighted: bool = True
    judge_train: bool = True
    extra: Table | None = None
    scorer: Scorer | None = None
    optional: bool = False
    inside: Rows | None = None
    validation: Rows | None = None
    keep_outputs: bool = False
    keep_fitted: bool = False


@dataclass(frozen=True)
class FoldFit:
    """What one fit gave.

    Attributes
    ----------
    train, test : ndarray of row numbers
        Rows of the table.
    train_losses, test_losses, extra_losses : ndarray
        A loss a row; empty where not asked for.
    failure : str or None
        What diverged or could not be fitted; unknown losses are NaN.
    scores : tuple of three floats
        The user's metric on training, held-out and test rows; NaN where not asked for.
    loss_curve : ndarray of shape (n_epochs,)
        Training loss by epoch; empty where the model has none.
    inside, inside_losses : ndarray
        Rows of the training groups or period that were held out, and their losses.
    outputs : dict of str to ndarray
        Probabilities or predictions on the ``train``, ``test``, ``extra`` and ``inside`` rows,
        where they were asked for.
    classes : ndarray or None
        Columns of the probabilities.
    inside_score : float
        The user's metric on the ``inside`` rows.
    fitted : estimator or None
        Where it was asked for.
    """

    train: Rows
    test: Rows
    train_losses: Floats
    test_losses: Floats
    extra_losses: Floats
    failure: str | None = None
    scores: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    loss_curve: Floats = field(default_factory=lambda: np.empty(0))
    inside: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    inside_losses: Floats = field(default_factory=lambda: np.empty(0))
    outputs: dict[str, Floats] = field(default_factory=dict)
    classes: Any = None
    inside_score: float = math.nan
    fitted: Any = None


@dataclass(frozen=True)
class RowLosses:
    """Losses by row of the table, averaged over the fits in which the row took part; else NaN."""

    fitted: Floats
    held_out: Floats
    extra: Floats
    inside: Floats


def jobs_on(folds: Folds, estimator: Any, table: Table, **options: Any) -> list[Job]:
    """The jobs of one estimator, one a fold."""
    inside = folds.inside or (None,) * len(folds)
    return [
        Job(estimator, table, train, test, inside=rows, **options)
        for (train, test), rows in zip(folds.splits, inside, strict=True)
    ]


def fit_table(
    estimator: Any,
    table: Table,
    fit_prefix: str = "",
    *,
    weighted: bool = True,
    validation: Table | None = None,
) -> Any:
    """Fit a clone on all rows of a table."""
    options: dict[str, Any] = {}
    if weighted and table.fit_weight is not None:
        options[f"{fit_prefix}sample_weight"] = table.fit_weight
    if validation is not None:
        options |= {f"{fit_prefix}X_val": validation.X, f"{fit_prefix}y_val": validation.y}
    return clone(estimator).fit(table.X, table.y, **options)


def _is_divergence(error: Exception) -> bool:
    """Our nets raise a FloatingPointError; scikit-learn's own say it in a ValueError."""
    return isinstance(error, FloatingPointError) or "non-finite parameter" in str(error)


def _loss_curve(fitted: Any) -> Floats:
    while hasattr(fitted, "steps") or hasattr(fitted, "regressor_"):
        fitted = fitted.steps[-1][1] if hasattr(fitted, "steps") else fitted.regressor_
    return np.asarray(getattr(fitted, "loss_curve_", ()), dtype=np.float64)


@dataclass(frozen=True)
class _Judged:
    """Losses, metric and outputs on one set of rows."""

    losses: Floats = field(default_factory=lambda: np.empty(0))
    score: float = math.nan
    output: Floats | None = None


def _judge(fitted: Any, table: Table, loss: RowLoss, scorer: Scorer | None) -> _Judged:
    output = loss.output(fitted, table.X)
    losses = loss.of(output, table.y, getattr(fitted, "classes_", None))
    score = math.nan if scorer is None else float(scorer(fitted, table.X, table.y))
    return _Judged(losses, score, output)


def fit_one(job: Job, loss: RowLoss) -> FoldFit:
    """Fit and judge; a fit that diverges is a result, any other error is the caller's."""
    learn = job.table.take(job.train)
    inside = np.empty(0, dtype=np.int64) if job.inside is None else job.inside
    parts: dict[str, Table] = {"test": job.table.take(job.test)}
    if job.judge_train:
        parts["train"] = learn
    if job.extra is not None:
        parts["extra"] = job.extra
    if len(inside):
        parts["inside"] = job.table.take(inside)
    watched = None if job.validation is None else job.table.take(job.validation)
    try:
        fitted = fit_table(
            job.estimator, learn, job.fit_prefix, weighted=job.weighted, validation=watched
        )
        judged = {name: _judge(fitted, part, loss, job.scorer) for name, part in parts.items()}
    except (FloatingPointError, ValueError) as error:
        if not (job.optional or _is_divergence(error)):
            raise
        return _lost(job, str(error).partition("\n")[0])
    n_lost = sum(int(np.isnan(part.losses).sum()) for part in judged.values())
    train, test, extra, within = (
        judged.get(name, _Judged()) for name in ("train", "test", "extra", "inside")
    )
    outputs = {k: p.output for k, p in judged.items() if p.output is not None}
    if loss.of_classes:  # probabilities of held-out rows are asked for later, not those of others
        outputs = {k: p for k, p in outputs.items() if k in ("test", "inside")}
    return FoldFit(
        job.train,
        job.test,
        train.losses,
        test.losses,
        extra.losses,
        f"{n_lost} predictions are not finite" if n_lost else None,
        (train.score, test.score, extra.score),
        _loss_curve(fitted),
        inside,
        within.losses,
        outputs if job.keep_outputs else {},
        getattr(fitted, "classes_", None),
        within.score,
        fitted if job.keep_fitted else None,
    )


def _lost(job: Job, failure: str) -> FoldFit:
    def unknown(n: int) -> Floats:
        return np.full(n, np.nan)

    n_extra = 0 if job.extra is None else len(job.extra)
    inside = np.empty(0, dtype=np.int64) if job.inside is None else job.inside
    return FoldFit(
        job.train,
        job.test,
        unknown(len(job.train)),
        unknown(len(job.test)),
        unknown(n_extra),
        failure,
        inside=inside,
        inside_losses=unknown(len(inside)),
    )


def fit_jobs(
    jobs: Sequence[Job],
    loss: RowLoss,
    done: Callable[[], None] | None = None,
    *,
    partial: bool = False,
) -> list[FoldFit]:
    """Run all jobs, trained together where they are networks of one kind.

    Parameters
    ----------
    jobs : sequence of Job
        The fits.
    loss : RowLoss
        How rows are judged.
    done : callable, optional
        Called after each fit.

    partial : bool
        Whether Ctrl-C ends with the fits that are done, if there are any, and not in an error.

    Returns
    -------
    list of FoldFit
        In the order of the jobs; fewer than jobs after Ctrl-C.
    """
    results: dict[int, FoldFit] = {}

    def run(k: int, job: Job) -> None:
        results[k] = fit_one(job, loss)
        if done is not None:
            done()

    with warnings.catch_warnings():
        # Whether our nets stopped too early is a question of the diagnosis, answered once (DL202).
        warnings.filterwarnings("ignore", "the training loss was still falling", ConvergenceWarning)
        try:
            with batched_fits():
                Parallel()(delayed(run)(k, job) for k, job in enumerate(jobs))
        except KeyboardInterrupt:
            if not (partial and results):
                raise
    return [results[k] for k in sorted(results)]


def by_row(fits: Iterable[FoldFit], n: int) -> RowLosses:
    """Average the losses of each row over the fits that give one."""
    fits = list(fits)
    extra = np.array([f.extra_losses for f in fits])
    rows = np.arange(extra.shape[1])
    return RowLosses(
        _mean_by_row([(f.train, f.train_losses) for f in fits], n),
        _mean_by_row([(f.test, f.test_losses) for f in fits], n),
        _mean_by_row([(rows, losses) for losses in extra], len(rows)),
        _mean_by_row([(f.inside, f.inside_losses) for f in fits], n),
    )


def _mean_by_row(parts: Sequence[tuple[Rows, Floats]], n: int) -> Floats:
    total, count = np.zeros(n), np.zeros(n)
    for rows, losses in parts:
        if not len(losses):
            continue
        known = np.isfinite(losses)
        np.add.at(total, rows[known], losses[known])
        np.add.at(count, rows[known], 1)
    mean: Floats = np.divide(total, count, out=np.full(n, np.nan), where=count > 0)
    return mean


def at_prior(fits: Sequence[FoldFit], loss: float) -> list[FoldFit]:
    """The same, but that a fit which diverged predicts held-out rows as well as the prior."""
    return [
        fit if fit.failure is None else replace(
            fit, test_losses=np.full(len(fit.test), loss),
            inside_losses=np.full(len(fit.inside), loss),
        )
        for fit in fits
    ]  # fmt: skip


def training_by_fold(
    fits: Sequence[FoldFit], weights: Floats
) -> tuple[NDArray[np.int64], Floats] | None:
    """The fold that holds each row out, and the mean training loss of its fit.

    None unless every row is held out by one fold and learnt by all others, without failures.
    """
    n = len(weights)
    fold = np.full(n, -1, dtype=np.int64)
    for k, fit in enumerate(fits):
        fold[fit.test] = k
    parted = sum(len(fit.test) for fit in fits) == n and (fold >= 0).all()
    whole = all(len(fit.train) + len(fit.test) == n and fit.failure is None for fit in fits)
    if not parted or not whole or any(weights[fit.train].sum() == 0 for fit in fits):
        return None
    means = [float(np.average(f.train_losses, weights=weights[f.train])) for f in fits]
    return fold, np.array(means)


def as_prior(rows: RowLosses, fits: Sequence[FoldFit], prior: RowLosses, table: Table) -> RowLosses:
    """Losses that a diverged fit left unknown are those of the prior: as good as no model."""
    if all(f.failure is None for f in fits):
        return rows
    mean = row_mean(prior.held_out, table.loss_weight).value
    constant = np.where(np.isnan(prior.held_out), mean, prior.held_out)
    learnt, judged, within = (np.zeros(len(table), dtype=bool) for _ in range(3))
    for f in fits:
        learnt[f.train] = judged[f.test] = within[f.inside] = True

    def filled(losses: Floats, asked: NDArray[np.bool_]) -> Floats:
        return np.where(np.isnan(losses) & asked, constant, losses)

    return RowLosses(
        filled(rows.fitted, learnt),
        filled(rows.held_out, judged),
        np.where(np.isnan(rows.extra), mean, rows.extra),
        filled(rows.inside, within),
    )
