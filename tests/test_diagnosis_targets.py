"""The diagnosis of labels, several outputs, several quantiles and counts."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import log_loss, mean_pinball_loss, r2_score
from sklearn.neighbors import KNeighborsClassifier

from sklearn_dl import DLClassifier, DLRegressor, diagnose
from sklearn_dl.diagnosis import Remedy, bias_variance
from sklearn_dl.diagnosis.own_loss import Aim, find_aim, row_loss
from sklearn_dl.diagnosis.quantiles import EachQuantile, LeafQuantileTrees, NeighbourQuantile
from sklearn_dl.diagnosis.reference_models import pool
from sklearn_dl.diagnosis.row_losses import LabelLogLoss
from sklearn_dl.diagnosis.subject import find_subject
from sklearn_dl.diagnosis.table import check_test_table, check_training_table

N = 150
LEVELS = (0.1, 0.5, 0.9)
QUICK = {"hidden_layer_sizes": (16,), "max_epochs": 40, "learning_rate": 0.01, "random_state": 0}
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, size=(N, 3))
Y = 3 * X[:, 0] + RNG.standard_normal(N)
LABELS = (X + 0.3 * RNG.standard_normal((N, 3)) > 0).astype(int)
LABELS[:, 2] = np.arange(N) == 5  # in all folds but one a label that no row has
COUNTS = RNG.poisson(np.exp(1 + X[:, 0])).astype(float)
OUTPUTS = np.stack([Y, 500 - 100 * X[:, 1]], axis=1)
CASES = {
    "labels": (DLClassifier(**QUICK), LABELS, "log loss of a label"),
    "outputs": (DLRegressor(**QUICK), OUTPUTS, "squared error"),
    "quantiles": (DLRegressor(loss="pinball", quantile=LEVELS, **QUICK), Y, "mean of 0.1, 0.5"),
    "counts": (DLRegressor(loss="poisson", **QUICK), COUNTS, "Poisson deviance"),
}  # fmt: skip
REFERENCES = {"prior", "linear", "nearest neighbours", "gradient boosting", "extra trees"}


def table_of(y, task="regression"):
    return check_training_table(X, y, task=task, groups=None)


@pytest.mark.parametrize("name", CASES)
def test_each_target_is_diagnosed_by_its_own_loss(name, tmp_path):
    estimator, y, loss = CASES[name]
    d = diagnose(estimator, X, y, cv=2, budget="quick", random_state=0)
    assert loss in d._study.loss.name
    assert not [note for note in d._study.notes if "left out" in note]
    losses = d.ledger["loss"]
    gaps = losses[["reference", "approximation", "optimization", "estimation"]]
    assert np.isfinite(gaps).all()
    # what the target is predictable from is there: noise is a part of the constant's loss
    assert losses["reference"] < 0.8 * d._study.measured.prior.value
    assert d.verdict.value != "no_signal"
    assert loss in str(d) + d._study.loss.name
    d.to_html(tmp_path / "report.html")


@pytest.mark.parametrize("name", CASES)
def test_a_network_that_hardly_learns_has_a_large_training_loss(name):
    estimator, y, _ = CASES[name]
    lazy = estimator.__class__(**{**estimator.get_params(), "learning_rate": 1e-5, "max_epochs": 1})
    d = diagnose(lazy, X, y, cv=2, budget="quick", random_state=0)
    assert d.ledger.loc[["approximation", "optimization"], "loss"].sum() > 0.1
    assert d.verdict.value in ("optimization", "model_bias", "inconclusive")
    # networks of several seeds are averaged also where a row has several numbers
    ensemble = Remedy({}, "average", "", does="ensemble")
    _, gain = replace(d, remedies=[ensemble]).try_remedy()
    assert math.isfinite(gain.gain)


def test_loss_of_labels_is_the_mean_of_log_losses():
    p = np.random.default_rng(1).uniform(0.01, 0.99, size=LABELS.shape)
    seen = LabelLogLoss().of(p, LABELS).mean()
    each = [log_loss(y, q, labels=[0, 1]) for y, q in zip(LABELS.T, p.T, strict=True)]
    assert seen == pytest.approx(np.mean(each))
    assert np.isnan(LabelLogLoss().of(np.where(p > 0.9, np.nan, p), LABELS)).any()


def test_loss_of_labels_reads_scikit_learn_s_own_multi_output_probabilities():
    once = LABELS.copy()
    once[:, 1] = 1
    for model in (KNeighborsClassifier(), ExtraTreesClassifier(n_estimators=5, random_state=0)):
        fitted = model.fit(X, once)
        seen = LabelLogLoss().output(fitted, X)
        assert seen.shape == once.shape
        assert_allclose(seen[:, 0], fitted.predict_proba(X)[0][:, 1])
        assert (seen[:, 1] == 1).all()


def test_one_is_the_loss_of_the_best_constants():
    for y, aim in ((OUTPUTS, Aim("squared")), (Y, Aim("pinball", LEVELS))):
        loss = row_loss(aim, table_of(y))
        constant = (
            y.mean(axis=0)
            if aim.kind == "squared"
            else np.quantile(y, LEVELS, method="inverted_cdf")
        )
        said = np.broadcast_to(constant, (N, len(constant)))
        assert loss.of(said, y).mean() == pytest.approx(1, abs=1e-9)
    predicted = OUTPUTS + RNG.standard_normal(OUTPUTS.shape)
    mean = row_loss(Aim("squared"), table_of(OUTPUTS)).of(predicted, OUTPUTS).mean()
    assert mean == pytest.approx(1 - r2_score(OUTPUTS, predicted))


def test_pinball_of_levels_is_proportional_to_scikit_learn_s():
    predicted = np.sort(RNG.standard_normal((2, N, 3)), axis=2)
    loss = row_loss(Aim("pinball", LEVELS), table_of(Y))
    ours = [loss.of(p, Y).mean() for p in predicted]
    theirs = [
        sum(mean_pinball_loss(Y, p[:, k], alpha=q) for k, q in enumerate(LEVELS)) for p in predicted
    ]
    assert ours[0] / ours[1] == pytest.approx(theirs[0] / theirs[1])


def test_references_say_all_quantiles_without_crossing():
    frame = pd.DataFrame(X).add_prefix("x").astype(np.float64)
    models = pool(frame, "regression", N, 0, Aim("pinball", LEVELS))
    assert set(models) >= REFERENCES
    for model in models.values():
        if not isinstance(model, DLRegressor):
            predicted = model.fit(frame, Y).predict(frame)
            assert predicted.shape == (N, 3)
            assert (np.diff(predicted, axis=1) >= 0).all()


def test_references_of_labels_learn_a_label_that_is_constant():
    frame = pd.DataFrame(X).add_prefix("x").astype(np.float64)
    models = pool(frame, "classification", N, 0, Aim("labels"), n_targets=3)
    constant = LABELS.copy()
    constant[:, 2] = 0
    assert set(models) >= REFERENCES
    for model in models.values():
        if not isinstance(model, DLClassifier):
            with warnings.catch_warnings():  # as the diagnosis does
                warnings.simplefilter("ignore")
                p = LabelLogLoss().output(model.fit(frame, constant), frame)
            assert p.shape == LABELS.shape
            assert not p[:, 2].any()


def test_models_of_several_quantiles_are_those_of_each():
    each = EachQuantile(DummyRegressor(strategy="quantile"), LEVELS).fit(X, Y).predict(X)
    assert_allclose(each[0], np.quantile(Y, LEVELS, method="averaged_inverted_cdf"), atol=0.1)
    for model in (NeighbourQuantile, LeafQuantileTrees):
        options = {"random_state": 0} if model is LeafQuantileTrees else {}
        together = model(LEVELS, **options).fit(X, Y).predict(X)
        for k, level in enumerate(LEVELS):
            assert_allclose(together[:, k], model(level, **options).fit(X, Y).predict(X))


def test_weights_of_labels_are_said_not_to_be_judged():
    subject = find_subject(DLClassifier(class_weight="balanced"))
    assert "not part of the log loss" in find_aim(subject, LABELS).note
    assert find_aim(find_subject(DLClassifier()), LABELS).note is None


def test_one_level_in_a_sequence_is_a_single_quantile():
    subject = find_subject(DLRegressor(loss="pinball", quantile=[0.3]))
    assert find_aim(subject, Y).quantile == 0.3


@pytest.mark.parametrize(
    ("estimator", "y", "message"),
    [
        (DLRegressor(loss="mae"), OUTPUTS, "2 columns, of which together only squared error"),
        (DLRegressor(loss="pinball", quantile=LEVELS), OUTPUTS, "Diagnose one at a time"),
        (DLClassifier(), LABELS + np.arange(3), "columns of 0 and 1 for labels"),
    ],
)
def test_targets_that_cannot_be_diagnosed_together_are_refused(estimator, y, message):
    with pytest.raises(ValueError, match=message):
        diagnose(estimator, X, y)


def test_test_rows_need_the_columns_of_the_training_rows():
    train = table_of(LABELS, "classification")
    with pytest.raises(ValueError, match="the columns of y"):
        check_test_table(X, LABELS[:, :2], train, task="classification")


@pytest.mark.parametrize("name", ["labels", "outputs", "quantiles"])
def test_bias_and_variance_are_of_one_target(name):
    estimator, y, _ = CASES[name]
    with pytest.raises(ValueError, match="one class or number a row"):
        bias_variance(estimator, X, y, n_samples=2, n_seeds=1)
