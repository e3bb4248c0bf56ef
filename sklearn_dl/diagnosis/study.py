"""`diagnose`: measure, decide, advise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import check_scoring
from sklearn.utils import check_random_state

from sklearn_dl.diagnosis import checks, references
from sklearn_dl.diagnosis.fold_fits import FoldFit, RowLosses, by_row, fit_jobs, jobs_on
from sklearn_dl.diagnosis.ledger import Measured, build_ledger, measure
from sklearn_dl.diagnosis.probes import Probes, run_probes
from sklearn_dl.diagnosis.remedies import find_remedies, param_grid
from sklearn_dl.diagnosis.result import Diagnosis, Study
from sklearn_dl.diagnosis.row_losses import LogLoss, RowLoss, SquaredError
from sklearn_dl.diagnosis.rules import Findings, decide
from sklearn_dl.diagnosis.statistics import row_mean
from sklearn_dl.diagnosis.subject import Subject, find_subject, seeded
from sklearn_dl.diagnosis.table import (
    Folds,
    Table,
    check_test_table,
    check_training_table,
    make_folds,
    weigh_test_table,
)

__all__ = ["diagnose", "run_diagnosis"]

Floats = NDArray[np.float64]
Budget = Literal["quick", "standard", "thorough"]
Listener = Callable[[str, int, int], None]  # what is being done, steps done, steps in all

_BUDGETS = ("quick", "standard", "thorough")


def diagnose(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    X_test: Any = None,
    y_test: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    cv: Any = 5,
    scoring: Any = None,
    budget: Budget = "standard",
    random_state: int | np.random.RandomState | None = None,
) -> Diagnosis:
    """Say why an estimator is not good enough, how much each cause costs, and what to change.

    The estimator is fitted on every fold and judged by row: on the rows it learnt (A), out of
    fold (B) and on the test rows (C). A pool of reference models, judged on the same rows held
    out, says how low a loss is possible (F). The training loss is large if A is above F; then the
    same network under a strong optimizer, and a wider one, tell bad optimization from model bias.
    Otherwise a large B is overfitting and a C above B is mismatch.

    Parameters
    ----------
    estimator : estimator
        A DLClassifier or DLRegressor, a Pipeline or TransformedTargetRegressor around one, a
        fitted search (its ``best_estimator_``), or any scikit-learn classifier with
        probabilities or regressor: checks that need a network are then "not applicable". It is
        not changed.
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
        Inputs as the estimator takes them.
    y : array-like of shape (n_samples,)
        Target.
    X_test, y_test : like X and y, optional
        Rows as the model will meet them. Without them mismatch is not applicable.
    sample_weight : array-like of shape (n_samples,), optional
        Used in every fit that takes weights and in every mean loss.
    groups : array-like of shape (n_samples,), optional
        Rows of one group are kept together by an integer ``cv``, and passed to any splitter.
    cv : int, splitter or iterable
        Folds; an integer is shuffled with ``random_state``, and stratified for classes.
    scoring : str or callable, optional
        A metric shown beside the losses; it does not enter the verdict.
    budget : {"quick", "standard", "thorough"}
        How many probes are trained.
    random_state : int, RandomState or None
        Seeds folds, references, probes, and every ``random_state`` that the estimator leaves at
        None.

    Returns
    -------
    Diagnosis

    Raises
    ------
    TypeError
        The estimator is neither a regressor nor a classifier with probabilities.
    ValueError
        Missing targets, fewer than 2 x cv rows, fewer groups than folds, other columns in X_test.

    References
    ----------
    Bottou and Bousquet (2008), The tradeoffs of large scale learning.
    Nadeau and Bengio (2003), Inference for the generalization error.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_dl import diagnose
    >>> X, y = load_iris(return_X_y=True)
    >>> d = diagnose(LogisticRegression(C=1e-4), X, y, random_state=0)
    >>> d.verdict.value
    'model_bias'
    """
    return run_diagnosis(
        estimator, X, y, X_test=X_test, y_test=y_test, sample_weight=sample_weight, groups=groups,
        cv=cv, scoring=scoring, budget=budget, random_state=random_state,
    )  # fmt: skip


def run_diagnosis(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    X_test: Any,
    y_test: Any,
    sample_weight: Any,
    groups: Any,
    cv: Any,
    scoring: Any,
    budget: Budget,
    random_state: Any,
    listener: Listener | None = None,
) -> Diagnosis:
    """`diagnose` with somebody who watches its progress."""
    if budget not in _BUDGETS:
        raise ValueError(f"budget must be one of {', '.join(_BUDGETS)}; got {budget!r}.")
    rng = check_random_state(random_state)
    subject = find_subject(estimator)
    class_weight = subject.setting("class_weight")
    table = check_training_table(
        X,
        y,
        task=subject.task,
        sample_weight=sample_weight,
        class_weight=class_weight,
        groups=groups,
    )
    test = check_test_table(X_test, y_test, table, task=subject.task)
    if test is not None:
        test = weigh_test_table(test, table, class_weight)
    folds = make_folds(table, cv, task=subject.task, random_state=rng)
    notes = [*folds.notes]
    if table.fit_weight is not None and not subject.takes_weights:
        table = replace(table, fit_weight=None)
        notes.append(
            f"{type(subject.core).__name__} takes no sample_weight: only losses are weighted"
        )
    if subject.task == "classification" and subject.setting("loss") == "mse":
        notes.append("squared error on classes is no likelihood: judged by log loss")
    seed = int(rng.randint(2**31 - 1))
    whole = seeded(subject.estimator, seed)
    subject = replace(subject, estimator=whole)
    return _Run(subject, table, test, folds, scoring, budget, seed, listener, notes).diagnosis()


class _Run:
    """One diagnosis in progress; the steps in the order they happen."""

    def __init__(
        self,
        subject: Subject,
        table: Table,
        test: Table | None,
        folds: Folds,
        scoring: Any,
        budget: Budget,
        seed: int,
        listener: Listener | None,
        notes: list[str],
    ) -> None:
        self.subject, self.table, self.test, self.folds = subject, table, test, folds
        self.budget, self.seed, self.notes = budget, seed, notes
        self.scorer = None if scoring is None else check_scoring(subject.estimator, scoring)
        self.loss = row_loss(subject, table)
        self.listener = listener
        self.done = 0

    def tell(self, what: str) -> None:
        """Count a step."""
        self.done += 1
        if self.listener is not None:
            self.listener(what, self.done, len(self.folds) + N_REFERENCES + 2)

    def diagnosis(self) -> Diagnosis:
        """All of it."""
        fits = self.own_fits()
        pool = self.reference_losses()
        measured = self.compare(fits, pool)
        diverged = [f for f in fits if f.failure is not None]
        large = measured.training_gap.value > measured.margin or bool(diverged)
        probes = self.probes(fits[0], measured.prior.value) if large else None
        self.tell("deciding")
        findings = find(measured, probes, len(diverged) / len(fits))
        decision = decide(findings)
        evidence = self.evidence(fits, measured, probes, large=large)
        found = evidence.loc[evidence["outcome"] == "found", "code"]
        remedies = find_remedies(
            self.subject, decision, probes, found, len(self.folds.splits[0][0])
        )
        study = Study(
            self.subject, self.subject.estimator, self.table, self.test, self.folds, self.loss,
            tuple(fits), measured, decision, tuple(self.notes), mean_scores(fits, self.scorer),
            len(fits) + (0 if probes is None else probes.n_fits),
        )  # fmt: skip
        probabilities = pd.Series(
            {v.value: p for v, p in decision.probabilities.items()}, name="probability"
        )
        split = None if probes is None else probes.split
        return Diagnosis(
            decision.verdict, probabilities, build_ledger(measured, split), evidence, remedies,
            param_grid(self.subject, remedies), study,
        )  # fmt: skip

    def own_fits(self) -> list[FoldFit]:
        """The user's estimator on every fold."""
        jobs = jobs_on(
            self.folds, self.subject.estimator, self.table, fit_prefix=self.subject.fit_prefix,
            extra=self.test, scorer=self.scorer,
        )  # fmt: skip
        fits = fit_jobs(jobs, self.loss, lambda: self.tell("fitting the folds"))
        failures = [f.failure for f in fits if f.failure is not None]
        if failures:
            self.notes.append(
                f"{len(failures)} of {len(fits)} fits diverged and are scored as the prior: "
                f"{failures[0]}"
            )
        return fits

    def reference_losses(self) -> dict[str, Floats]:
        """Held-out losses of the pool; its tables are made of plain numbers and strings."""
        frame = references.plain_frame(self.table.X)
        plain = replace(self.table, X=frame)
        if (self.table.loss_weight != 1).any():  # references minimise what they are judged by
            plain = replace(plain, fit_weight=self.table.loss_weight)
        n_train = len(self.folds.splits[0][0])
        models = references.pool(frame, self.subject.task, n_train, self.seed)
        losses, notes = references.pool_losses(
            models, plain, self.folds, self.loss, seed=self.seed,
            done=lambda: self.tell("fitting the references"),
        )  # fmt: skip
        self.notes += notes
        return losses

    def compare(self, fits: list[FoldFit], pool: dict[str, Floats]) -> Measured:
        """Losses, gaps and tests; a fold that diverged counts as the prior."""
        prior = pool[references.PRIOR]
        rows = _as_prior(by_row(fits, len(self.table)), fits, prior, self.table)
        weight = self.table.loss_weight
        by_fold = [
            (
                row_mean(f.train_losses, weight[f.train]).value,
                row_mean(f.test_losses, weight[f.test]).value,
            )
            for f in fits
            if f.failure is None
        ]
        ratios = [len(f.test) / len(f.train) for f in fits]
        return measure(
            rows.fitted, rows.held_out, pool, weight, prior=references.PRIOR, fold_losses=by_fold,
            test_over_train=float(np.mean(ratios)),
            test=rows.extra if self.test is not None else None,
            test_weights=self.test.loss_weight if self.test is not None else None,
        )  # fmt: skip

    def probes(self, first: FoldFit, prior_loss: float) -> Probes | None:
        """The strong and the wide net."""
        self.tell("probing the optimizer and the width")
        return run_probes(
            self.subject,
            first,
            self.table,
            self.folds,
            self.loss,
            budget=self.budget,
            prior_loss=prior_loss,
        )

    def evidence(
        self, fits: list[FoldFit], measured: Measured, probes: Probes | None, *, large: bool
    ) -> pd.DataFrame:
        """All checks."""
        n = measured.n_rows
        n_test = 0 if self.test is None else len(self.test)
        diverged = sum(f.failure is not None for f in fits)
        classify = self.subject.task == "classification"
        rows = [
            *checks.flow_checks(measured, n_test=n_test, fits=len(fits)),
            checks.divergence_check(diverged, len(fits), n),
            checks.still_falling_check([f.loss_curve for f in fits], n, needed=large),
            *checks.probe_checks(probes, measured.margin, needed=large),
            *checks.class_checks(
                self.table.y, self.test.y if self.test is not None and classify else None
            ),
        ]
        return checks.evidence_frame(rows)


