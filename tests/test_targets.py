"""Targets that are not one number or one class: labels with weights, quantiles, counts, units."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.metrics import d2_pinball_score, mean_pinball_loss
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback

from sklearn_dl import DLClassifier, DLRegressor, batched_fits
from sklearn_dl.fitting import Rows, member_folds
from sklearn_dl.nn.rising import PlainRising
from sklearn_dl.targets import label_weights

QUICK = {"hidden_layer_sizes": (16,), "max_epochs": 6, "learning_rate": 0.01, "random_state": 0}
LEVELS = (0.1, 0.5, 0.9)
QUANTILES = DLRegressor(loss="pinball", quantile=LEVELS, **QUICK)
COUNTS = DLRegressor(loss="poisson", **QUICK)


def numbers(n=300, seed=0):
    """X (n, 3) and a target whose spread grows with the second column."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n, 3))
    return X, 10 * X[:, 0] + (1 + X[:, 1]) * rng.standard_normal(n)


def counts(n=300, seed=0):
    """X (n, 3) and counts with a rate of 0.4 to 8."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n, 3))
    return X, rng.poisson(np.exp(0.6 + 1.5 * X[:, 0])).astype(float)


def labels(n=240, seed=0):
    """X (n, 4) and a 0/1 matrix of a frequent and a rare label, and one in between."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 4))
    return X, (X[:, :3] + rng.standard_normal((n, 3)) > [0, 2, 1]).astype(int)


# several quantiles


@pytest.mark.parametrize("levels", [(0.5,), (0.1, 0.9), (0.001, 0.2, 0.5, 0.51, 0.9999)])
def test_outputs_of_zero_are_the_quantiles_of_a_normal(levels):
    seen = PlainRising(levels)(torch.zeros(2, 2 * len(levels), dtype=torch.float64))
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(levels, dtype=torch.float64))
    torch.testing.assert_close(seen, normal.repeat(2, 2), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whatever_the_network_says_quantiles_rise(dtype):
    g = torch.Generator().manual_seed(0)
    outputs = torch.randn(500, 10, generator=g, dtype=dtype) * 10 ** torch.arange(5).repeat(2)
    rising = PlainRising((0.05, 0.3, 0.5, 0.7, 0.95))(outputs).unflatten(-1, (2, 5))
    assert torch.isfinite(rising).all()
    assert (rising.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("levels", [(), (0.9, 0.1), (0.5, 0.5), (0.0, 0.5)])
def test_a_layer_of_levels_that_do_not_rise_is_refused(levels):
    with pytest.raises(ValueError, match="levels must rise between 0 and 1"):
        PlainRising(levels)


@pytest.mark.parametrize("module", ["auto", "mlp", torch.nn.Linear], ids=str)
def test_predicted_quantiles_never_cross(module):
    X, y = numbers()
    fitted = clone(QUANTILES).set_params(module=module, quantile=[0.1, 0.3, 0.9]).fit(X, y)
    far = np.random.default_rng(1).normal(scale=100, size=(400, 3))
    for rows in (X, far):
        predicted = fitted.predict(rows)
        assert predicted.shape == (len(rows), 3)
        assert (np.diff(predicted, axis=1) >= 0).all()
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))


def test_several_outputs_have_their_quantiles_along_the_last_axis():
    X, y = numbers()
    Y = np.stack([y, 1e6 - 1e3 * y], axis=1)
    predicted = clone(QUANTILES).set_params(max_epochs=40).fit(X, Y).predict(X)
    assert predicted.shape == (len(X), 2, 3)
    assert (np.diff(predicted, axis=2) >= 0).all()
    below = (Y[:, :, None] <= predicted).mean(axis=0)
    # 0.03 is the standard error of a share of 0.5 of 300 rows; these were learnt from
    assert_allclose(below, np.tile(LEVELS, (2, 1)), atol=0.1)


def test_intervals_hold_their_share_of_new_rows_and_widen_where_the_noise_does():
    X, y = numbers(1200)
    rows, truth = numbers(4000, seed=1)
    low, middle, high = DLRegressor(loss="pinball", quantile=LEVELS, random_state=0).fit(X, y)\
        .predict(rows).T  # fmt: skip
    # the standard error of 4,000 rows is 0.006; the rest is what 1,200 rows leave uncertain
    assert ((truth >= low) & (truth <= high)).mean() == pytest.approx(0.8, abs=0.05)
    assert (truth <= middle).mean() == pytest.approx(0.5, abs=0.04)
    wide, narrow = rows[:, 1] > 0.5, rows[:, 1] < -0.5
    assert (high - low)[wide].mean() > 2 * (high - low)[narrow].mean()


