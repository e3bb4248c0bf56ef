"""DiagnosisSearchCV: scikit-learn's contract, its budget, and candidates the diagnosis asks for."""

import pickle
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris, make_regression
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_dl import DLClassifier, DLRegressor, checkpoints
from sklearn_dl.diagnosis.rules import Verdict
from sklearn_dl.diagnosis.subject import find_subject
from sklearn_dl.search import DiagnosisSearchCV, optuna_params, param_space
from sklearn_dl.search.evidence import Trial, asked, findings_of
from sklearn_dl.search.experience import EFFECTS, LEVELS, SLOPES, Experience
from sklearn_dl.search.moves import MOVES, moved, numbered, place, stepped
from sklearn_dl.search.proposing import FIRST_STEP, LEAST_STEP, step_after
from sklearn_dl.search.ranking import ranked_draws

SMALL = {"module": "mlp", "hidden_layer_sizes": (4,), "max_epochs": 2, "random_state": 0}
TINY = {"hidden_layer_sizes": [(2,), (4,), (4, 4)], "dropout": stats.uniform(0, 0.5)}
TINY |= {"learning_rate": stats.loguniform(1e-3, 1e-1)}


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def tiny_search(**options):
    return DiagnosisSearchCV(
        options.pop("estimator", DLClassifier(**SMALL)),
        options.pop("space", TINY),
        **{"n_candidates": 8, "cv": 3, "random_state": 0, "refit": False} | options,
    )


# --- scikit-learn's contract ----------------------------------------------------------------------


# As scikit-learn checks its own searches, with errors raised. The check left out fails for
# GridSearchCV too: what a fold of one class says names no weights.
NOT_PASSED = {
    "check_classifiers_one_label_sample_weights": "folds are drawn without regard to weights",
}
LEARNS = SMALL | {"max_epochs": 12, "learning_rate": 0.03}
LISTS = {"hidden_layer_sizes": [(2,), (4,)], "dropout": [0.0, 0.1]}
CHECKED = DiagnosisSearchCV(
    DLClassifier(**LEARNS), LISTS, n_candidates=2, cv=2, random_state=0, error_score="raise"
)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@parametrize_with_checks([CHECKED], expected_failed_checks=lambda _: NOT_PASSED)
def test_scikit_learn_check_passes(estimator, check):
    check(estimator)


def test_the_results_are_those_of_a_scikit_learn_search(iris):
    search = tiny_search(refit=True).fit(*iris)
    results = search.cv_results_
    assert len(results["params"]) == 8
    net = DLClassifier(**SMALL).set_params(**search.best_params_)
    assert_allclose(cross_val_score(net, *iris, cv=3).mean(), search.best_score_, atol=0.01)
    assert search.best_index_ == np.argmax(results["mean_test_score"])
    assert search.best_score_ == results["mean_test_score"].max()
    assert search.best_estimator_.dropout == search.best_params_["dropout"]
    assert search.score(*iris) == (search.predict(iris[0]) == iris[1]).mean()
    assert list(results["param_dropout"]) == [p["dropout"] for p in results["params"]]
    assert len(search.rounds_) == results["round"][-1] + 1
    assert search.rounds_["candidates"].sum() == 8
    assert results["cause"][0] == "as it is"
    own = find_subject(DLClassifier(**SMALL)).setting
    assert results["params"][0] == {name: own(name) for name in TINY}


