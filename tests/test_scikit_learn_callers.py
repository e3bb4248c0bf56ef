"""Do scikit-learn's own users of estimators get from the nets what a plain loop over fits gives?"""

from collections.abc import Callable, Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from joblib import parallel_config
from joblib.externals.loky import get_reusable_executor
from scipy.special import softmax
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import TimeSeriesSplit, check_cv, cross_val_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import has_fit_parameter

from sklearn_dl import DLClassifier, DLRegressor
from sklearn_dl.training import trainer
from tests.callers import (
    CALLERS,
    DIABETES,
    GRID,
    IRIS,
    IRIS_WEIGHT,
    LABELS,
    PETALS,
    RAW,
    RAW_CLASS,
    RAW_VALUE,
    TUMOURS,
    Caller,
    Nets,
    Results,
)

NETS = Nets()
BY_NAME = {case.name: case for case in CALLERS}
RESULTS: dict[str, Results] = {}
PROPERTIES: dict[str, Callable[[Results], None]] = {}


def results_of(case: Caller) -> Results:
    """What a case gives, computed once, with its fits counted."""
    if case.name not in RESULTS:
        n_fits = 0
        train = trainer.get()

        def count(job):
            nonlocal n_fits
            n_fits += 1
            return train(job)

        token = trainer.set(count)
        try:
            RESULTS[case.name] = case.run(NETS)
        finally:
            trainer.reset(token)
            plt.close("all")
        assert n_fits == sum(case.stacks)
    return RESULTS[case.name]


def folds(net, X, y, cv=3) -> Iterator[tuple[object, np.ndarray]]:
    """Nets fitted on the rows outside each fold, and the rows of the fold: the plain loop."""
    for train, test in check_cv(cv, y, classifier=is_classifier(net)).split(X, y):
        yield clone(net).fit(rows(X, train), rows(y, train)), test


def rows(table, index):
    return table.iloc[index] if hasattr(table, "iloc") else table[index]


def fold_scores(net, X, y, cv=3) -> list[float]:
    return [fitted.score(rows(X, t), rows(y, t)) for fitted, t in folds(net, X, y, cv)]


# ---- properties of all ----


@pytest.mark.parametrize("case", CALLERS, ids=str)
def test_results_are_finite_and_above_chance(case):
    results = results_of(case)
    for name, value in results.items():
        assert isinstance(value, np.ndarray), name
        if value.dtype.kind == "f":
            assert np.isfinite(value).all(), name
    for name, floor in case.floors.items():
        assert results[name].mean() > floor, name


def test_every_caller_has_a_floor_or_a_property():
    assert len(BY_NAME) == len(CALLERS) >= 50
    assert set(PROPERTIES) <= set(BY_NAME)
    assert not [case.name for case in CALLERS if not case.floors and case.name not in PROPERTIES]


#: Adds up the probabilities of its members job by job, so that rounding depends on ``n_jobs``.
ROUNDS_BY_JOBS = {"bagging"}
#: Enough to pass arrays, frames, pipelines, weights, searches and nested calls to other processes.
TO_OTHER_WORKERS = [
    "cross_val_score_of_raw_frame_classes",
    "cross_validate_with_many_metrics",
    "cross_val_predict_by_every_method",
    "grid_search_through_pipeline",
    "halving_grid_search_over_epochs",
    "learning_curve_by_partial_fit",
    "calibration",
    "stacking",
    "bagging",
    "one_net_an_output",
    "importance_and_dependence",
    "metadata_routing",
]


@pytest.fixture(scope="module")
def loky_ends():
    """Leave no worker behind."""
    yield
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


@pytest.mark.usefixtures("loky_ends")
@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize("name", TO_OTHER_WORKERS)
def test_two_jobs_give_what_one_gives_to_the_last_bit(name, backend):
    alone = results_of(BY_NAME[name])
    with parallel_config(backend, n_jobs=2):
        together = BY_NAME[name].run(NETS)
    rtol = 1e-14 if name in ROUNDS_BY_JOBS else 0
    for key, value in alone.items():
        np.testing.assert_allclose(together[key], value, rtol=rtol, atol=0, err_msg=key)


