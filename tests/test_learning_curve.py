"""More rows, and bias and variance: against laws and decompositions worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeRegressor

from sklearn_dl import PLAIN, DLClassifier, DLRegressor, diagnose
from sklearn_dl.datasets import make_noisy_classes, make_noisy_numbers
from sklearn_dl.diagnosis import bias_variance, more_rows
from sklearn_dl.diagnosis.bias_variance import log_terms, squared_terms, zero_one_terms
from sklearn_dl.diagnosis.fewer_rows import as_many_steps
from sklearn_dl.diagnosis.learning import loss_by_size
from sklearn_dl.diagnosis.more_rows import fit_power_law, judge_curve
from sklearn_dl.diagnosis.subject import find_subject

ROWS = np.array([100.0, 200.0, 400.0, 800.0])


def curve(losses, stderr=0.01):
    return pd.DataFrame(
        {"rows": ROWS, "training": 0.0, "out_of_fold": losses, "stderr": stderr * np.ones(4)}
    )


@pytest.mark.parametrize(
    ("model", "epochs"),
    [
        (DLClassifier(), "auto"),  # its members stop by rows they leave out
        (DLClassifier(max_epochs=100, early_stopping=True), 100),
        (DLClassifier(max_epochs=100), 400),
        (DLClassifier(**PLAIN, max_epochs=10), 40),
    ],
)
def test_fewer_rows_get_more_epochs_unless_held_out_rows_end_training(model, epochs):
    assert as_many_steps(find_subject(model), 200, 0.25).max_epochs == epochs


def test_the_last_point_of_the_curve_is_what_the_ledger_says():
    g = np.random.RandomState(0)
    groups = np.repeat(np.arange(15), 20)
    X = g.standard_normal((300, 3))
    y = X[:, 0] + 3 * g.standard_normal(15)[groups] + 0.1 * g.standard_normal(300)
    d = diagnose(Ridge(), X, y, groups=groups, budget="quick", random_state=0)
    last, said = loss_by_size(d).iloc[-1], d._study.measured.out_of_fold
    assert (last.out_of_fold, last.stderr) == pytest.approx((said.value, said.stderr))


def test_a_fold_that_diverged_counts_as_the_prior_in_the_curve_too():
    X = np.random.RandomState(0).standard_normal((90, 4))
    wild = PLAIN | {"optimizer": "sgd", "learning_rate": 0.3, "hidden_layer_sizes": (32,)}
    net = DLRegressor(**wild, max_epochs=30, random_state=0)
    d = diagnose(net, X, X[:, 0], budget="quick", random_state=0)
    assert any(fit.failure for fit in d._study.fits)
    last = loss_by_size(d).iloc[-1]
    assert last.out_of_fold == pytest.approx(d._study.measured.out_of_fold.value)


# --- the power law -----------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b", "c"), [(0.2, 3.0, 0.5), (0.0, 5.0, 0.8), (0.1, 40.0, 1.3)])
def test_an_exact_law_is_found(a, b, c):
    law = fit_power_law(ROWS, a + b * ROWS**-c, np.full(4, 0.01))
    assert law(1600) == pytest.approx(a + b * 1600**-c, abs=2e-3)
    assert law.chi2 < 1e-2
    assert law.a >= 0 < law.b
    assert 0 < law.c <= 2


def test_twice_the_rows_lie_in_the_interval_of_twenty_noisy_curves():
    truth, hits = 0.2 + 3 * 1600**-0.5, 0
    for seed in range(20):
        noise = 0.005 * np.random.RandomState(seed).standard_normal(4)
        found = judge_curve(curve(0.2 + 3 * ROWS**-0.5 + noise, 0.005), 0.005, seed)
        low, high = found.predictions.loc[0, ["ci_low", "ci_high"]]
        hits += low <= truth <= high
    assert hits >= 17  # binomial(20, 0.95) is below 17 once in 60


def test_a_steep_curve_promises_a_gain_and_a_flat_one_none():
    steep = judge_curve(curve(5 * ROWS**-0.7, 0.002), 0.005)
    flat = judge_curve(curve(np.full(4, 0.3), 0.002), 0.005)
    assert steep.probability > 0.95
    assert flat.probability < 0.05
    assert list(steep.predictions["rows"]) == [1600, 3200]


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([0.3, 0.3, 0.5, 0.3], "the loss rises from 200 to 400 rows"),
        ([0.9, 0.30, 0.31, 0.1], "no power law"),
        ([0.9, np.nan, 0.5, 0.4], "not finite"),
    ],
)
def test_nothing_is_predicted_from_an_ill_behaved_curve(losses, reason):
    found = judge_curve(curve(losses), 0.01)
    assert found.law is None
    assert math.isnan(found.probability)
    assert found.predictions.empty
    assert reason in found.reason


def test_a_law_of_three_numbers_needs_four_sizes():
    assert "four sizes" in judge_curve(curve([0.4, 0.3, 0.2, 0.1])[1:], 0.01).reason


def test_the_curve_of_a_diagnosis_ends_at_its_own_loss():
    p = make_noisy_classes(320, 4, flip=0.1, random_state=0)
    d = diagnose(LogisticRegression(), p.X, p.y, cv=2, budget="quick", random_state=0)
    found = more_rows(d)
    assert found.curve["rows"].tolist() == [20, 40, 80, 160]
    assert found.curve["out_of_fold"].iloc[-1] == d.to_dict()["losses"]["out_of_fold"]


# --- decompositions ----------------------------------------------------------------------------


def left_out(rng, shape):
    """Rows that each sample left out, at least two samples a row."""
    out = rng.uniform(size=(shape[0], shape[2])) < 0.5
    out[:2] = True
    return np.broadcast_to(out[:, None], shape)


def test_the_terms_of_the_squared_error_add_up_and_find_the_variances_planted():
    rng = np.random.RandomState(0)
    shape = (6, 4, 4000)
    f = 0.5 + 0.3 * rng.standard_normal((6, 1, 4000)) + 0.2 * rng.standard_normal(shape)
    t = squared_terms(np.where(left_out(rng, shape), f, np.nan), np.zeros(4000))
    assert np.allclose(t.bias_and_noise + t.variance, t.loss)
    assert np.allclose(t.variance_of_rows + t.variance_of_seeds, t.variance)
    assert t.bias_and_noise.mean() == pytest.approx(0.25, abs=0.02)
    assert t.variance_of_rows.mean() == pytest.approx(0.09, abs=0.01)
    assert t.variance_of_seeds.mean() == pytest.approx(0.04, abs=0.004)


def test_the_terms_of_the_log_loss_are_the_textbooks():
    rng = np.random.RandomState(0)
    p = softmax(rng.standard_normal((5, 3, 30, 4)), -1)
    y = rng.randint(4, size=30)
    t = log_terms(p, y)
    average = softmax(np.log(p).mean((0, 1)), -1)
    divergence = (average * (np.log(average) - np.log(p))).sum(-1).mean((0, 1))
    assert np.allclose(t.variance, divergence)
    assert np.allclose(t.bias_and_noise, -np.log(average[np.arange(30), y]))
    assert np.allclose(t.loss, -np.log(p[..., np.arange(30), y]).mean((0, 1)))
    within = [(softmax(np.log(q).mean(0), -1) * (np.log(softmax(np.log(q).mean(0), -1))
               - np.log(q))).sum(-1).mean(0) for q in p]  # fmt: skip
    assert np.allclose(t.variance_of_seeds, np.mean(within, 0))


def test_learnt_rows_do_not_count_and_rows_left_out_once_are_unknown():
    p = softmax(np.random.RandomState(0).standard_normal((3, 2, 2, 3)), -1)
    few = p.copy()
    few[0, :, 0] = np.nan
    few[:2, :, 1] = np.nan
    t = log_terms(few, np.array([0, 1]))
    assert t.loss[0] == pytest.approx(log_terms(p[1:], np.array([0, 1])).loss[0])
    assert np.isnan(t.variance[1])


def test_the_terms_of_the_zero_one_loss_add_up_and_varying_may_help():
    c = np.array([[[0, 1]], [[0, 1]], [[1, 0]]])  # three samples, one seed, two rows
    t = zero_one_terms(c, np.array([0, 0]), 2)
    assert t.loss.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert t.bias_and_noise.tolist() == pytest.approx([0, 1])
    assert t.variance.tolist() == pytest.approx([1 / 3, -1 / 3])


def test_a_stiff_model_has_bias_and_a_deep_tree_variance():
    p = make_noisy_numbers(200, 3, noise=0.1, random_state=0)
    stiff = bias_variance(Ridge(alpha=1e5), p.X, p.y, n_seeds=1, random_state=0)["value"]
    deep = bias_variance(DecisionTreeRegressor(), p.X, p.y, n_seeds=1, random_state=0)["value"]
    assert stiff["bias_and_noise"] > 10 * stiff["variance"]
    assert deep["variance"] > 0.08 > stiff["variance"]
    for frame in (stiff, deep):
        assert frame["bias_and_noise"] + frame["variance"] == pytest.approx(frame["loss"])


def test_seeds_of_a_network_are_drawn_though_the_user_fixed_one():
    p = make_noisy_classes(120, 3, flip=0.1, random_state=0)
    net = DLClassifier(**PLAIN | {"hidden_layer_sizes": (16,), "max_epochs": 15}, random_state=0)
    options = {"n_samples": 4, "n_seeds": 2, "random_state": 0}
    frame = bias_variance(net, p.X, p.y, **options)
    again = bias_variance(net, p.X, p.y, **options)
    assert frame.loc["variance_of_seeds", "value"] > 0
    pd.testing.assert_frame_equal(frame, again)
    assert frame.loc["loss", "error"] == pytest.approx(
        frame.loc["bias_and_noise", "error"] + frame.loc["variance", "error"]
    )


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="n_samples must be at least 2"):
        bias_variance(Ridge(), np.zeros((9, 1)), np.arange(9), n_samples=1)