def test_a_search_repeats_and_batching_changes_nothing(iris):
    X, y = iris
    net = DLClassifier(**SMALL, dtype="float64")
    one, two, alone = (
        tiny_search(estimator=net, n_jobs=jobs).fit(X, y) for jobs in (None, None, 1)
    )
    for other in (two, alone):
        assert one.cv_results_["params"] == other.cv_results_["params"]
        assert_allclose(one.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"])
    assert one.cv_results_["params"] != tiny_search(random_state=1).fit(X, y).cv_results_["params"]


def test_several_metrics_and_a_callable_one(iris):
    def both(estimator, X, y):
        hit = estimator.predict(X) == y
        return {"right": hit.mean(), "wrong": -(~hit).mean()}

    scoring = ["accuracy", "neg_log_loss"]
    several = tiny_search(scoring=scoring, refit="neg_log_loss", n_candidates=10).fit(*iris)
    assert several.best_index_ == np.argmax(several.cv_results_["mean_test_neg_log_loss"])
    assert (several.references_["prior"] < -1).all()  # in nats: of the metric to refit by
    assert set(several.references_) == {"prior", "extra trees"}
    assert len(several.cv_results_["params"]) == 9
    assert several.n_fits_ == 10 * 3
    called = tiny_search(scoring=both, refit="wrong").fit(*iris)
    assert called.best_score_ == called.cv_results_["mean_test_wrong"].max()


def test_nobody_else_is_judged_by_the_score_of_several_quantiles(iris):
    net = DLRegressor(**SMALL, loss="pinball", quantile=[0.1, 0.5, 0.9])
    search = tiny_search(estimator=net, n_candidates=10, cv=2).fit(iris[0], iris[0][:, 0])
    assert list(search.references_) == ["prior"]
    assert np.isnan(search.references_["prior"]).all()
    one = tiny_search(estimator=net.set_params(quantile=0.9), n_candidates=10, cv=2)
    assert len(one.fit(iris[0], iris[0][:, 0]).references_) == 2


def test_pipelines_keep_the_prefix_and_other_steps_are_searched_too(iris):
    pipeline = make_pipeline(StandardScaler(), PCA(), DLClassifier(**SMALL))
    space = {f"dlclassifier__{name}": values for name, values in TINY.items()}
    space |= {"pca__n_components": [2, 3, 4]}
    search = tiny_search(estimator=pipeline, space=space, n_candidates=18).fit(*iris)
    seen = pd.DataFrame(search.cv_results_["params"])
    assert set(seen.columns) == set(space)
    assert seen["pca__n_components"].nunique(dropna=False) > 1  # None is what it was
    assert list(search.cv_results_["cause"][:2]) == ["as it is", "anywhere"]


def test_a_transformed_target_and_weights():
    X, y = make_regression(60, 3, random_state=0)
    net = TransformedTargetRegressor(DLRegressor(**SMALL), transformer=StandardScaler())
    space = {f"regressor__{name}": values for name, values in TINY.items()}
    search = tiny_search(estimator=net, space=space, n_candidates=10)
    search.fit(X, y, sample_weight=np.arange(60) + 1.0)
    assert len(search.cv_results_["params"]) == 10  # no reference where rows are weighted
    assert set(search.references_) == {"prior"}


def test_groups_reach_the_splitter_with_and_without_routing(iris):
    groups = np.repeat(np.arange(30), 5)
    search = tiny_search(cv=GroupKFold(3), n_candidates=2).fit(*iris, groups=groups)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = tiny_search(cv=GroupKFold(3), n_candidates=2).fit(*iris, groups=groups)
    assert_allclose(search.cv_results_["mean_test_score"], routed.cv_results_["mean_test_score"])


@pytest.mark.parametrize(
    "cv",
    [
        ShuffleSplit(2, random_state=np.random.RandomState(0)),
        KFold(2, shuffle=True),
        lambda: (pair for pair in KFold(2, shuffle=True).split(np.zeros((150, 1)))),
    ],
    ids=["drawing", "without a seed", "used up at once"],
)
def test_all_rounds_meet_the_same_folds(cv, iris):
    asked = []

    class Noting(DLClassifier):
        def fit(self, X, y, **options):
            asked.append(X.sum())
            return super().fit(X, y, **options)

    search = tiny_search(estimator=Noting(**SMALL), cv=cv() if callable(cv) else cv)
    search.fit(*iris)
    assert len(search.rounds_) == 2
    assert len(asked) == 16
    assert len(set(asked)) == 2


def test_a_candidate_that_diverges_counts_as_the_worst(iris):
    space = {"learning_rate": [1e-3, 1e30], "max_epochs": [2, 3, 4]}
    net = DLClassifier(**SMALL, schedule=None, warmup=0.0)
    with pytest.warns() as told:
        search = tiny_search(estimator=net, space=space, n_candidates=6).fit(*iris)
    assert any("fits failed" in str(warning.message) for warning in told)
    scores = search.cv_results_["mean_test_score"]
    rates = np.array([p["learning_rate"] for p in search.cv_results_["params"]])
    assert np.isnan(scores[rates > 1]).all()
    assert np.isfinite(scores[rates < 1]).all()
    assert search.best_params_["learning_rate"] == 1e-3


# --- the budget -----------------------------------------------------------------------------------


def test_a_budget_in_seconds_ends_after_the_first_round_at_the_earliest(iris):
    search = tiny_search(n_candidates=None, max_seconds=1e-6).fit(*iris)
    assert len(search.rounds_) == 1


def test_a_space_that_is_used_up_ends_the_search(iris):
    search = tiny_search(space={"dropout": [0.0, 0.1, 0.2]}, n_candidates=20).fit(*iris)
    assert sorted(p["dropout"] for p in search.cv_results_["params"]) == [0.0, 0.1, 0.2]


class Counting(DLClassifier):
    """Notes what is fitted, and is interrupted like a user's fit."""

    seen: ClassVar[list] = []
    interrupt_at: ClassVar = None

    def fit(self, X, y, **options):
        if len(self.seen) == self.interrupt_at:
            raise KeyboardInterrupt
        self.seen.append((self.dropout, self.learning_rate, self.hidden_layer_sizes, X.sum()))
        return super().fit(X, y, **options)


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(Counting, "seen", [])
    monkeypatch.setattr(Counting, "interrupt_at", None)
    return Counting(**SMALL)


def test_a_warm_start_goes_on_and_trains_no_candidate_twice(counting, iris):
    search = tiny_search(estimator=counting, n_candidates=5, warm_start=True).fit(*iris)
    first = search.cv_results_
    search.set_params(n_candidates=9).fit(*iris)
    assert len(counting.seen) == len(set(counting.seen)) == 27
    assert search.cv_results_["params"][:5] == first["params"]
    assert_allclose(search.cv_results_["mean_test_score"][:5], first["mean_test_score"])
    assert list(search.cv_results_["round"]) == [0] * 5 + [1] * 4
    assert list(search.rounds_["candidates"]) == [5, 4]
    with pytest.warns(UserWarning, match="Raise n_candidates"):
        search.fit(*iris)
    assert len(counting.seen) == 27 + 3  # the last one again
    assert len(set(counting.seen)) == 27


def test_an_interrupted_search_goes_on_from_its_last_whole_round(counting, iris, monkeypatch):
    search = tiny_search(estimator=counting, n_jobs=1, warm_start=True)
    monkeypatch.setattr(Counting, "interrupt_at", 14)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*iris)
    monkeypatch.setattr(Counting, "interrupt_at", None)
    search.fit(*iris)
    whole = tiny_search(estimator=DLClassifier(**SMALL), n_jobs=1).fit(*iris)
    assert search.cv_results_["params"] == whole.cv_results_["params"]
    assert len(counting.seen) == 24 + 2  # two fits of the round that was cut short
    assert len(set(counting.seen)) == 24


