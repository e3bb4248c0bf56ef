"""`diagnose`: measure, decide, advise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from sklearn.utils import check_random_state

from sklearn_dl.diagnosis.from_files import some_rows
from sklearn_dl.diagnosis.own_loss import find_aim
from sklearn_dl.diagnosis.result import Diagnosis
from sklearn_dl.diagnosis.run import Listener, Run
from sklearn_dl.diagnosis.splits import clusters_of
from sklearn_dl.diagnosis.subject import find_subject, seeded, with_image_rows
from sklearn_dl.diagnosis.table import (
    check_test_table,
    check_training_table,
    make_folds,
    weigh_test_table,
)

__all__ = ["diagnose", "run_diagnosis"]

Budget = Literal["quick", "standard", "thorough"]

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
        Inputs as the estimator takes them; for a network that reads them also images. Of a
        `numpy.memmap` above 256 MiB, 100,000 rows are drawn, and the diagnosis says so.
    y : array-like of shape (n_samples,)
        Target.
    X_test, y_test : like X and y, optional
        Rows as the model will meet them. Without labels only a shift of X can be seen, and not
        whether it does harm.
    sample_weight : array-like of shape (n_samples,), optional
        Used in every fit that takes weights and in every mean loss.
    groups : array-like of shape (n_samples,), optional
        Rows of one group are kept together by an integer ``cv``, and passed to any splitter.
        Standard errors are clustered by group.
    cv : int, splitter or iterable
        Folds; an integer is shuffled with ``random_state``, and stratified for classes. Where
        folds keep groups or periods apart, each also holds out rows of its training groups or
        period, so that new groups or later times (mismatch) are told from unlearnt rows.
    scoring : str or callable, optional
        A metric shown beside every entry of the ledger; it does not enter the verdict.
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
        The estimator is neither a regressor nor a classifier with probabilities; several metrics.
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
    if not (scoring is None or isinstance(scoring, str) or callable(scoring)):
        raise TypeError(
            f"scoring must be one metric, a name or a callable; got {scoring!r}. Diagnose with one "
            "of them."
        )
    rng = check_random_state(random_state)
    subject, X, X_test = with_image_rows(find_subject(estimator), X, X_test)
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
    if test is not None:  # by all training rows: some of them have other shares of the classes
        test = weigh_test_table(test, table, class_weight)
    table, notes = some_rows(table, "X", subject.task, cv, rng)
    if test is not None:
        test, said = some_rows(test, "X_test", subject.task, None, rng)
        notes += said
    folds = make_folds(table, cv, task=subject.task, random_state=rng)
    table = replace(table, clusters=clusters_of(folds.kind, table.groups, len(table)))
    notes += folds.notes
    if table.fit_weight is not None and not subject.takes_weights:
        table = replace(table, fit_weight=None)
        notes.append(
            f"{type(subject.core).__name__} takes no sample_weight: only losses are weighted"
        )
    aim = find_aim(subject, table.y)
    notes += [aim.note] if aim.note else []
    if subject.transforms_target:
        notes.append("the target is transformed for the fit; all are judged in the units of y")
    seed = int(rng.randint(2**31 - 1))
    subject = find_subject(seeded(subject.estimator, seed))
    return Run(subject, table, test, folds, aim, scoring, budget, seed, listener, notes).diagnosis()
