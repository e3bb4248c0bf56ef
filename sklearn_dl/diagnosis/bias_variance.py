"""Bias and variance of a learner, in the loss it is judged by, from fits to bootstrap samples.

Squared error: ``E (f - y)^2 = (bias^2 + noise) + variance``. Log loss: with the average taken of
the log probabilities, ``p_bar ~ exp(mean log p)``, the variance is ``E KL(p_bar || p) = -log sum_c
exp(mean log p_c)`` and ``-log p_bar(y)`` is bias and noise; they sum to the mean log loss exactly
(Heskes 1998). Zero-one loss: the loss of the most frequent answer, and what varying around it adds
(Domingos 2000; it may be negative, since where the most frequent answer is wrong varying helps).
In each the variance divides exactly into what another sample of rows changes and what another seed
changes (Gupta et al. 2022, for the log loss): the latter is what averaging seeds takes away.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sklearn_dl.diagnosis.fold_fits import FoldFit, Job, fit_jobs
from sklearn_dl.diagnosis.own_loss import Aim, row_loss, says_several
from sklearn_dl.diagnosis.statistics import row_mean
from sklearn_dl.diagnosis.subject import Subject, find_subject, seeded
from sklearn_dl.diagnosis.table import Table, check_training_table
from sklearn_dl.losses import PROBABILITY_FLOOR

__all__ = ["bias_variance", "log_terms", "squared_terms", "zero_one_terms"]

Floats = NDArray[np.float64]
TERMS = ("loss", "bias_and_noise", "variance", "variance_of_rows", "variance_of_seeds")


@dataclass(frozen=True)
class Terms:
    """Terms by row, each of shape (n,); NaN where a row has too few predictions."""

    loss: Floats
    bias_and_noise: Floats
    variance: Floats
    variance_of_rows: Floats
    variance_of_seeds: Floats


def squared_terms(f: Floats, y: Floats) -> Terms:
    """Predictions ``f`` (n_samples, n_seeds, n), NaN on learnt rows; targets ``y`` (n,).

    Both variances are unbiased (the mean over few seeds still varies with the seeds), and the bias
    is corrected by them, so that the terms add up.
    """
    k, s = _counts(f), f.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(f, (0, 1)) / (k * s)
        inner = np.nansum(f, 1) / s
        within = np.nansum(np.square(f - inner[:, None]), (0, 1)) / (k * s)
        learnt = np.isnan(f[:, 0])
        between = np.where(learnt, 0, np.square(inner - mean)).sum(0) / k
        loss = np.nansum(np.square(f - y), (0, 1)) / (k * s)
        seeds = within * s / (s - 1) if s > 1 else within
        rows = between * k / (k - 1) - seeds / s
    return _terms(loss, rows, seeds, k)


def log_terms(p: Floats, y: NDArray[np.int64]) -> Terms:
    """Probabilities ``p`` (n_samples, n_seeds, n, n_classes), NaN on learnt rows; classes ``y``."""
    k = _counts(p[..., 0])
    log_p = np.log(np.maximum(p, PROBABILITY_FLOOR))
    log_p[np.isnan(p)] = np.nan
    s = p.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        inner = log_p.mean(1)  # (n_samples, n, n_classes)
        seeds = np.where(np.isnan(inner[..., 0]), 0, -_log_sum(inner)).sum(0) / k
        total = -_log_sum(np.nansum(inner, 0) / k[:, None])
        own = np.take_along_axis(log_p, np.asarray(y)[None, None, :, None], 3)[..., 0]
        loss = -np.nansum(own, (0, 1)) / (k * s)
    return _terms(loss, total - seeds, seeds, k)


def zero_one_terms(c: NDArray[np.int64], y: NDArray[np.int64], n_classes: int) -> Terms:
    """Predicted classes ``c`` (n_samples, n_seeds, n), -1 on learnt rows; classes ``y``.

    The variance of seeds is what remains when each sample's most frequent answer is taken instead.
    """
    votes = np.stack([(c == label).sum(1) for label in range(n_classes)], -1)  # samples, n, classes
    asked = votes.sum(-1) > 0
    k = asked.sum(0).astype(np.float64)
    main = votes.sum(0).argmax(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        wrong = ((c != y) & (c >= 0)).sum((0, 1)) / (k * c.shape[1])
        by_sample = ((votes.argmax(-1) != y) & asked).sum(0) / k
    bias = (main != y).astype(np.float64)
    return _terms(wrong, by_sample - bias, wrong - by_sample, k)


def _log_sum(x: Floats) -> Floats:
    top = x.max(-1, keepdims=True)
    return np.asarray(np.log(np.exp(x - top).sum(-1)) + top[..., 0], dtype=np.float64)


def _counts(f: Floats) -> Floats:
    """Samples in which each row was left out."""
    return np.asarray((~np.isnan(f[:, 0])).sum(0), dtype=np.float64)


def _terms(loss: Floats, rows: Floats, seeds: Floats, k: Floats) -> Terms:
    variance = rows + seeds
    parts = (loss, loss - variance, variance, rows, seeds)
    return Terms(*(np.where(k >= 2, part, np.nan) for part in parts))


def bias_variance(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    n_samples: int = 8,
    n_seeds: int = 3,
    random_state: int | np.random.RandomState | None = None,
) -> pd.DataFrame:
    """Divide the loss of an estimator into bias with noise, and variance of rows and of seeds.

    ``n_samples x n_seeds`` fits, trained together where they are networks of one kind, each judged
    on the rows its bootstrap sample left out. Such a sample has 63 % of the rows, so the variance
    is somewhat larger than that of a fit to all; and one table cannot say how its own draw differs
    from others, so the intervals are for these rows.

    Parameters
    ----------
    estimator : estimator
        As `diagnose` takes it.
    X, y
        The rows.
    n_samples, n_seeds : int
        Bootstrap samples, at least two, and seeds of each.
    random_state : int, RandomState or None
        Draws samples and seeds.

    Returns
    -------
    DataFrame
        Index ``loss``, ``bias_and_noise``, ``variance``, ``variance_of_rows``,
        ``variance_of_seeds``; columns ``value``, ``stderr``, ``ci_low``, ``ci_high`` in nats or
        shares of Var(y), and for classes also ``error``: the same of the zero-one loss.

    References
    ----------
    Heskes (1998), Bias/variance decompositions for likelihood-based estimators.
    Domingos (2000), A unified bias-variance decomposition.
    Gupta, Chen, Nguyen et al. (2022), Ensembles of classifiers: a bias-variance perspective.
    """
    _check_numbers(n_samples, n_seeds)
    subject = find_subject(estimator)
    table = check_training_table(X, y, task=subject.task, groups=None)
    if says_several(subject, table.y):
        raise ValueError(
            "bias and variance are taken apart for one class or number a row; got y with several "
            "columns, or an estimator of several quantiles. Give one at a time."
        )
    fits = _bootstrap_fits(subject, table, n_samples, n_seeds, check_random_state(random_state))
    shape = (n_samples, n_seeds, len(table))
    if subject.task == "regression":
        deviation = float(np.var(table.y)) ** 0.5
        return _frame(squared_terms(_numbers(fits, shape) / deviation, table.y / deviation))
    classes, index = np.unique(table.y, return_inverse=True)
    p = _probabilities(fits, shape, classes)
    said = np.where(np.isnan(p[..., 0]), -1, np.nan_to_num(p, nan=-1).argmax(-1))
    frame = _frame(log_terms(p, index))
    frame["error"] = _frame(zero_one_terms(said, index, len(classes)))["value"]
    return frame


def _check_numbers(n_samples: Any, n_seeds: Any) -> None:
    for name, value in (("n_samples", n_samples), ("n_seeds", n_seeds)):
        if not isinstance(value, Integral):
            raise TypeError(f"{name} must be a whole number; got {value!r}.")
    if n_samples < 2 or n_seeds < 1:
        raise ValueError(
            f"n_samples must be at least 2 and n_seeds at least 1; got {n_samples}, {n_seeds}."
        )


def _bootstrap_fits(
    subject: Subject, table: Table, n_samples: int, n_seeds: int, rng: np.random.RandomState
) -> list[FoldFit]:
    """The fits of each sample's seeds, one sample after the other."""
    n, jobs = len(table), []
    for _ in range(n_samples):
        rows = np.sort(rng.randint(n, size=n)).astype(np.int64)
        left = np.setdiff1d(np.arange(n), rows)
        for _ in range(n_seeds):
            one = seeded(_unseeded(subject.estimator), int(rng.randint(2**31 - 1)))
            jobs.append(
                Job(one, table, rows, left, subject.fit_prefix, judge_train=False,
                    keep_outputs=True)
            )  # fmt: skip
    aim = Aim("log" if subject.task == "classification" else "squared")
    fits = fit_jobs(jobs, row_loss(aim, table))
    failed = [fit.failure for fit in fits if fit.failure is not None]
    if failed:
        raise ValueError(
            f"{len(failed)} of {len(fits)} fits diverged: {failed[0]}. Diagnose it first."
        )
    return fits