def test_a_search_that_died_is_run_again_and_trains_only_what_was_not_done(iris, tmp_path):
    class DiedError(Exception):
        pass

    def score(estimator, X, y):
        left[0] -= 1
        if left[0] < 0:
            raise DiedError
        return estimator.score(X, y)

    def run():
        with checkpoints(tmp_path) as kept:
            try:
                return tiny_search(scoring=score, error_score="raise").fit(*iris), kept
            except DiedError:
                return None, kept

    left = [20]  # training and held-out rows are scored: the fits of four settings fell due
    died, first = run()
    left = [1000]
    search, again = run()
    assert died is None
    assert again.reused == first.trained >= 10
    assert first.trained + again.trained == 8 * 3
    assert search.cv_results_["params"] == tiny_search().fit(*iris).cv_results_["params"]


@pytest.mark.parametrize("n_candidates", [2, 4], ids=["nothing left", "goes on"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda search, X, y: search.fit(X[:100], y[:100]), "the rows and the folds"),
        (lambda search, X, y: search.fit(2 * X, y), "met: the rows"),
        (lambda search, X, y: search.fit(X, y, sample_weight=y + 1.0), "met: the rows"),
        (lambda search, X, y: search.set_params(cv=4).fit(X, y), "met: the folds"),
        (lambda search, X, y: search.set_params(scoring="f1_macro").fit(X, y), "met: scoring"),
        (lambda search, X, y: search.set_params(estimator__max_epochs=3).fit(X, y),
         "met: the estimator"),
        (lambda search, X, y: search.set_params(param_distributions=LISTS).fit(X, y),
         "hyperparameters than this one: learning_rate"),
    ],
    ids=["other rows", "other X", "weights", "folds", "metric", "estimator", "names"],
)  # fmt: skip
def test_a_warm_start_refuses_what_its_candidates_have_not_met(change, said, n_candidates, iris):
    search = tiny_search(n_candidates=2, warm_start=True).fit(*iris)
    with pytest.raises(ValueError, match=said):
        change(search.set_params(n_candidates=n_candidates), *iris)
    change(search.set_params(warm_start=False), *iris)
    assert len(search.cv_results_["params"]) == n_candidates


