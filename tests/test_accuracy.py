"""The defaults are accurate on raw tables without tuning."""

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import cross_val_score

from sklearn_dl import DLClassifier, DLRegressor, batched_fits


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "load", "least"),
    [
        (DLClassifier, load_breast_cancer, 0.965),
        (DLClassifier, load_digits, 0.95),
        (DLRegressor, lambda **kwargs: load_diabetes(scaled=False, **kwargs), 0.45),
    ],
    ids=["breast cancer", "digits", "diabetes"],
)
def test_five_folds_of_a_raw_frame_by_default(
    estimator: type, load: Callable[..., Any], least: float
) -> None:
    X, y = load(return_X_y=True, as_frame=True)
    with batched_fits():
        scores = cross_val_score(estimator(random_state=0), X, y, cv=5)
    assert scores.mean() >= least