# ---- properties of each ----


def property_of(name: str):
    def register(check: Callable[[Results], None]) -> Callable[[Results], None]:
        PROPERTIES[name] = check
        return check

    return register


@property_of("cross_val_score_of_classifier")
def equals_plain_loop_over_classifier(got):
    assert got["scores"].tolist() == fold_scores(NETS.classifier(), *IRIS)


@property_of("cross_val_score_of_regressor")
def equals_plain_loop_over_regressor(got):
    assert got["scores"].tolist() == fold_scores(NETS.regressor(), *DIABETES)


@property_of("cross_val_score_of_string_labels")
def string_labels_score_as_numbers_do(got):
    assert got["scores"].tolist() == fold_scores(NETS.classifier(), *IRIS)


@property_of("cross_val_score_of_sparse_rows")
def sparse_rows_score_as_dense_ones_do(got):
    assert got["scores"].tolist() == fold_scores(NETS.classifier(), *IRIS)


@property_of("cross_val_score_of_several_labels")
def score_of_labels_is_share_of_rows_with_all_right(got):
    right = [
        (net.predict(IRIS[0][test]) == LABELS[test]).all(axis=1).mean()
        for net, test in folds(NETS.classifier(), IRIS[0], LABELS)
    ]
    assert got["scores"].tolist() == pytest.approx(right)


@property_of("cross_val_score_of_several_outputs")
def score_of_outputs_is_mean_over_outputs(got):
    X, Y = PETALS
    expected = []
    for net, test in folds(NETS.regressor(), X, Y):
        predicted = net.predict(X[test])
        expected.append(np.mean([r2_score(Y[test, k], predicted[:, k]) for k in (0, 1)]))
    assert got["scores"].tolist() == pytest.approx(expected)


@property_of("cross_val_score_of_raw_frame_classes")
def raw_frame_equals_plain_loop(got):
    assert got["scores"].tolist() == fold_scores(
        NETS.classifier(preprocessing="auto"), RAW, RAW_CLASS
    )


@property_of("cross_validate_with_many_metrics")
def metrics_are_those_of_returned_estimators(got):
    y = TUMOURS[1]
    for i, (test, p) in enumerate(zip(got["rows"], got["probability"], strict=True)):
        assert got["test_roc_auc"][i] == pytest.approx(roc_auc_score(y[test], p))
        assert got["test_average_precision"][i] == pytest.approx(
            average_precision_score(y[test], p)
        )
        # 32-bit probabilities may sit on either side of a clip or a half
        assert got["test_neg_log_loss"][i] == pytest.approx(-log_loss(y[test], p), rel=1e-6)
        assert got["test_f1_macro"][i] == f1_score(y[test], p > 0.5, average="macro")
        assert got["test_accuracy"][i] == accuracy_score(y[test], p > 0.5)
        brier = np.mean((y[test] - p) ** 2) / np.mean((y[test] - y[test].mean()) ** 2)
        assert got["test_d2_brier_score"][i] == pytest.approx(1 - brier, abs=1e-6)


@property_of("cross_validate_with_many_regression_metrics")
def regression_metrics_are_those_of_plain_loop(got):
    X, y = DIABETES
    for i, (net, test) in enumerate(folds(NETS.regressor(), X, y)):
        error = y[test] - net.predict(X[test])
        assert got["test_neg_mean_absolute_error"][i] == pytest.approx(-np.abs(error).mean())
        assert got["test_neg_max_error"][i] == pytest.approx(-np.abs(error).max())
        assert got["test_neg_root_mean_squared_error"][i] == pytest.approx(
            -np.sqrt(np.mean(error**2))
        )


