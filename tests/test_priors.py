"""Probabilities follow the mix of classes in use, and the mix is found without labels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from sklearn_dl import DLClassifier
from sklearn_dl.priors import adjust_prior, estimate_prior, prior_ratio

CENTRES = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])


def drawn(prior, n, seed):
    """Rows of three classes around three centres, in given shares."""
    rng = np.random.default_rng(seed)
    y = rng.choice(len(prior), size=n, p=prior)
    return CENTRES[y] + rng.standard_normal((n, 2)), y


def exact(X, prior):
    """The posterior by Bayes' rule."""
    density = np.exp(-0.5 * ((X[:, None] - CENTRES) ** 2).sum(axis=2)) * prior
    return density / density.sum(axis=1, keepdims=True)


def test_adjusted_probabilities_are_those_of_bayes_rule():
    old, new = np.array([0.2, 0.3, 0.5]), np.array([0.7, 0.2, 0.1])
    X, _ = drawn(new, 200, seed=0)
    assert_allclose(adjust_prior(exact(X, old), old, new), exact(X, new), rtol=1e-10)
    counts = adjust_prior(exact(X, old), [20, 30, 50], [700, 200, 100])
    assert_allclose(counts, exact(X, new), rtol=1e-10)


def test_there_and_back_is_where_one_was():
    old, new = np.array([0.2, 0.3, 0.5]), np.array([0.7, 0.2, 0.1])
    p = np.random.default_rng(0).dirichlet([1, 1, 1], size=50)
    assert_allclose(adjust_prior(adjust_prior(p, old, new), new, old), p, rtol=1e-10)
    assert_allclose(adjust_prior(p, old, old), p, rtol=1e-12)


def test_a_class_expected_no_more_has_no_probability():
    p = np.array([[0.2, 0.8], [0.0, 1.0]])
    assert_allclose(adjust_prior(p, [0.5, 0.5], [1, 0]), [[1, 0], [1, 0]])


@pytest.mark.parametrize("seed", range(3))
def test_the_new_mix_is_found_from_rows_without_labels(seed):
    old, new = np.array([0.4, 0.3, 0.3]), np.array([0.1, 0.8, 0.1])
    X, _ = drawn(new, 4000, seed)
    # the maximum likelihood estimate; 0.015 is twice its standard error for centres 2 apart
    assert_allclose(estimate_prior(exact(X, old), old), new, atol=0.04)


def test_weights_of_rows_are_repetitions():
    X, _ = drawn([0.1, 0.8, 0.1], 100, seed=0)
    p, weight = exact(X, np.full(3, 1 / 3)), np.arange(100) % 3
    weighted = estimate_prior(p, np.ones(3), sample_weight=weight)
    assert_allclose(weighted, estimate_prior(np.repeat(p, weight, axis=0), np.ones(3)), atol=1e-6)


@pytest.mark.parametrize(
    "classifier",
    [
        LogisticRegression(),
        DLClassifier(hidden_layer_sizes=(32,), learning_rate=0.01, random_state=0),
    ],
    ids=["logistic", "network"],
)
def test_adjusting_lowers_the_loss_on_another_mix(classifier):
    old, new = np.array([0.45, 0.45, 0.1]), np.array([0.1, 0.1, 0.8])
    X, y = drawn(old, 1500, seed=0)
    rows, labels = drawn(new, 2000, seed=1)
    p = classifier.fit(X, y).predict_proba(rows)
    counts = np.bincount(y)
    known = adjust_prior(p, counts, new)
    guessed = adjust_prior(p, counts, estimate_prior(p, counts))
    assert log_loss(labels, known) < log_loss(labels, p) - 0.1
    assert log_loss(labels, guessed) < log_loss(labels, known) + 0.02


def test_ratio_as_sample_weight_gives_the_new_mix():
    y = np.repeat([0, 1, 2], [50, 30, 20])
    weight = prior_ratio(np.bincount(y), [1, 1, 2])[y]
    assert_allclose(np.bincount(y, weight) / weight.sum(), [0.25, 0.25, 0.5])


P = np.array([[0.5, 0.5], [0.1, 0.9]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((P, [0.5, 0.5], [0.2, 0.3, 0.5]), "2 classes and prior_new 3"),
        ((P, [1, 1, 1], [1, 1, 1]), "2 columns and the priors 3 entries"),
        ((P, [0.5, -0.5], [1, 1]), "prior_train must be the shares"),
        ((P, [1, 1], [0, 0]), "prior_new must be the shares"),
        ((P, 0.5, [1, 1]), "prior_train must be the shares"),
        ((P, {"a": 1, "b": 1}, [1, 1]), "prior_train must be the shares"),
        ((P, [1, 0], [1, 1]), r"never learnt: \[1\]"),
        ((P[:, 0], [1, 1], [1, 1]), r"shape \(2,\)"),
        ((P * 0.5, [1, 1], [1, 1]), "must sum to one.*several labels"),
    ],
)
def test_what_cannot_be_adjusted_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        adjust_prior(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((P, [1, 1, 1]), "2 columns and prior_train 3 entries"),
        ((P, [1, 0]), "classes without any row"),
        ((P, [1, 1], [1.0, -1.0]), "sample_weight must be 2 numbers"),
    ],
)
def test_what_cannot_be_estimated_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate_prior(*arguments)