def test_a_warm_start_with_nothing_left_to_try_is_refitted(counting, iris):
    used_up = tiny_search(space={"dropout": [0.0, 0.1, 0.2]}, n_candidates=20, warm_start=True)
    first = used_up.fit(*iris).cv_results_
    with pytest.warns(UserWarning, match="nothing new was tried"):
        again = used_up.set_params(refit=True).fit(*iris).cv_results_
    assert again["params"] == first["params"]
    assert_allclose(again["mean_test_score"], first["mean_test_score"])
    assert used_up.best_estimator_.dropout == used_up.best_params_["dropout"]
    Counting.interrupt_at = 4 * 3
    cut_short = tiny_search(estimator=counting, n_candidates=4, warm_start=True, refit=True)
    with pytest.raises(KeyboardInterrupt):
        cut_short.fit(*iris)
    Counting.interrupt_at = None
    with pytest.warns(UserWarning, match="nothing new was tried"):
        cut_short.fit(*iris)
    whole = tiny_search(n_candidates=4, refit=True).fit(*iris)
    assert cut_short.best_params_ == whole.best_params_
    assert (cut_short.predict(iris[0]) == whole.predict(iris[0])).all()


def test_a_warm_start_diagnoses_the_metric_to_refit_by(iris):
    scoring = ["accuracy", "neg_log_loss"]
    search = tiny_search(scoring=scoring, n_candidates=4, warm_start=True).fit(*iris)
    assert (search.references_["prior"] > 0).all()
    search.set_params(refit="neg_log_loss", n_candidates=8).fit(*iris)
    assert (search.references_["prior"] < -1).all()


def test_a_search_stores_neither_rows_nor_folds_and_moves_no_global_state(iris):
    np.random.seed(0)  # noqa: NPY002
    search = tiny_search(n_candidates=1, random_state=None).fit(*iris)
    assert np.random.rand() == np.random.RandomState(0).rand()  # noqa: NPY002
    few, many = (
        len(pickle.dumps(tiny_search(n_candidates=1).fit(*(np.tile(part.T, k).T for part in iris))))
        for k in (1, 10)
    )
    assert many < 1.1 * few
    assert pickle.loads(pickle.dumps(search)).best_index_ == 0