@pytest.mark.parametrize("quantile", [LEVELS, 0.2])
def test_rows_that_members_left_out_lie_below_each_quantile_in_its_share(quantile):
    X, y = numbers(200)
    levels = np.ravel(quantile)
    fitted = clone(QUANTILES).set_params(quantile=quantile, max_epochs="auto").fit(X, y)
    folds = member_folds(Rows(X, y, None), 5, fitted._seed, stratify=False, one_batch=False)
    inputs = torch.from_numpy(fitted.encode(X))
    with torch.inference_mode():
        members = torch.stack([member(inputs) for member in fitted.module_.members])
    own = members[folds, torch.arange(len(y))].numpy()
    below = (y - fitted._target_mean)[:, None] / fitted._target_deviation <= own + fitted._shift[0]
    assert_allclose(below.mean(axis=0), levels, atol=0.01)
    assert_array_equal(clone(fitted).set_params(max_epochs=5).fit(X, y)._shift, 0 * fitted._shift)


def test_score_is_the_mean_d2_of_the_levels():
    X, y = numbers()
    weight = np.linspace(0.1, 2, len(y))
    fitted = clone(QUANTILES).fit(X, y)
    each = [
        d2_pinball_score(y, fitted.predict(X)[:, k], alpha=q, sample_weight=weight)
        for k, q in enumerate(LEVELS)
    ]
    assert fitted.score(X, y, weight) == pytest.approx(np.mean(each), rel=1e-12)
    with batched_fits():
        together = cross_val_score(clone(QUANTILES), X, y, cv=3)
    assert_allclose(together, cross_val_score(clone(QUANTILES), X, y, cv=3), rtol=1e-9)


def test_validation_score_is_the_mean_d2_against_the_quantiles_of_its_own_rows():
    X, y = numbers()
    fitted = clone(QUANTILES).fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    predicted, truth = fitted.predict(X[200:]), y[200:]
    each = []
    for k, q in enumerate(LEVELS):
        own = np.full_like(truth, np.quantile(truth, q, method="inverted_cdf"))
        loss, base = (mean_pinball_loss(truth, p, alpha=q) for p in (predicted[:, k], own))
        each.append(1 - loss / base)
    assert fitted.validation_scores_[-1] == pytest.approx(np.mean(each), abs=1e-6)


def test_one_level_in_a_sequence_is_one_column_of_the_single_quantile():
    X, y = numbers()
    one = clone(QUANTILES).set_params(quantile=(0.3,), max_epochs=60).fit(X, y).predict(X)
    single = clone(QUANTILES).set_params(quantile=0.3, max_epochs=60).fit(X, y).predict(X)
    assert one.shape == (len(X), 1)
    assert np.abs(one[:, 0] - single).mean() < 0.1 * y.std()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"quantile": ()}, r"quantile=\(\) names no level"),
        ({"quantile": [0.9, 0.1]}, r"does not rise.*cross. Give quantile=\(0.1, 0.9\)"),
        ({"quantile": (0.1, 0.5, 0.5)}, "names a level twice"),
        ({"quantile": (0.0, 0.5)}, r"outside of \(0, 1\): \[0.0\]"),
        ({"quantile": (0.5, 90)}, r"outside of \(0, 1\): \[90.0\]"),
        ({"quantile": (0.5, np.nan)}, r"outside of \(0, 1\): \[nan\]"),
        ({"quantile": ["low", "high"]}, "levels that are no numbers"),
        ({"quantile": [[0.1, 0.9]]}, "levels that are no numbers"),
        ({"loss": "mse"}, "which loss='pinball' estimates; got loss='mse'"),
    ],
)
def test_quantiles_that_cannot_be_are_refused(params, message):
    X, y = numbers(40)
    estimator = clone(QUANTILES).set_params(**params)
    with pytest.raises((TypeError, ValueError), match=message):
        estimator.fit(X, y)
    with pytest.raises(NotFittedError):
        estimator.predict(X)


def test_quantiles_set_after_fit_do_not_change_what_was_learnt():
    X, y = numbers(60)
    fitted = clone(QUANTILES).fit(X, y)
    before, score = fitted.predict(X), fitted.score(X, y)
    assert_array_equal(fitted.set_params(quantile=0.5).predict(X), before)
    assert fitted.score(X, y) == score


# counts


def test_poisson_predicts_rates_without_bias():
    X, y = counts(1500)
    rows, truth = counts(3000, seed=1)
    predicted = DLRegressor(loss="poisson", random_state=0).fit(X, y).predict(rows)
    rate = np.exp(0.6 + 1.5 * rows[:, 0])
    assert predicted.min() > 0
    # standard error of the mean of 3,000 counts is 0.04
    assert predicted.mean() == pytest.approx(truth.mean(), rel=0.06)
    assert np.sqrt(np.mean((predicted - rate) ** 2)) < 0.2 * rate.std()