def _numbers(fits: list[FoldFit], shape: tuple[int, int, int]) -> Floats:
    """Predictions of shape (n_samples, n_seeds, n), NaN on learnt rows."""
    f = np.full(shape, np.nan)
    for k, fit in enumerate(fits):
        f[k // shape[1], k % shape[1], fit.test] = fit.outputs["test"]
    return f


def _probabilities(
    fits: list[FoldFit], shape: tuple[int, int, int], classes: NDArray[Any]
) -> Floats:
    """The same of classes, (n_samples, n_seeds, n, n_classes); 0 of a class a sample lacks."""
    p = np.full((*shape, len(classes)), np.nan)
    for k, fit in enumerate(fits):
        part = np.zeros((len(fit.test), len(classes)))
        part[:, np.searchsorted(classes, fit.classes)] = fit.outputs["test"]
        p[k // shape[1], k % shape[1], fit.test] = part
    return p


def _unseeded(estimator: Any) -> Any:
    """Seeds that the user fixed are drawn anew too: otherwise no seed varies."""
    params = estimator.get_params(deep=True)
    fixed = {k: None for k in params if k.rpartition("__")[2] == "random_state"}
    return estimator.set_params(**fixed)


def _frame(terms: Terms) -> pd.DataFrame:
    lines = []
    for name in TERMS:
        values = getattr(terms, name)
        e = row_mean(values, np.ones(len(values)))
        lines.append((e.value, e.stderr, *e.interval()))
    return pd.DataFrame(
        lines, index=pd.Index(TERMS, name="term"), columns=["value", "stderr", "ci_low", "ci_high"]
    )