# --- what is wrong with the input -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"estimator": LogisticRegression()}, TypeError, "got LogisticRegression"),
        ({"space": {}}, ValueError, "is empty"),
        ({"space": {"drop_out": [0.1]}}, ValueError, "'drop_out', which is no parameter"),
        ({"space": {"dropout": []}}, ValueError, "no value for 'dropout'"),
        ({"space": {"dropout": 0.1}}, ValueError, "must be a list of values"),
        ({"space": {"activation": "relu"}}, ValueError, "must be a list of values"),
        ({"n_candidates": None}, ValueError, "never end"),
        ({"n_candidates": 0}, ValueError, "'n_candidates' parameter"),
        ({"max_seconds": 0}, ValueError, "'max_seconds' parameter"),
        ({"space": [TINY]}, ValueError, "'param_distributions' parameter"),
    ],
)
def test_wrong_input_is_said_clearly(options, error, said, iris):
    with pytest.raises(error, match=said):
        tiny_search(**options).fit(*iris)


def test_a_name_without_the_prefix_of_its_step_is_guessed(iris):
    pipeline = make_pipeline(StandardScaler(), DLClassifier(**SMALL))
    with pytest.raises(ValueError, match="Did you mean 'dlclassifier__dropout'"):
        tiny_search(estimator=pipeline).set_params(param_distributions={"dropout": [0.1, 0.2]}).fit(
            *iris
        )
    with pytest.raises(NotFittedError):
        tiny_search(refit=True).predict(iris[0])


# --- what the diagnosis asks for ------------------------------------------------------------------


def trial(train, test, **params):
    wobble = np.array([-0.004, 0.0, 0.004])
    return Trial(params, train + wobble, test - wobble)


PRIOR, FOREST = np.full(3, 0.5), {"extra trees": np.full(3, 0.9)}


@pytest.mark.parametrize(
    ("trials", "most"),
    [
        ([trial(0.99, 0.80)], Verdict.OVERFITTING),
        ([trial(0.75, 0.74)], Verdict.MODEL_BIAS),
        # the same layers fit better with another rate: better weights existed
        ([trial(0.75, 0.74, learning_rate=1), trial(0.9, 0.7, learning_rate=2)],
         Verdict.OPTIMIZATION),
        # only other layers do
        ([trial(0.75, 0.74, hidden_layer_sizes=(2,)), trial(0.9, 0.7, hidden_layer_sizes=(9,))],
         Verdict.MODEL_BIAS),
        # nobody does better, and there is room between training and held-out score
        ([trial(0.99, 0.93)], Verdict.OVERFITTING),
    ],
)  # fmt: skip
def test_the_cause_of_the_best_candidate_gets_most_of_the_next_round(trials, most):
    shares = asked(findings_of(trials, FOREST, PRIOR, 0.5))
    assert max(shares, key=shares.get) is most
    assert shares[most] > 0.6
    assert_allclose(sum(shares.values()), 1)


def test_where_training_and_held_out_scores_are_high_alike_fit_is_sought():
    shares = asked(findings_of([trial(0.93, 0.92)], FOREST, PRIOR, 0.5))
    assert shares[Verdict.OVERFITTING] < 0.2


def test_causes_share_evenly_where_nothing_beats_the_prior_or_no_score_is_known():
    for best, prior in ((trial(0.4, 0.3), PRIOR), (trial(0.9, 0.9), np.full(3, np.nan))):
        shares = asked(findings_of([best], {}, prior, 0.5))
        assert set(shares.values()) == {1 / 3}


def test_the_scale_of_the_metric_does_not_matter():
    trials = [trial(0.99, 0.80), trial(0.95, 0.79)]
    scaled = [Trial(t.params, 1e6 * t.train, 1e6 * t.test) for t in trials]
    plain = asked(findings_of(trials, FOREST, PRIOR, 0.5))
    large = asked(findings_of(scaled, {"extra trees": np.full(3, 9e5)}, 1e6 * PRIOR, 0.5))
    assert_allclose(list(plain.values()), list(large.values()), rtol=1e-6)