@property_of("cross_validate_with_own_scorers")
def own_scorers_see_probabilities_and_decisions(got):
    X, y = TUMOURS
    for i, (net, test) in enumerate(folds(NETS.classifier(), X, y)):
        loss = log_loss(y[test], net.predict_proba(X[test]))
        assert got["test_log_loss"][i] == pytest.approx(-loss)
        assert got["test_least_margin"][i] == np.abs(net.decision_function(X[test])).min()


@property_of("cross_val_predict_by_every_method")
def methods_agree_with_one_another_and_with_plain_loop(got):
    for net, test in folds(NETS.classifier(), *IRIS):
        np.testing.assert_array_equal(got["predict_proba"][test], net.predict_proba(IRIS[0][test]))
    np.testing.assert_allclose(got["predict_proba"].sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(got["predict"], got["predict_proba"].argmax(axis=1))
    np.testing.assert_allclose(np.exp(got["predict_log_proba"]), got["predict_proba"], atol=1e-12)
    np.testing.assert_allclose(
        softmax(got["decision_function"], axis=1), got["predict_proba"], atol=1e-12
    )


@property_of("cross_val_predict_of_regressor")
def predictions_equal_plain_loop(got):
    for net, test in folds(NETS.regressor(), *DIABETES):
        np.testing.assert_array_equal(got["predict"][test], net.predict(DIABETES[0][test]))


@property_of("cross_val_score_over_other_splitters")
def growing_windows_equal_plain_loop(got):
    assert got["mean_of_time"].tolist() == fold_scores(
        NETS.regressor(), *DIABETES, cv=TimeSeriesSplit(4)
    )


@property_of("permutation_test_score_of_classifier")
def permuted_labels_score_at_chance(got):
    assert got["permuted"].max() < 0.55 < got["score"]  # three classes of about equal size
    assert got["p"] == 1 / 6


@property_of("grid_search")
def best_candidate_is_found_and_refitted(got):
    assert got["mean_test_score"].shape == (32,)
    assert got["best_score"] == got["mean_test_score"].max()
    assert np.unique(got["mean_test_score"]).size > 5  # parameters reach the training
    best = {k: v[(got["best_index"] // s) % 2] for k, v, s in _grid_axes()}
    net = NETS.classifier(**best)
    assert cross_val_score(net, *IRIS, cv=2).mean() == got["best_score"]
    np.testing.assert_array_equal(net.fit(*IRIS).predict(IRIS[0][:20]), got["predict"])


def _grid_axes():
    """Name, two values and stride of each parameter in the order of ``ParameterGrid``."""
    names = sorted(GRID)
    return [(name, GRID[name], 2 ** (len(names) - 1 - i)) for i, name in enumerate(names)]


@property_of("grid_search_of_regression_losses")
def losses_differ_and_pinball_at_half_is_mae(got):
    mse, mae, huber, pinball = got["mean_test_score"]
    assert len({mse, mae, huber}) == 3
    assert pinball == pytest.approx(
        mae, abs=0.05
    )  # half the loss: Adam's step hardly sees a factor


@property_of("grid_search_with_several_metrics")
def dropout_changes_the_scores(got):
    assert got["best_score"] == got["mean_test_accuracy"].max()
    assert np.unique(got["mean_test_neg_log_loss"]).size == 4


@property_of("halving_grid_search_over_epochs")
def survivors_train_longer(got):
    assert got["n_resources"].tolist() == [3, 6, 12]
    assert got["n_epochs"] == 12
    assert got["mean_test_score"].shape == (4 + 2 + 1,)


@property_of("halving_random_search_over_rows")
def survivors_see_more_rows(got):
    assert got["n_resources"].tolist() == [30, 90]
    assert got["mean_test_score"].shape == (6 + 2,)


@property_of("learning_curve_of_classifier")
def more_rows_do_not_hurt(got):
    assert got["sizes"].tolist() == [18, 36, 60]
    assert got["test"].shape == (3, 3)
    assert got["test"][-1].mean() >= got["test"][0].mean()


@property_of("learning_curve_by_partial_fit")
def increments_equal_partial_fit_by_hand(got):
    X, y = IRIS
    for fold, (train, test) in enumerate(check_cv(3, y, classifier=True).split(X, y)):
        net = NETS.classifier(batch_size=4, learning_rate=0.1)
        for tick, chunk in enumerate(np.split(train, [15, 30, 45])):
            net.partial_fit(X[chunk], y[chunk], classes=[0, 1, 2])
            assert got["test"][tick, fold] == net.score(X[test], y[test])


@property_of("validation_curve_of_learning_rate")
def rate_that_hardly_moves_learns_nothing(got):
    assert got["train"][0].mean() < 0.7 < got["train"][2].mean()
    assert got["test"][2].tolist() == fold_scores(NETS.classifier(learning_rate=0.03), *IRIS)


@property_of("learning_curve_display")
def drawn_learning_curve_is_the_mean_over_folds(got):
    np.testing.assert_array_equal(
        got["drawn"], [got["train"].mean(axis=1), got["test"].mean(axis=1)]
    )


@property_of("validation_curve_display")
def decay_of_one_lowers_the_training_score(got):
    np.testing.assert_array_equal(
        got["drawn"], [got["train"].mean(axis=1), got["test"].mean(axis=1)]
    )
    assert got["train"][1].mean() < got["train"][0].mean()


@property_of("calibration")
def calibrated_probabilities_are_probabilities(got):
    for method in ("sigmoid", "isotonic", "temperature", "one_net", "frozen"):
        proba = got[f"{method}_proba"]
        np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
        assert proba.min() >= 0
        if method != "isotonic":  # which says 0 and 1
            assert log_loss(IRIS[1], proba) < 0.7 * np.log(3)


@property_of("decision_thresholds")
def thresholds_act_on_the_nets_probability(got):
    assert 0 < got["threshold"] < 1
    assert got["curve"].max() > 0.8
    proba = NETS.classifier().fit(*TUMOURS).predict_proba(TUMOURS[0])
    np.testing.assert_array_equal(got["fixed_proba"], proba)
    np.testing.assert_array_equal(got["fixed"], proba[:, 1] >= 0.9)


@property_of("voting_of_regressors")
def vote_is_mean_of_members(got):
    members = [NETS.regressor(), NETS.regressor(random_state=1), Ridge()]
    predicted = [member.fit(*DIABETES).predict(DIABETES[0]) for member in members]
    np.testing.assert_allclose(got["predict"], np.mean(predicted, axis=0), rtol=1e-12)


@property_of("voting")
def soft_vote_is_a_probability(got):
    np.testing.assert_allclose(got["proba"].sum(axis=1), 1, atol=1e-12)


@property_of("stacking")
def stack_passes_on_probabilities_of_nets_fitted_on_all_rows(got):
    nets = [NETS.classifier().fit(*IRIS), NETS.classifier(activation="tanh").fit(*IRIS)]
    np.testing.assert_array_equal(
        got["transform"], np.hstack([net.predict_proba(IRIS[0]) for net in nets])
    )


@property_of("stacking_of_regressors")
def stack_passes_on_predictions_of_net(got):
    net = NETS.regressor().fit(*DIABETES)
    np.testing.assert_array_equal(got["transform"][:, 0], net.predict(DIABETES[0]))


@property_of("adaboost")
def boosted_nets_learn_from_weighted_rows(got):
    assert (got["errors"] > 0).all()
    assert (got["errors"] < 2 / 3).all()


@property_of("one_against_others")
def one_against_rest_equals_three_binary_nets(got):
    X, y = IRIS
    binary = [
        NETS.classifier().fit(X, (y == k).astype(int)).predict_proba(X)[:, 1] for k in range(3)
    ]
    expected = np.transpose(binary) / np.sum(binary, axis=0)[:, None]
    np.testing.assert_allclose(got["rest_proba"], expected, rtol=1e-12)
    assert got["one_decision"].shape == (90, 3)


@property_of("one_against_rest_of_labels")
def label_by_label_equals_binary_nets(got):
    nets = [NETS.classifier().fit(IRIS[0], label) for label in LABELS.T]
    expected = np.transpose([net.predict_proba(IRIS[0])[:, 1] for net in nets])
    np.testing.assert_allclose(got["proba"], expected, rtol=1e-12)


@property_of("classifier_chain")
def first_link_sees_the_features_alone(got):
    net = NETS.classifier().fit(IRIS[0], LABELS[:, 0])
    np.testing.assert_array_equal(got["proba"][:, 0], net.predict_proba(IRIS[0])[:, 1])


@property_of("regressor_chain")
def second_link_sees_the_first_output(got):
    X, Y = PETALS
    first = NETS.regressor().fit(X, Y[:, 1])
    second = NETS.regressor().fit(np.column_stack([X, Y[:, 1]]), Y[:, 0])
    predicted = first.predict(X)
    np.testing.assert_array_equal(got["predict"][:, 1], predicted)
    np.testing.assert_array_equal(
        got["predict"][:, 0], second.predict(np.column_stack([X, predicted]))
    )


@property_of("one_net_an_output")
def each_output_has_its_own_net(got):
    assert got["proba"].shape == (90, 3 + 2)
    for k in (0, 1):
        net = NETS.regressor().fit(PETALS[0], PETALS[1][:, k])
        np.testing.assert_array_equal(got["predict"][:, k], net.predict(PETALS[0]))


@property_of("self_training")
def unlabelled_rows_get_mostly_their_own_label(got):
    given, guessed = got["labelled_at"] == 0, got["labelled_at"] > 0
    np.testing.assert_array_equal(given, np.arange(90) < 30)
    assert guessed.sum() > 10
    assert (got["labels"] == IRIS[1])[guessed].mean() > 0.8


@property_of("importance_and_dependence")
def body_mass_matters_and_a_heavier_patient_fares_worse(got):
    assert 2 in np.argsort(got["importance"])[-3:]
    assert got["average"][0, -1] > got["average"][0, 0]
    net = NETS.regressor().fit(*DIABETES)
    for k, value in enumerate(got["grid"]):
        X = DIABETES[0].copy()
        X[:, 2] = value
        np.testing.assert_allclose(got["individual"][0, :, k], net.predict(X), rtol=1e-6)
    np.testing.assert_allclose(got["average"], got["individual"].mean(axis=1), rtol=1e-6)


@property_of("displays_of_fitted_nets")
def displays_show_what_the_net_predicts(got):
    X, y = IRIS
    net = NETS.classifier().fit(X, y)
    for k, width in enumerate(got["grid"]):
        changed = np.column_stack([X[:, :2], np.full(90, width), X[:, 3]])
        expected = net.predict_proba(changed).mean(axis=0)
        np.testing.assert_allclose(got["dependence"][:, k], expected, rtol=1e-6)
    assert got["dependence_of_two"].shape == (3, 4, 4)
    assert got["boundary"].shape[:2] == (10, 10)
    assert got["confusion"].trace() == pytest.approx(90 * net.score(X, y))
    assert got["confusion"].sum() == 90
    np.testing.assert_array_equal(
        got["errors"], NETS.regressor().fit(*DIABETES).predict(DIABETES[0])
    )


@property_of("displays_of_probabilities")
def calibration_display_shows_the_nets_probability(got):
    proba = NETS.classifier().fit(*TUMOURS).predict_proba(TUMOURS[0])[:, 1]
    np.testing.assert_array_equal(got["said"], proba)
    assert got["true"][0] < 0.5 < got["true"][-1]


@property_of("sequential_feature_selector")
def two_columns_with_a_petal_measure_are_selected(got):
    assert got["selected"].sum() == 2
    assert got["selected"][2:].any()


@property_of("elimination_by_input_weight")
def petal_measures_are_kept_and_weigh_most(got):
    assert got["support"][2:4].all()
    assert got["largest"].sum() == 2
    assert not got["largest"][4:].any()  # noise
    assert got["curve"].shape == (2,)


@property_of("iterative_imputer")
def filled_values_are_nearer_than_column_means(got):
    error = mean_absolute_error(got["truth"], got["filled"])
    assert error < 0.8 * np.abs(got["truth"] - got["truth"].mean()).mean()


@property_of("ransac")
def outliers_are_found(got):
    assert not got["inliers"][::10].any()
    assert np.delete(got["inliers"], np.s_[::10]).mean() > 0.6


@property_of("pipelines_of_numbers")
def scaled_inputs_need_no_preprocessing_of_ours(got):
    scores = []
    X, y = IRIS
    for train, test in check_cv(3, y, classifier=True).split(X, y):
        scaler = StandardScaler().fit(X[train])
        pca = PCA(2).fit(scaler.transform(X[train]))
        net = NETS.classifier(preprocessing=None)
        net.fit(pca.transform(scaler.transform(X[train])), y[train])
        scores.append(net.score(pca.transform(scaler.transform(X[test])), y[test]))
    assert got["scores"].tolist() == scores


@property_of("pipelines_of_raw_frames")
def frames_of_transformers_keep_their_names(got):
    n_columns = 1 + 2 + 4  # the logarithm, two numbers passed by, and what remains
    assert got["n_features"] == got["n_named"] == n_columns


@property_of("transformed_target")
def net_learns_the_logarithm(got):
    net = NETS.regressor(preprocessing="auto").fit(RAW, np.log(RAW_VALUE))
    np.testing.assert_allclose(got["predict"], np.exp(net.predict(RAW)), rtol=1e-12)


@property_of("metadata_routing")
def weights_reach_fit_and_score(got):
    X, y = IRIS
    splits = list(check_cv(3, y, classifier=True).split(X, y))
    scored, unscored = [], []
    for train, test in splits:
        net = NETS.classifier().fit(X[train], y[train], sample_weight=IRIS_WEIGHT[train])
        right = net.predict(X[test]) == y[test]
        scored.append(np.average(right, weights=IRIS_WEIGHT[test]))
        scaler = StandardScaler().fit(X[train])
        net.fit(scaler.transform(X[train]), y[train], sample_weight=IRIS_WEIGHT[train])
        unscored.append(net.score(scaler.transform(X[test]), y[test]))
    assert got["scored"].tolist() == pytest.approx(scored)
    assert got["pipeline"].tolist() == pytest.approx(unscored)
    assert got["mean_test_score"][0] == pytest.approx(np.mean(unscored))


@property_of("metadata_routing_through_ensembles")
def weights_reach_each_member(got):
    def weighted(y):
        net = NETS.classifier().fit(IRIS[0], y, sample_weight=IRIS_WEIGHT)
        return net.predict_proba(IRIS[0])

    np.testing.assert_array_equal(got["vote_proba"], weighted(IRIS[1]))
    rest = np.column_stack([weighted((IRIS[1] == k).astype(int))[:, 1] for k in range(3)])
    np.testing.assert_allclose(got["rest_proba"], rest / rest.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("name", PROPERTIES)
def test_caller_gives_what_independent_computation_gives(name):
    PROPERTIES[name](results_of(BY_NAME[name]))


# ---- what callers ask an estimator before they fit it ----


def test_callers_see_a_classifier_and_a_regressor():
    assert is_classifier(DLClassifier())
    assert not is_regressor(DLClassifier())
    assert is_regressor(DLRegressor())
    assert not is_classifier(DLRegressor())
    assert has_fit_parameter(DLClassifier(), "sample_weight")
    assert has_fit_parameter(DLRegressor(), "sample_weight")


def test_html_shows_the_changed_parameter_before_and_after_fit(iris):
    net = NETS.classifier(max_epochs=3)
    before = estimator_html_repr(net)
    after = estimator_html_repr(net.fit(*iris))
    assert "DLClassifier" in before
    assert "max_epochs" in before
    assert "Not fitted" in before
    assert "Not fitted" not in after
    assert net._repr_html_()
