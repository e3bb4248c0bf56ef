"""Do the generated problems have the floor they claim?"""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from sklearn_dl import datasets
from sklearn_dl.datasets import (
    default_table,
    make_noisy_classes,
    make_noisy_numbers,
    make_parity,
    make_pure_noise,
    make_rings,
    make_shifted,
    make_wavy_numbers,
)

N = 200_000
MAKERS = {
    "noisy classes": lambda **k: make_noisy_classes(**k),
    "parity": lambda **k: make_parity(**k),
    "noisy numbers": lambda **k: make_noisy_numbers(**k),
    "pure noise": lambda **k: make_pure_noise(**k),
    "rings": lambda **k: make_rings(**k),
    "wavy numbers": lambda **k: make_wavy_numbers(**k),
    "covariate": lambda **k: make_shifted("covariate", **k),
    "label": lambda **k: make_shifted("label", **k),
    "concept": lambda **k: make_shifted("concept", **k),
}


def entropy_of_cells(y, *cells):
    """Mean over the cells of the entropy of y: the loss of whoever knows the cells only."""
    total = 0.0
    for key in np.unique(np.stack(cells, 1), axis=0):
        rows = (np.stack(cells, 1) == key).all(1)
        p = np.bincount(y[rows]) / rows.sum()
        total -= rows.mean() * sum(q * np.log(q) for q in p if q > 0)
    return total


@pytest.mark.parametrize("name", MAKERS)
def test_a_seed_repeats_and_the_global_state_stays(name):
    before = np.random.get_state()[1].copy()  # noqa: NPY002  what must not move
    a, b, c = (MAKERS[name](n_samples=50, random_state=s) for s in (1, 1, 2))
    assert np.array_equal(a.X, b.X)
    assert np.array_equal(a.y, b.y)
    assert not np.array_equal(a.X, c.X)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_the_floor_of_noisy_classes_is_the_entropy_of_the_flips():
    p = make_noisy_classes(N, flip=0.2, random_state=0)
    assert entropy_of_cells(p.y, p.X[:, 0] > 0) == pytest.approx(p.floor, abs=0.005)


def test_parity_is_certain_given_all_signs_and_no_linear_model_sees_it():
    p = make_parity(20_000, 3, random_state=0)
    assert entropy_of_cells(p.y, *(p.X < 0).T) == p.floor == 0
    linear = LogisticRegression().fit(p.X, p.y)
    assert log_loss(p.y, linear.predict_proba(p.X)) == pytest.approx(np.log(2), abs=0.005)


def test_the_floor_of_noisy_numbers_is_the_share_of_noise():
    p = make_noisy_numbers(N, noise=0.3, random_state=0)
    signal = p.X[:, 0] + np.sin(p.X[:, 1])
    unexplained = 1 - np.corrcoef(signal, p.y)[0, 1] ** 2
    assert unexplained == pytest.approx(p.floor, abs=0.005)


def test_pure_noise_has_balanced_classes_and_the_priors_floor():
    p = make_pure_noise(3000, n_classes=3, random_state=0)
    assert np.bincount(p.y).tolist() == [1000] * 3
    assert p.floor == np.log(3)


def test_the_floors_of_shifted_problems_hold_on_the_training_rows():
    regions = make_shifted("covariate", N, random_state=0)
    sides = [regions.X[:, 0] > 0, regions.X[:, 1] > 0]
    assert entropy_of_cells(regions.y, *sides) == pytest.approx(regions.floor, abs=0.005)
    classes = make_shifted("label", N, random_state=0)
    assert entropy_of_cells(classes.y, classes.X[:, 0] > 0) == pytest.approx(
        classes.floor, abs=0.005
    )


def test_each_shift_moves_what_it_names():
    size = {"n_samples": N, "n_test": N, "random_state": 0}
    none, covariate = make_shifted("none", **size), make_shifted("covariate", **size)
    label, concept = make_shifted("label", **size), make_shifted("concept", **size)

    def hard(X):
        return (X[:, 1] > 0).mean()

    def agree(X, y):
        return ((X[:, 0] > 0) == y).mean()

    assert abs(hard(none.X) - hard(none.X_test)) < 0.01
    assert hard(covariate.X_test) - hard(covariate.X) > 0.7
    assert label.y_test.mean() - label.y.mean() > 0.3
    assert agree(concept.X, concept.y) > 0.9
    assert agree(concept.X_test, concept.y_test) < 0.1


def test_an_unknown_shift_is_refused():
    with pytest.raises(ValueError, match="got 'drift'"):
        make_shifted("drift")


def test_the_default_table_is_raw_and_names_its_classes():
    table = default_table()
    assert table.shape == (569, 31)
    assert set(table["target"]) == {"malignant", "benign"}


def test_all_makers_are_public():
    assert {n for n in dir(datasets) if n.startswith("make_")} <= set(datasets.__all__)


def test_the_floor_of_rings_is_the_entropy_of_the_flips():
    p = make_rings(N, 3, flip=0.2, random_state=0)
    outside = np.hypot(p.X[:, 0], p.X[:, 1]) > 1.2
    assert entropy_of_cells(p.y, outside) == pytest.approx(p.floor, abs=0.005)
    assert np.abs(np.hypot(p.X[:, 0], p.X[:, 1]) - 1.2).min() >= 0.25 - 1e-9


def test_the_floor_of_wavy_numbers_is_the_share_of_noise():
    p = make_wavy_numbers(N, 2, noise=0.3, waves=1.3, random_state=0)
    wave = np.sin(1.3 * np.pi * p.X[:, 0]) * p.X[:, 1]
    left = np.var(p.y - wave * (wave @ p.y) / (wave @ wave)) / np.var(p.y)
    assert left == pytest.approx(p.floor, abs=0.005)