def test_each_cause_moves_a_network_its_way():
    space = param_space(DLClassifier(module="mlp"))
    start = DLClassifier(hidden_layer_sizes=(64, 64), max_epochs=20, label_smoothing=0.1)
    start = {name: find_subject(start).setting(name) for name in space} | {"augmentation": None}
    for seed in range(20):
        rng = np.random.RandomState(seed)
        for cause, way in ((Verdict.MODEL_BIAS, -1), (Verdict.OVERFITTING, 1)):
            new = moved(start, space, "", cause, 0.5, 3, rng)
            changed = {name for name in space if new[name] != start[name]}
            assert 1 <= len(changed) <= 3
            assert changed <= {name for name, _ in MOVES[cause]}
            for brake in {"dropout", "weight_decay", "label_smoothing"} & changed:
                assert np.sign(new[brake] - start[brake]) == way
            assert way * (sum(start["hidden_layer_sizes"]) - sum(new["hidden_layer_sizes"])) >= 0
            DLClassifier(**new)._validate_params()


def test_steps_stay_in_the_range_and_know_its_order():
    rng = np.random.RandomState(0)
    rates = stats.loguniform(1e-4, 1e-1)
    assert_allclose(stepped(rates, 1e-3, 1 / 3, rng), 1e-2)
    assert 1e-4 < stepped(rates, 1e-3, -1, rng) < 2e-4
    assert rates.support()[0] < stepped(rates, 0.0, 0.1, rng) < 1e-3
    assert stepped([80, 10, 40, 20], 20, 0.1, rng) == 40
    assert stepped([10, 20, 40, 80], "auto", 0.1, rng) in (20, 40, 80)
    assert stepped([(64,), (8, 8), (128,)], (64,), 0.1, rng) == (128,)
    assert stepped([False, True], False, 1, rng) is True
    assert stepped(["noise", None], None, 0.2, rng) == "noise"
    assert stepped(["relu", "tanh"], "relu", 0, rng) == "tanh"
    assert stepped([0.1], 0.1, 1, rng) == 0.1


def test_auto_counts_as_the_middle_of_numbers_and_is_fitted_as_that(iris):
    assert numbered([10, 80, 20, 40], "auto") == 40
    assert_allclose(numbered(stats.uniform(0, 0.5), "auto"), 0.25)
    assert numbered(["relu", "tanh"], "gelu") == "gelu"
    assert numbered([None, "noise"], "noise") == "noise"
    assert numbered([10, 20], 15) == 15
    net = DLClassifier(**SMALL | {"max_epochs": "auto"})
    search = tiny_search(estimator=net, space={"max_epochs": [1, 2, 3]}, n_candidates=2).fit(*iris)
    assert search.cv_results_["params"][0] == {"max_epochs": 2}


def test_values_of_any_kind_are_searched(iris):
    net = DLClassifier(**SMALL)
    weights = [None, "balanced", {0: 1, 1: 2, 2: 1}]
    found = tiny_search(space=TINY | {"class_weight": weights}).fit(*iris)
    assert len({repr(p["class_weight"]) for p in found.cv_results_["params"]}) > 1
    pipe = make_pipeline(StandardScaler(), net)
    space = {"standardscaler": [StandardScaler(), MinMaxScaler(), "passthrough"]}
    space |= {f"dlclassifier__{name}": values for name, values in TINY.items()}
    found = tiny_search(estimator=pipe, space=space).fit(*iris)
    assert len({repr(p["standardscaler"]) for p in found.cv_results_["params"]}) > 1


def test_steps_halve_only_after_a_round_without_gain():
    assert step_after([1.0, 2.0, 3.0]) == FIRST_STEP
    assert step_after([1.0, 1.0]) == FIRST_STEP / 2
    assert step_after([1.0] * 9) == LEAST_STEP