def test_linear_poisson_network_is_the_generalised_linear_model():
    from sklearn.linear_model import PoissonRegressor

    X, y = counts(200)
    exact = PoissonRegressor(alpha=0, max_iter=1000, tol=1e-10).fit(X, y)
    fitted = DLRegressor(
        hidden_layer_sizes=(), module="mlp", preprocessing="standard", loss="poisson",
        optimizer="adam", learning_rate=0.05, weight_decay=0, batch_size=200, max_epochs=600,
        dropout=0, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert_allclose(fitted.predict(X), exact.predict(X), rtol=1e-3)


def test_validation_score_of_counts_is_r2_in_their_units():
    X, y = counts()
    fitted = clone(COUNTS).fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    assert fitted.validation_scores_[-1] == pytest.approx(fitted.score(X[200:], y[200:]), abs=1e-6)


def test_negative_counts_are_refused_with_their_number():
    X, y = counts(60)
    y[[3, 5]] = -1, -2
    with pytest.raises(ValueError, match="2 of 60 values of y are negative, the least is -2"):
        clone(COUNTS).fit(X, y)
    with pytest.raises(ValueError, match="2 of 60 values of y are negative"):
        clone(COUNTS).partial_fit(X, y)
    good = np.abs(y)
    with pytest.raises(ValueError, match="2 of 60 values of y are negative"):
        clone(COUNTS).fit(X, good, X_val=X, y_val=y)


def test_counts_of_several_kinds_one_of_which_never_happens():
    X, y = counts(120)
    fitted = clone(COUNTS).set_params(max_epochs=60).fit(X, np.stack([y, 0 * y], axis=1))
    predicted = fitted.predict(X)
    assert predicted.shape == (120, 2)
    assert predicted[:, 0].mean() == pytest.approx(y.mean(), rel=0.2)
    assert 0 <= predicted[:, 1].max() < 0.1


# heavy tails


def test_log_target_is_scikit_learn_s_transformed_target():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(300, 3))
    y = np.exp(3 * X[:, 0] + rng.standard_normal(300))
    inner = DLRegressor(**QUICK)
    wrapped = TransformedTargetRegressor(inner, func=np.log, inverse_func=np.exp).fit(X, y)
    assert_allclose(wrapped.predict(X), np.exp(clone(inner).fit(X, np.log(y)).predict(X)))


def test_quantiles_pass_through_a_monotone_transformation_of_the_target():
    X, y = numbers()
    wrapped = TransformedTargetRegressor(
        clone(QUANTILES), func=np.log, inverse_func=np.exp, check_inverse=False
    ).fit(X, np.exp(y / 10))
    direct = clone(QUANTILES).fit(X, y / 10)
    assert wrapped.predict(X).shape == (len(X), 3)
    assert_allclose(wrapped.predict(X), np.exp(direct.predict(X)), rtol=1e-6)


# weights


@pytest.mark.parametrize(
    ("estimator", "data"),
    [
        (QUANTILES, numbers(30)),
        (COUNTS, counts(30)),
        (DLClassifier(class_weight="balanced", **QUICK), labels(30)),
    ],
    ids=["quantiles", "counts", "labels"],
)
@pytest.mark.parametrize("max_epochs", [6, "auto"])
def test_a_weight_is_a_repetition(estimator, data, max_epochs):
    X, y = data
    weight = np.random.default_rng(1).integers(0, 2, len(y)) + 1
    again = np.repeat(np.arange(len(y)), weight)
    one = clone(estimator).set_params(max_epochs=max_epochs)
    weighted = clone(one).fit(X, y, sample_weight=weight)
    repeated = clone(one).fit(X[again], y[again])
    method = "predict_proba" if isinstance(estimator, DLClassifier) else "predict"
    assert_allclose(getattr(weighted, method)(X), getattr(repeated, method)(X), rtol=1e-7)


# labels


def test_weights_of_labels_are_those_of_each_label_alone_and_average_to_one():
    _, Y = labels()
    weights = label_weights("balanced", Y.astype(float), None)
    for column, own in zip(weights.T, Y.T, strict=True):
        for value in (0, 1):
            assert_allclose(column[value], len(own) / (2 * (own == value).sum()))
    given = label_weights([{0: 1, 1: 5}, {}, {1: 0}], Y.astype(float), None)
    assert np.take_along_axis(given, Y, axis=0).mean() == pytest.approx(1)
    assert given[1, 0] == pytest.approx(5 * given[0, 0])
    assert given[1, 2] == 0


