"""How well others do on the same folds, in the user's own metric."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.model_selection import cross_validate
from sklearn.utils.validation import _num_samples

from sklearn_dl.diagnosis.references import plain_frame
from sklearn_dl.diagnosis.table import Task

__all__ = ["REFERENCES", "n_references", "prior_scores", "reference_scores"]

Floats = NDArray[np.float64]

#: Of the diagnosis' pool, what takes about as long as a small network, the most telling first.
REFERENCES = ("extra trees", "linear", "gradient boosting", "nearest neighbours")

#: One reference for so many settings, and no more than two: they say how low a loss is possible,
#: which the best candidates soon say better.
SETTINGS_A_REFERENCE = 10
MOST_REFERENCES = 2


def n_references(n_candidates: int | None) -> int:
    """How many the budget can afford."""
    if n_candidates is None:
        return MOST_REFERENCES
    return min(MOST_REFERENCES, n_candidates // SETTINGS_A_REFERENCE)


def prior_scores(task: Task, y: Any, splits: Any, scoring: Any, metric: str) -> Floats:
    """Scores of the prior by fold; NaN where the metric cannot judge it."""
    prior = DummyClassifier(strategy="prior") if task == "classification" else DummyRegressor()
    return _scores(prior, np.zeros((_num_samples(y), 1)), y, splits, scoring, metric)


def reference_scores(
    task: Task, X: Any, y: Any, splits: Any, scoring: Any, metric: str, n: int, seed: int
) -> dict[str, Floats]:
    """Held-out scores by fold of the first ``n`` references that can be fitted to such rows.

    Parameters
    ----------
    task : {"classification", "regression"}
        What is predicted.
    X, y : array-like
        All rows.
    splits : list of (train, test)
        The folds of the search.
    scoring : object
        As in scikit-learn's searches.
    metric : str
        Which of its scores.
    n, seed : int
        How many, and for the trees.
    """
    # Their modules take a while to import.
    from sklearn_dl.diagnosis.reference_models import pool

    if n == 0:
        return {}
    try:
        frame = plain_frame(X)
    except (TypeError, ValueError):  # images, lists of texts: what only a pipeline's step can read
        return {}
    models = pool(frame, task, len(splits[0][0]), seed)
    chosen = [name for name in REFERENCES if name in models][:n]
    scores = {name: _scores(models[name], frame, y, splits, scoring, metric) for name in chosen}
    return {name: s for name, s in scores.items() if np.isfinite(s).all()}


def _scores(model: Any, X: Any, y: Any, splits: Any, scoring: Any, metric: str) -> Floats:
    name = "test_score" if metric == "score" else f"test_{metric}"
    try:
        with warnings.catch_warnings():
            # What the user did not ask for does not warn: a reference that fails is left out.
            warnings.simplefilter("ignore")
            found = cross_validate(model, X, y, cv=splits, scoring=scoring, n_jobs=1)
    except (TypeError, ValueError, AttributeError):  # all folds failed, or the metric on them
        return np.full(len(splits), np.nan)
    return np.asarray(found.get(name, np.full(len(splits), np.nan)), dtype=np.float64)
