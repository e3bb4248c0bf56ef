"""scikit-learn's callers give the same results with their fits trained together."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score

from sklearn_dl import batched_fits
from tests.callers import CALLERS, Caller, Nets

DOUBLE = Nets({"dtype": "float64"})
SINGLE = Nets({"dtype": "float32"})


@pytest.mark.parametrize("case", CALLERS, ids=lambda case: case.name)
def test_results_are_equal_and_the_fits_were_trained_together(case: Caller) -> None:
    alone = case.run(DOUBLE)
    with batched_fits() as batches:
        together = case.run(DOUBLE)
    plt.close("all")
    assert alone.keys() == together.keys()
    for name, expected in alone.items():
        # what section 4 of the design promises of float64
        np.testing.assert_allclose(together[name], expected, rtol=1e-10, atol=1e-10, err_msg=name)
    assert sorted(batches.stacks) == sorted(case.stacks)


@pytest.mark.parametrize("name", ["cross_val_score_of_classifier", "grid_search"])
def test_mean_scores_agree_in_single_precision(name: str) -> None:
    (case,) = [case for case in CALLERS if case.name == name]
    alone = case.run(SINGLE)
    with batched_fits():
        together = case.run(SINGLE)
    for key, scores in alone.items():
        if scores.dtype.kind != "f" or scores.size < 2:
            continue
        error = scores.std() / np.sqrt(scores.size)
        assert abs(together[key].mean() - scores.mean()) <= 0.1 * error + 1e-12, key


def test_a_search_inside_a_cross_validation_is_one_stack() -> None:
    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(DOUBLE.classifier(), {"learning_rate": [0.01, 0.03, 0.1]}, cv=3)
    alone = cross_val_score(search, X, y, cv=3)
    with batched_fits() as batches:
        together = cross_val_score(search, X, y, cv=3)
    np.testing.assert_array_equal(together, alone)
    assert batches.stacks == [27, 3]