def test_places_order_numbers_and_layers_and_only_tell_words_apart():
    assert place(stats.loguniform(1e-4, 1e-2), 1e-3) == [pytest.approx(0.5)]
    assert [place([(64,), (8, 8), (128,)], v) for v in ((8, 8), (64,), (128,))] == [[1], [0], [0.5]]
    assert place([10, 20, 40], 40) == [1.0]
    assert place([10, 20, 40], "auto") == [0.5]
    assert place(["noise", None], "noise") == [1.0]
    assert place(["relu", "tanh"], "tanh") == [0.0, 0.5]
    assert place([None, "balanced", {0: 1, 1: 2}], {0: 1, 1: 2}) == [0.0, 0.0, 0.5]


def test_proposals_like_the_good_candidates_are_ranked_first():
    space = {"a": stats.uniform(0, 1), "b": [False, True]}  # names of which nothing is known
    seen = [trial(0.0, -abs(a - 0.3), a=a, b=False) for a in np.linspace(0, 1, 9)]
    seen.append(Trial({"a": 0.3, "b": True}, *np.full((2, 3), np.nan)))
    asked_of = [{"a": a, "b": b} for a in (0.31, 0.9) for b in (False, True)]
    nothing = Experience({}, "")
    draws = ranked_draws(seen, asked_of, space, 50, np.random.RandomState(0), nothing)
    assert draws.shape == (4, 50)
    assert draws.mean(axis=1).argmax() == 0
    assert (draws.argmax(axis=0) == 0).mean() > 0.5


def test_what_other_tables_taught_is_given_up_where_the_scores_say_otherwise():
    space = param_space(DLClassifier(module="mlp"))
    pair = [{"learning_rate": rate} for rate in (5e-4, 1e-2)]
    space = {"learning_rate": space["learning_rate"]}

    def gain(slope, n):  # of the larger rate, which is better elsewhere
        rates = space["learning_rate"].ppf(np.linspace(0.05, 0.95, n)) if n else []
        seen = [trial(0.0, slope * np.log(rate), learning_rate=float(rate)) for rate in rates]
        rng, other_tables = np.random.RandomState(0), Experience(space, "")
        draws = ranked_draws(seen, pair, space, 50, rng, other_tables)
        return (draws[1] - draws[0]).mean()

    assert gain(0.0, 0) > 0.35
    assert gain(1.0, 9) > 0.7
    assert gain(-1.0, 9) < -0.3
    assert gain(-1.0, 40) < -0.7


def test_where_a_gentle_rate_is_better_fewer_epochs_are_expected_to_be():
    space = param_space(DLClassifier(module="mlp"))
    space = {name: space[name] for name in ("learning_rate", "max_epochs")}
    pair = [{"learning_rate": 2e-3, "max_epochs": epochs} for epochs in (10, 80)]

    def gain(slope):  # of more epochs, where rates alone were tried
        rates = space["learning_rate"].ppf(np.linspace(0.05, 0.95, 9))
        seen = [trial(0.0, slope * np.log(rate), learning_rate=float(rate), max_epochs=40)
                for rate in rates]  # fmt: skip
        draws = ranked_draws(
            seen, pair, space, 200, np.random.RandomState(0), Experience(space, "")
        )
        return (draws[1] - draws[0]).mean()

    assert gain(-1.0) < 0.3 < 0.6 < gain(1.0)


def test_experience_counts_what_it_knows_of_a_setting():
    net = DLClassifier(module="mlp", n_members=1)
    space = param_space(net)
    assert set(SLOPES) | set(LEVELS) == set(space)
    own = {name: net.get_params()[name] for name in space}
    well = own | {"learning_rate": 5e-3, "max_epochs": 40, "normalization": "layer"}
    badly = well | {"learning_rate": 2e-4, "max_epochs": 10, "normalization": None}
    taught = Experience(space, "")
    assert EFFECTS @ taught.effects(well) > EFFECTS @ taught.effects(badly) + 0.5
    prefix = "dlclassifier__"
    renamed = {prefix + name: value for name, value in well.items()}
    in_pipeline = Experience(param_space(make_pipeline(net)), prefix)
    assert_allclose(in_pipeline.effects(renamed), taught.effects(well))
    assert not taught.effects({"activation": np.tanh, "batch_size": 9}).any()
    assert taught.beyond_folds(well | {"early_stopping": True}) < taught.beyond_folds(well) == 0