def test_balanced_labels_find_more_of_a_rare_label_and_leave_a_frequent_one():
    X, Y = labels(1000)
    plain, balanced = (
        DLClassifier(class_weight=weight, **QUICK).fit(X[:600], Y[:600]).predict_proba(X[600:])
        for weight in (None, "balanced")
    )
    rare = Y[600:, 1] == 1
    assert balanced[rare, 1].mean() > plain[rare, 1].mean() + 0.15
    assert np.abs(balanced[:, 0] - plain[:, 0]).mean() < 0.1


def test_weight_of_one_label_moves_no_other():
    X, Y = labels(1000)
    plain, weighted = (
        DLClassifier(class_weight=weight, **QUICK).fit(X, Y).predict_proba(X).mean(axis=0)
        for weight in (None, [{}, {1: 10}, {}])
    )
    assert weighted[1] > plain[1] + 0.1
    assert_allclose(weighted[[0, 2]], plain[[0, 2]], atol=0.05)


@pytest.mark.parametrize("weight", [None, "balanced", [{}, {1: 3}, {0: 2}]])
def test_a_label_that_is_constant_in_the_training_rows_is_learnt_as_such(weight):
    X, Y = labels()
    Y[:, 0], Y[:200, 1] = 1, 0
    fitted = DLClassifier(class_weight=weight, **QUICK).fit(X[:200], Y[:200])
    probabilities = fitted.predict_proba(X[200:])
    assert np.isfinite(probabilities).all()
    assert (probabilities[:, 0] > 0.5).all()
    assert (probabilities[:, 1] < 0.5).all()
    assert np.isfinite(fitted.score(X[200:], Y[200:]))


@pytest.mark.parametrize("several", [False, True], ids=["classes", "labels"])
@pytest.mark.parametrize("weight", ["balanced", "given"])
def test_rows_to_watch_weigh_as_the_classes_of_the_training_rows_do(several, weight):
    X, Y = labels(200)
    y = Y if several else Y[:, 1]
    given = [{}, {1: 3}, {0: 2}] if several else {0: 1, 1: 3}
    net = DLClassifier(
        class_weight=given if weight == "given" else weight, module="mlp", warm_start=True, **QUICK
    ).set_params(max_epochs=2, label_smoothing=0.0)
    one = X[:100][Y[:100, 1] == 1], y[:100][Y[:100, 1] == 1]  # no row without this label
    net.fit(X[100:], y[100:], X_val=one[0], y_val=one[1])
    p = net.predict_proba(one[0])
    if several:
        balanced = label_weights(net.class_weight, Y[100:].astype(float), None)
        losses = -np.where(one[1], np.log(p) * balanced[1], np.log1p(-p) * balanced[0])
    else:
        losses = -np.log(p[:, 1])  # all rows of one class: their common weight divides out
    assert net.history_["valid_loss"].iloc[-1] == pytest.approx(losses.mean(), rel=1e-4)
    net.fit(*one)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ({0: 1, 1: 2}, "a list of 3 dicts.*got one dict"),
        ([{1: 2}], "a list of 3 dicts.*got 1 entries"),
        ([{}, {2: 1}, {}], r"label 1 must map 0 and 1.*got \{2: 1\}"),
        ([{}, {1: -1}, {}], r"label 1 must map 0 and 1 to weights from zero up"),
        ([{0: 0, 1: 0}] * 3, "no label of y a weight above zero"),
        ([{}, None, {}], "label 1 must be a dict"),
    ],
)
def test_weights_that_do_not_fit_the_labels_are_refused(weight, message):
    X, Y = labels(60)
    with pytest.raises(ValueError, match=message):
        DLClassifier(class_weight=weight, **QUICK).fit(X, Y)


def test_a_list_of_weights_is_refused_where_y_has_one_class_a_row():
    X, Y = labels(60)
    with pytest.raises(ValueError, match="class_weight is a list"):
        DLClassifier(class_weight=[{1: 2}], **QUICK).fit(X, Y[:, 0])


def test_weights_of_labels_need_a_loss_that_is_known():
    X, Y = labels(60)

    def own(z, y):
        return torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")

    with pytest.raises(ValueError, match="needs a loss with a name"):
        DLClassifier(class_weight="balanced", loss=own, **QUICK).fit(X, Y)


def test_skorch_callbacks_see_labels_and_not_their_weights():
    X, Y = labels(100)
    seen = []

    class Targets(Callback):
        def on_epoch_end(self, net, dataset_train=None, **kwargs):
            seen.append(np.unique(dataset_train.y))

    DLClassifier(class_weight="balanced", callbacks=[Targets()], **QUICK).fit(X, Y)
    assert_array_equal(seen[0], [0, 1])


def test_diabetes_quantiles_beat_those_of_the_rows():
    X, y = load_diabetes(return_X_y=True)
    estimator = DLRegressor(loss="pinball", quantile=LEVELS, random_state=0, max_epochs=20)
    assert cross_val_score(estimator, X, y, cv=3).mean() > 0.15