N_REFERENCES = 6


def row_loss(subject: Subject, table: Table) -> RowLoss:
    """Log loss for classes, squared error over the weighted variance for numbers."""
    if subject.task == "classification":
        return LogLoss()
    w = table.loss_weight
    mean = np.average(table.y, weights=w)
    return SquaredError(float(np.average(np.square(table.y - mean), weights=w)))


def find(measured: Measured, probes: Probes | None, diverged_share: float) -> Findings:
    """What the rules need of the measurements."""
    claims = measured.claims
    return Findings(
        margin=measured.margin,
        training=claims["training"],
        estimation=claims["estimation"],
        mismatch=claims.get("mismatch"),
        signal=claims["signal"],
        prior_loss=measured.prior.value,
        optimization_share=None if probes is None else probes.split.optimization_share,
        optimization_share_stderr=None if probes is None else probes.split.stderr,
        diverged_share=diverged_share,
        n_rows=measured.n_rows,
    )


def mean_scores(fits: list[FoldFit], scorer: Any) -> dict[str, float]:
    """The user's metric, mean over the folds."""
    if scorer is None:
        return {}
    means = np.array([f.scores for f in fits]).mean(axis=0)
    names = ("training", "out_of_fold", "test")
    return {k: float(v) for k, v in zip(names, means, strict=True) if np.isfinite(v)}


def _as_prior(rows: RowLosses, fits: list[FoldFit], prior: Floats, table: Table) -> RowLosses:
    """Losses that a diverged fit left unknown are those of the prior: as good as no model."""
    if all(f.failure is None for f in fits):
        return rows
    learnt = np.zeros(len(table), dtype=bool)
    for f in fits:
        learnt[f.train] = True
    fitted = np.where(np.isnan(rows.fitted) & learnt, prior, rows.fitted)
    held_out = np.where(np.isnan(rows.held_out), prior, rows.held_out)
    extra = np.where(np.isnan(rows.extra), row_mean(prior, table.loss_weight).value, rows.extra)
    return RowLosses(fitted, held_out, extra)