def test_a_third_of_a_round_is_what_the_diagnosis_asks_for(iris):
    search = tiny_search(n_candidates=14).fit(*iris)
    causes = pd.Series(search.cv_results_["cause"]).groupby(search.cv_results_["round"])
    assert list(causes.get_group(0)[:2]) == ["as it is", "anywhere"]
    for r in range(1, len(search.rounds_)):
        anywhere = causes.get_group(r) == "anywhere"
        assert 0 < anywhere.sum() <= len(anywhere) - max(round(len(anywhere) / 3), 1)


# --- the space ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "net",
    [
        DLClassifier(),
        DLClassifier(module="mlp"),
        DLRegressor(n_members=1),
        DLRegressor(module="mlp", optimizer="sgd"),
    ],
    ids=str,
)
def test_every_setting_of_the_space_is_valid_and_holds_the_default_in_its_range(net):
    space = param_space(net)
    for seed in range(20):
        rng = np.random.RandomState(seed)
        drawn = {k: v.rvs(random_state=rng) if hasattr(v, "rvs") else v[rng.randint(len(v))]
                 for k, v in space.items()}  # fmt: skip
        clone(net).set_params(**drawn)._validate_params()
    for name in ("learning_rate", "weight_decay", "dropout"):
        low, high = space[name].support()
        assert low <= find_subject(net).setting(name) <= high or net.optimizer == "sgd"
    lists = [v for v in space.values() if isinstance(v, list)]
    assert all(len({repr(x) for x in v}) == len(v) for v in lists)


def test_the_space_knows_what_the_estimator_decides_itself():
    ensemble, single = param_space(DLClassifier()), param_space(DLClassifier(n_members=1))
    assert set(single) - set(ensemble) == {"max_epochs", "early_stopping"}
    assert "label_smoothing" not in param_space(DLRegressor())
    own = param_space(DLClassifier(module=lambda n_in, n_out: None))
    rates = {o: param_space(DLClassifier(optimizer=o))["learning_rate"].support()
             for o in ("adam", "rmsprop", "sgd", torch.optim.SGD)}  # fmt: skip
    assert rates["rmsprop"] == rates["adam"] < rates["sgd"] == rates[torch.optim.SGD]
    assert not {"hidden_layer_sizes", "activation", "dropout"} & set(own)
    with pytest.raises(TypeError, match="got LogisticRegression"):
        param_space(LogisticRegression())


def test_a_random_search_takes_the_space_of_a_pipeline(iris):
    pipeline = make_pipeline(StandardScaler(), DLClassifier(**SMALL))
    space = {k: v for k, v in param_space(pipeline).items() if "epochs" not in k}
    search = RandomizedSearchCV(pipeline, space, n_iter=2, cv=2, random_state=0).fit(*iris)
    assert set(search.best_params_) == set(space)


def test_optuna_takes_the_space():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    net = make_pipeline(DLClassifier(module="mlp"))
    space = param_space(net) | {"dlclassifier__batch_size": stats.randint(16, 65)}

    def objective(trial):
        params = optuna_params(trial, space)
        assert set(params) == set(space)
        clone(net).set_params(**params)[-1]._validate_params()
        assert (
            params["dlclassifier__hidden_layer_sizes"] in space["dlclassifier__hidden_layer_sizes"]
        )
        assert 16 <= params["dlclassifier__batch_size"] <= 64
        return params["dlclassifier__dropout"]

    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=15)
    assert study.best_value < 0.1
    with pytest.raises(TypeError, match="is 'norm'"):
        optuna_params(study.ask(), {"dropout": stats.norm()})
