"""diagnose() from a table to a verdict, on problems whose cause is known."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, RepeatedKFold, TimeSeriesSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_dl import PLAIN, DLClassifier, DLRegressor, diagnose
from sklearn_dl.datasets import (
    make_noisy_classes,
    make_noisy_numbers,
    make_parity,
    make_pure_noise,
    make_shifted,
)
from sklearn_dl.diagnosis import Remedy, bias_variance
from sklearn_dl.diagnosis.learning import loss_by_size
from sklearn_dl.diagnosis.ledger import ROWS

NET = PLAIN | {
    "hidden_layer_sizes": (16,),
    "optimizer": "adam",
    "learning_rate": 1e-2,
    "batch_size": 64,
    "max_epochs": 25,
    "random_state": 0,
}


class Unfit(ClassifierMixin, BaseEstimator):
    """A classifier that is never to be fitted."""

    def fit(self, X, y):
        raise AssertionError("fitted before the arguments were checked")

    def predict_proba(self, X):
        raise AssertionError("asked before the arguments were checked")


def net(**changes):
    return DLClassifier(**NET | changes)


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return X[::2], y[::2]


def noisy(n=400):
    p = make_noisy_classes(n, 4, flip=0.2, random_state=0)
    return p.X, p.y


def quick(estimator, X, y, **options):
    options = {"cv": 3, "budget": "quick", "random_state": 0} | options
    return diagnose(estimator, X, y, **options)


def outcomes(d):
    return d.evidence.set_index("code")["outcome"].to_dict()


# --- a verdict for each cause ------------------------------------------------------------------


def test_a_rate_near_zero_is_optimization_and_the_strong_optimizer_is_the_remedy():
    d = quick(net(learning_rate=1e-7), *cancer())
    assert d.verdict == "optimization"
    assert outcomes(d)["DL203"] == "found"
    assert d.ledger.loc["optimization", "share"] > 0.9
    best = d.remedies[0]
    assert best.params["learning_rate"] > 1e-4
    assert best.gain > 3 * best.gain_stderr > 0


def test_a_linear_net_on_parity_is_model_bias_and_widening_is_the_remedy():
    p = make_parity(240, random_state=0)
    d = quick(make_pipeline(StandardScaler(), net(hidden_layer_sizes=())), p.X, p.y)
    assert d.verdict == "model_bias"
    assert outcomes(d)["DL301"] == "found"
    assert d.ledger.loc["approximation", "share"] > 0.9
    assert d.remedies[0].params["dlclassifier__hidden_layer_sizes"] == (64,)
    assert "too shallow" in str(d)


def test_a_net_that_memorised_its_noise_is_overfitting():
    d = quick(net(hidden_layer_sizes=(128,), max_epochs=150), *noisy(300))
    assert d.verdict == "overfitting"
    assert any(r.params == {"early_stopping": True} for r in d.remedies)


@pytest.mark.parametrize("kind", ["covariate", "label", "concept"])
def test_test_rows_of_another_kind_are_mismatch(kind):
    p = make_shifted(kind, 400, 4, n_test=600, random_state=1)
    d = quick(LogisticRegression(), p.X, p.y, X_test=p.X_test, y_test=p.y_test)
    assert d.verdict == "mismatch"
    assert d.ledger.loc["mismatch", "ci_low"] > 0


def test_test_rows_of_the_same_kind_are_not_mismatch():
    p = make_shifted("none", 400, 4, n_test=600, random_state=1)
    d = quick(LogisticRegression(), p.X, p.y, X_test=p.X_test, y_test=p.y_test)
    assert d.verdict != "mismatch"
    assert outcomes(d)["DL103"] == "not found"


def test_pure_noise_has_no_signal():
    p = make_pure_noise(800, 3, random_state=0)
    d = quick(LogisticRegression(), p.X, p.y)
    assert d.verdict == "no_signal"
    assert "nothing to learn" in str(d)


def test_a_model_at_the_noise_floor_is_good_and_is_told_that_the_rest_is_noise():
    X, y = noisy(1500)
    # One cut is all there is to know: a stump is as good as anything can be.
    d = quick(DecisionTreeClassifier(max_depth=1, random_state=0), X, y)
    assert d.verdict == "good"
    assert "what remains nobody could predict" in str(d)


def test_a_few_rows_are_inconclusive_and_the_number_that_would_do_is_named():
    d = quick(LogisticRegression(), *noisy(40), cv=2)
    assert d.verdict == "inconclusive"
    assert "rows would" in str(d) or "no number of rows" in str(d)


def test_numbers_are_diagnosed_as_well_as_classes():
    p = make_noisy_numbers(300, 3, noise=0.2, random_state=0)
    bias = quick(Ridge(alpha=1e6), p.X, p.y)
    over = quick(DecisionTreeRegressor(random_state=0), p.X, p.y)
    assert (bias.verdict, over.verdict) == ("model_bias", "overfitting")


@pytest.mark.parametrize("estimator", ["classifier", "regressor"])
def test_a_fit_that_diverges_is_evidence_and_no_crash(estimator):
    X, y = cancer()
    wild = {"optimizer": "sgd", "learning_rate": 1e8}
    model = net(**wild) if estimator == "classifier" else DLRegressor(**NET | wild)
    d = quick(model, X, y)
    assert d.verdict == "optimization"
    assert outcomes(d)["DL201"] == "found"
    assert "diverged" in str(d)
    assert any("max_grad_norm" in r.params for r in d.remedies)
    assert d.ledger["loss"].drop("mismatch").notna().all()


class NeverFinite(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.full(len(X), np.inf)


def test_predictions_that_are_not_finite_count_as_divergence():
    p = make_noisy_numbers(60, 3, random_state=0)
    d = quick(NeverFinite(), p.X, p.y)
    assert d.verdict == "optimization"
    assert "predictions are not finite" in str(d)


# --- what a diagnosis holds --------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow():
    """A net with a rate near zero, wrapped as users wrap it."""
    return quick(make_pipeline(StandardScaler(), net(learning_rate=1e-7)), *cancer())


def test_the_ledger_adds_up_to_the_out_of_fold_loss(slow):
    assert tuple(slow.ledger.index) == ROWS
    total = slow.ledger["loss"].sum()
    assert total == pytest.approx(slow.to_dict()["losses"]["out_of_fold"], abs=1e-12)


def test_the_ledger_adds_up_to_the_test_loss():
    p = make_shifted("concept", 200, 4, n_test=100, random_state=0)
    d = quick(LogisticRegression(), p.X, p.y, X_test=p.X_test, y_test=p.y_test)
    assert d.ledger["loss"].sum() == pytest.approx(d.to_dict()["losses"]["test"], abs=1e-12)


def test_the_two_questions_come_first_with_numbers(slow):
    first, second, *_ = str(slow).splitlines()
    losses = slow.to_dict()["losses"]
    assert first.startswith(f"Training loss {losses['training']:.3g}: large? Yes: the best")
    assert f"reaches {losses['reference']:.3g} on rows it never saw" in first
    assert second.startswith(f"Out-of-fold loss {losses['out_of_fold']:.3g}: large?")
    assert "Mismatch? Not applicable" in str(slow)


def test_test_rows_too_few_to_be_compared_are_still_test_rows(slow):
    assert "no test rows" in str(slow)
    study = replace(slow._study, unlabelled=slow._study.table.take(np.arange(3)))
    assert "no test rows" not in str(replace(slow, _study=study))


def test_evidence_has_stable_codes_and_three_outcomes(slow):
    assert list(slow.evidence["code"]) == sorted(slow.evidence["code"])
    assert slow.evidence["code"].str.fullmatch(r"DL\d{3}").all()
    assert set(slow.evidence["outcome"]) == {"found", "not found", "not applicable"}
    known = slow.evidence[slow.evidence["outcome"] != "not applicable"]
    assert known[["value", "threshold"]].notna().all(axis=None)
    assert (slow.evidence["source"].str.len() > 0).all()


def test_to_dict_is_json_without_nan(slow):
    again = json.loads(json.dumps(slow.to_dict(), allow_nan=False))
    assert again["verdict"] == "optimization"
    assert again["ledger"]["mismatch"]["loss"] is None


def test_the_html_page_stands_alone_and_is_escaped(tmp_path):
    X, y = cancer()
    y = np.where(y, "<script>alert(1)</script>", "b")
    y[:2] = "<rare & odd>"
    d = quick(LogisticRegression(C=1e-5), StandardScaler().fit_transform(X), y)
    page = d.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == page
    assert "&lt;rare &amp; odd&gt;" in page
    for forbidden in ("<script", "http:", "https:", "<link", "<img"):
        assert forbidden not in page
    assert d.verdict.value.replace("_", " ") in page.lower()


def test_trying_a_remedy_gives_a_fitted_estimator_and_the_gain_it_measures(slow):
    fitted, gain = slow.try_remedy(0)
    assert gain.gain > 3 * gain.stderr > 0
    assert fitted.score(*cancer()) > 0.9
    assert fitted.get_params()["dlclassifier__learning_rate"] > 1e-4


def test_calibration_and_an_ensemble_are_tried_like_any_remedy():
    X, y = noisy(200)
    d = quick(net(hidden_layer_sizes=(64,), max_epochs=100), X, y, cv=2)
    does = {r.does: k for k, r in enumerate(d.remedies)}
    calibrated, gain = d.try_remedy(does["calibrate"])
    assert gain.gain > 2 * gain.stderr > 0
    assert hasattr(calibrated, "calibrated_classifiers_")
    ensemble, gain = d.try_remedy(does["ensemble"])
    assert gain.gain > 0
    assert len(ensemble.estimators_) == 5


@pytest.mark.parametrize("does", ["calibrate", "ensemble"])
def test_a_remedy_around_the_network_of_a_pipeline_learns_with_the_weights(does):
    X, y = noisy(150)
    both, labels = X.repeat(2, axis=0), np.stack([y, 1 - y], axis=1).ravel()
    weight = np.tile([1.0, 0.0], 150)  # without them there is nothing to learn
    pipe = make_pipeline(StandardScaler(), net(schedule="cosine"))
    d = quick(pipe, both, labels, sample_weight=weight, cv=2)
    fitted, _ = replace(d, remedies=[Remedy({}, does, "", does=does)]).try_remedy()
    assert fitted.score(X, y) > 0.7


def test_a_remedy_of_fits_that_diverged_gains_on_the_prior():
    X, y = noisy(90)
    wild = net(optimizer="sgd", learning_rate=1e8)
    d = quick(wild, X, y, cv=2)
    tame = Remedy({"optimizer": "adam", "learning_rate": 1e-2, "schedule": "cosine"}, "", "")
    _, gain = replace(d, remedies=[tame]).try_remedy()
    losses = d.to_dict()["losses"]
    assert losses["out_of_fold"] == pytest.approx(losses["prior"])
    assert gain.stderr < abs(gain.gain) + 1 < math.inf


def test_a_rare_class_is_calibrated_on_as_many_folds_as_it_has_rows():
    X, y = noisy(120)
    y = np.where(np.arange(120) < 3, 2, y)
    d = quick(net(schedule="cosine"), X, y, cv=3)
    remedy = Remedy({}, "calibrate", "too sure", does="calibrate")
    fitted, _ = replace(d, remedies=[remedy]).try_remedy(0)
    assert fitted.cv == 2


def test_weights_reach_the_references_where_metadata_is_routed():
    X, y = noisy(90)
    with sklearn.config_context(enable_metadata_routing=True):
        d = quick(LogisticRegression(class_weight={0: 1, 1: 3}), X, y, cv=3)
    assert not any("left out" in note for note in d._study.notes)


def test_a_seed_of_the_diagnosis_is_the_networks_where_it_has_none():
    X, y = noisy(90)
    slow = {"hidden_layer_sizes": (2,), "max_epochs": 3, "learning_rate": 1e-5}
    first, again = (
        quick(net(**slow, random_state=None), X, y, cv=3, random_state=1) for _ in range(2)
    )
    assert first._study.subject.seed != 0
    pd.testing.assert_frame_equal(first.evidence, again.evidence)
    own = np.random.RandomState(0)
    assert quick(net(**slow, random_state=own), X, y, cv=3)._study.subject.seed == 0


@pytest.mark.parametrize(
    ("kind", "does"), [("covariate", "importance weights"), ("label", "prior correction")]
)
def test_weights_towards_the_test_rows_are_tried_on_them(kind, does):
    p = make_shifted(kind, 500, 3, n_test=500, random_state=1)
    model = LogisticRegression()
    d = quick(model, p.X, p.y, X_test=p.X_test, y_test=p.y_test)
    remedy = replace(d.remedies[0], does=does)
    fitted, gain = replace(d, remedies=[remedy]).try_remedy(0)
    assert math.isfinite(gain.gain)
    if kind == "label":  # the boundary moves with the classes' frequencies
        assert gain.gain > 2 * gain.stderr > 0
        assert fitted.predict_proba(p.X_test)[:, 1].mean() > 0.8


def test_the_grid_goes_into_a_search(slow):
    pipe = make_pipeline(StandardScaler(), net(learning_rate=1e-7))
    name = "dlclassifier__learning_rate"
    pipe.set_params(dlclassifier__schedule="cosine")
    search = GridSearchCV(pipe, {name: slow.param_grid[name]}, cv=3).fit(*cancer())
    assert search.best_params_[name] > 1e-7


def test_a_remedy_that_is_no_parameter_says_what_is_to_be_done():
    p = make_pure_noise(800, 3, random_state=0)
    d = quick(LogisticRegression(), p.X, p.y)
    with pytest.raises(ValueError, match="no parameter that could be set: look for other features"):
        d.try_remedy(0)
    with pytest.raises(IndexError, match="there are 1 remedies"):
        d.try_remedy(5)


def test_a_seed_repeats_the_diagnosis_and_touches_no_global_state():
    state = np.random.get_state()[1].copy()  # noqa: NPY002  what must not move
    a, b = (quick(RandomForestClassifier(5), *cancer(), cv=2) for _ in range(2))
    pd.testing.assert_frame_equal(a.ledger, b.ledger)
    pd.testing.assert_series_equal(a.probabilities, b.probabilities)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_the_users_estimator_stays_as_it_was():
    estimator = LogisticRegression(C=1e-5)
    quick(estimator, *noisy(60), cv=2)
    assert not hasattr(estimator, "coef_")
    assert estimator.get_params() == LogisticRegression(C=1e-5).get_params()


def test_a_metric_is_shown_and_does_not_decide(slow):
    pipe = make_pipeline(StandardScaler(), net(learning_rate=1e-7))
    d = quick(pipe, *cancer(), scoring="accuracy", cv=2)
    assert set(d.to_dict()["scores"]) == {"training", "out_of_fold"}
    assert d.verdict == slow.verdict


def test_the_learning_curve_ends_where_the_diagnosis_is(slow):
    curve = loss_by_size(slow, seed=0)
    losses = slow.to_dict()["losses"]
    assert curve["rows"].is_monotonic_increasing
    assert curve["out_of_fold"].iloc[-1] == pytest.approx(losses["out_of_fold"])
    assert curve["training"].iloc[-1] == pytest.approx(losses["training"])


# --- estimators and tables as users have them --------------------------------------------------


def test_a_foreign_estimator_is_diagnosed_and_network_checks_are_not_applicable():
    d = quick(make_pipeline(StandardScaler(), LogisticRegression(C=1e-5)), *cancer())
    assert d.verdict == "model_bias"
    for code in ("DL202", "DL203", "DL301"):
        assert outcomes(d)[code] == "not applicable"
    assert math.isnan(d.ledger.loc["optimization", "stderr"])


def test_a_raw_frame_with_text_and_missing_values_is_diagnosed():
    g = np.random.RandomState(0)
    frame = pd.DataFrame(
        {
            "size": np.where(g.uniform(size=200) < 0.1, np.nan, g.standard_normal(200)),
            "colour": pd.Categorical(g.choice(["red", "green", "blue"], 200)),
        }
    )
    y = np.where(frame["colour"] == "red", "yes", "no")
    d = quick(net(preprocessing="auto"), frame, y)
    assert d.to_dict()["losses"]["reference"] < 0.1
    assert not d.to_dict()["notes"]


def test_a_target_in_other_units_is_judged_in_shares_of_its_variance():
    p = make_noisy_numbers(200, 3, noise=0.2, random_state=0)
    model = TransformedTargetRegressor(Ridge(alpha=1e5), transformer=StandardScaler())
    a, b = quick(model, p.X, p.y, cv=2), quick(model, p.X, 1e6 * p.y, cv=2)
    small, large = (d.ledger["loss"].drop("mismatch").to_numpy() for d in (a, b))
    assert small == pytest.approx(large, rel=0.02, abs=1e-3)
    assert a.verdict == b.verdict


def test_a_balanced_classifier_is_judged_by_balanced_losses():
    g = np.random.RandomState(0)
    y = (g.uniform(size=600) < 0.1).astype(int)
    X = y[:, None] + g.standard_normal((600, 1))
    plain = quick(LogisticRegression(), X, y)
    balanced = quick(LogisticRegression(class_weight="balanced"), X, y)
    assert plain.to_dict()["losses"]["prior"] == pytest.approx(0.325, abs=0.05)
    assert balanced.to_dict()["losses"]["prior"] == pytest.approx(np.log(2), abs=0.01)
    assert balanced.verdict not in ("model_bias", "optimization")


def test_rows_of_weight_zero_are_as_good_as_absent():
    X, y = noisy(200)
    junk = np.random.RandomState(0).standard_normal((200, 4)) + 50
    both, labels = np.vstack([X, junk]), np.append(y, 1 - y)
    weight = np.repeat([1.0, 0.0], 200)
    d = quick(LogisticRegression(), both, labels, sample_weight=weight, cv=2)
    assert d.to_dict()["n_rows"] == 200
    assert d.to_dict()["losses"]["training"] < 0.6


def test_weights_that_fit_cannot_take_still_count_in_the_losses():
    X, y = noisy(100)
    d = quick(KNeighborsClassifier(), X, y, sample_weight=np.ones(100), cv=2)
    assert any("takes no sample_weight" in note for note in d.to_dict()["notes"])


def test_groups_reach_any_splitter():
    X, y = noisy(120)
    groups = np.arange(120) // 10
    by_splitter = quick(LogisticRegression(), X, y, groups=groups, cv=GroupKFold(2))
    by_number = quick(LogisticRegression(), X, y, groups=groups, cv=2)
    assert by_splitter.to_dict()["n_rows"] == 120
    assert any("whole groups" in note for note in by_number.to_dict()["notes"])


@pytest.mark.parametrize(
    "cv", [TimeSeriesSplit(2), RepeatedKFold(n_splits=2, n_repeats=2, random_state=0)]
)
def test_splitters_that_leave_or_repeat_rows_give_a_ledger_that_adds_up(cv):
    d = quick(LogisticRegression(), *noisy(160), cv=cv)
    assert d.ledger["loss"].sum() == pytest.approx(d.to_dict()["losses"]["out_of_fold"])


def test_classes_that_only_the_test_rows_have_are_evidence_and_no_crash():
    X, y = noisy(120)
    d = quick(
        LogisticRegression(), X, y, X_test=X[:30], y_test=np.where(np.arange(30) < 20, 7, y[:30])
    )
    assert outcomes(d)["DL401"] == "found"
    assert d.verdict == "mismatch"


def test_a_tree_that_memorised_is_overfitting():
    d = quick(DecisionTreeClassifier(random_state=0), *noisy(200))
    assert d.verdict == "overfitting"
    assert d.remedies[0].params == {}


# --- bad input ---------------------------------------------------------------------------------


def test_bad_arguments_are_refused_with_what_was_seen():
    X, y = noisy(60)
    with pytest.raises(TypeError, match="SGDClassifier has no predict_proba"):
        quick(SGDClassifier(), X, y)
    with pytest.raises(TypeError, match="neither"):
        quick(StandardScaler(), X, y)
    with pytest.raises(TypeError, match="must be an instance"):
        quick(LogisticRegression, X, y)
    with pytest.raises(ValueError, match="got 'huge'"):
        quick(LogisticRegression(), X, y, budget="huge")
    with pytest.raises(ValueError, match="50 folds need at least 100 rows; got 60"):
        quick(LogisticRegression(), X, y, cv=50)
    with pytest.raises(ValueError, match="3 missing values of 60"):
        quick(LogisticRegression(), X, np.where(np.arange(60) < 3, np.nan, y))


BAD_TYPES = {
    "several metrics": ({"scoring": ["accuracy", "roc_auc"]}, TypeError, "must be one metric"),
    "columns of groups": ({"groups": np.zeros((60, 2))}, ValueError, r"got shape \(60, 2\)"),
    "labels as rows": (
        {"cv": [(np.arange(30), np.arange(31, 61))]},
        ValueError,
        "from 0 to 59, or masks of 60 rows; got 31 to 60",
    ),
    "rows from the end": (
        {"cv": [(np.arange(30), -np.arange(1, 9))]}, ValueError, "got -8 to -1",
    ),
    "a short mask": (
        {"cv": [(np.arange(50) < 25, np.arange(50) >= 25)]}, ValueError, "got a mask of 50",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TYPES)
def test_an_argument_of_the_wrong_kind_is_refused_before_any_fit(name):
    options, error, message = BAD_TYPES[name]
    with pytest.raises(error, match=message):
        quick(Unfit(), *noisy(60), **options)


def test_classes_of_several_kinds_are_refused():
    y = np.array([0, "a"] * 30, dtype=object)
    with pytest.raises(TypeError, match="y must hold classes of one kind; got int and str"):
        quick(Unfit(), noisy(60)[0], y)


@pytest.mark.parametrize("number", ["3", 2.5, None])
@pytest.mark.parametrize("name", ["n_samples", "n_seeds"])
def test_a_number_of_fits_is_a_whole_number(name, number):
    with pytest.raises(TypeError, match=f"{name} must be a whole number; got"):
        bias_variance(Unfit(), *noisy(60), **{name: number})


def test_a_frame_of_one_column_are_groups():
    X, y = noisy(60)
    frame = pd.DataFrame({"patient": np.arange(60) // 5})
    one, other = (
        quick(LogisticRegression(), X, y, groups=g, cv=2) for g in (frame, frame["patient"])
    )
    assert one.to_dict() == other.to_dict()


def test_an_error_of_the_estimator_that_is_no_divergence_is_the_users():
    X, y = noisy(60)
    with pytest.raises(ValueError, match="C"):
        quick(LogisticRegression(C=-1), X, y)
