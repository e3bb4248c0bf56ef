"""DLClassifier and DLRegressor keep scikit-learn's contract: its checks, inputs of every kind."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import check_cv, cross_validate
from sklearn.utils import estimator_html_repr, get_tags
from sklearn.utils.estimator_checks import (
    check_all_zero_sample_weights_error,
    check_dataframe_column_names_consistency,
    check_param_validation,
    estimator_checks_generator,
    parametrize_with_checks,
)

from sklearn_dl import PLAIN, DLClassifier, DLRegressor

SHORT = {"max_epochs": 20, "hidden_layer_sizes": (64,)}
SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 5, "random_state": 0}

# Without early_stopping, augmentation or small batches: they draw rows or numbers per row, so a row
# of weight two is a row that stands twice only in expectation, and a check compares at 1e-7.
CHECKED = [
    DLClassifier(),
    DLClassifier(**SHORT, **PLAIN),
    DLClassifier(**SHORT, optimizer="sgd", learning_rate=0.1, momentum=0.9),
    DLClassifier(**SHORT, normalization="batch", learning_rate=0.01),
    DLClassifier(**SHORT, loss="mse", learning_rate=0.003),
    DLClassifier(**SHORT, preprocessing=None, learning_rate=0.01, label_smoothing=0.1),
    DLClassifier(hidden_layer_sizes=(), max_epochs=100, learning_rate=0.05),
    DLRegressor(),
    DLRegressor(**SHORT, **PLAIN),
    DLRegressor(**SHORT, optimizer="sgd", learning_rate=0.01, momentum=0.9),
    DLRegressor(**SHORT, normalization="layer"),
    DLRegressor(**SHORT, loss="huber", schedule="one_cycle"),
    DLRegressor(**SHORT, loss="poisson", learning_rate=0.01),
    DLRegressor(**SHORT, loss="pinball", quantile=(0.2, 0.5, 0.7)),
    DLRegressor(max_epochs=30, module="residual", hidden_layer_sizes=(64, 64)),
    DLRegressor(hidden_layer_sizes=(), max_epochs=50, learning_rate=0.05, loss="mae"),
]


def _expected_failures(estimator):
    """Several quantiles have not the shape of y, and one check draws negative counts."""
    shape = "predict has a column for each quantile"
    if isinstance(getattr(estimator, "quantile", None), tuple):
        return {
            "check_regressors_train": shape,
            "check_regressor_multioutput": shape,
            "check_estimator_sparse_array": shape,
            "check_estimator_sparse_matrix": shape,
        }
    if estimator.loss == "poisson":
        return {"check_regressor_multioutput": "its targets are negative, which the tags forbid"}
    return {}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:early_stopping needs:UserWarning")
@parametrize_with_checks(CHECKED, expected_failed_checks=_expected_failures)
def test_scikit_learn_check_passes(estimator, check):
    check(estimator)


# Seen with scikit-learn 1.9.1; MLPClassifier collects 65 there.
@pytest.mark.parametrize(("estimator", "least"), [(DLClassifier(), 67), (DLRegressor(), 60)])
def test_no_check_of_scikit_learn_is_left_out(estimator, least):
    checks = list(estimator_checks_generator(estimator, mark=None))
    assert len(checks) >= least
    names = {check.func.__name__ for _, check in checks}
    assert {
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
        "check_estimator_sparse_array",
        "check_estimators_pickle",
        "check_estimators_partial_fit_n_features",
        "check_n_features_in_after_fitting",
        "check_readonly_memmap_input",
    } <= names


@pytest.mark.parametrize("estimator", [DLClassifier(**SMALL), DLRegressor(**SMALL)], ids=repr)
@pytest.mark.parametrize(
    "check",
    [
        check_all_zero_sample_weights_error,
        check_dataframe_column_names_consistency,
        check_param_validation,
    ],
    ids=lambda check: check.__name__,
)
def test_check_outside_check_estimator_passes(estimator, check):
    check(type(estimator).__name__, estimator)


# tables of every kind, and labels of every kind: the same numbers give the same model

N = 40


def _numbers(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 3)).round(2)
    X[rng.random(X.shape) < 0.3] = 0  # for the sparse cases
    return X


def _memmap(X, tmp_path):
    np.save(tmp_path / "x.npy", X)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


CODES = np.arange(N) % 3
TARGET = {
    DLClassifier: CODES,
    DLRegressor: _numbers(1)[:, 0] * 10 + 500,
}
EITHER = pytest.mark.parametrize("estimator_class", [DLClassifier, DLRegressor])


def _outputs(estimator, X):
    return estimator.predict_proba(X) if is_classifier(estimator) else estimator.predict(X)


CONTAINERS = {
    "list": lambda X, tmp_path: X.tolist(),
    "fortran": lambda X, tmp_path: np.asfortranarray(X),
    "strided": lambda X, tmp_path: np.repeat(X, 2, axis=0)[::2],
    "memmap": _memmap,
    "csr_matrix": lambda X, tmp_path: sp.csr_matrix(X),
    "csr_array": lambda X, tmp_path: sp.csr_array(X),
    "csc_array": lambda X, tmp_path: sp.csc_array(X),
    "coo_array": lambda X, tmp_path: sp.coo_array(X),
    "pandas": lambda X, tmp_path: pd.DataFrame(X, columns=list("abc")),
    "nullable": lambda X, tmp_path: pd.DataFrame(X, columns=list("abc")).astype("Float64"),
    "pyarrow": lambda X, tmp_path: pd.DataFrame(X, columns=list("abc")).astype("double[pyarrow]"),
    "polars": lambda X, tmp_path: pl.DataFrame(X, schema=list("abc")),
}


@EITHER
@pytest.mark.parametrize("container", CONTAINERS)
def test_same_numbers_in_another_container_give_the_same_model(
    estimator_class, container, tmp_path
):
    X, y = _numbers(), TARGET[estimator_class]
    other = CONTAINERS[container](X, tmp_path)
    estimator = estimator_class(**SMALL, dtype="float64")  # "auto" is float32 for a frame
    expected, seen = clone(estimator).fit(X, y), clone(estimator).fit(other, y)
    assert_allclose(_outputs(seen, other), _outputs(expected, X), rtol=1e-10)
    assert _outputs(seen, other).dtype == np.float64
    assert seen.n_features_in_ == 3
    named = container in ("pandas", "nullable", "pyarrow", "polars")
    assert hasattr(seen, "feature_names_in_") == named


@EITHER
@pytest.mark.parametrize("batch_size", ["auto", 7])
def test_read_only_inputs_are_enough_and_no_input_is_written_to(estimator_class, batch_size):
    X, y, weight = _numbers(), TARGET[estimator_class].copy(), np.linspace(0.5, 2, N)
    copies = [a.copy() for a in (X, y, weight)]
    for array in (X, y, weight):
        array.flags.writeable = False
    estimator = estimator_class(**SMALL, augmentation="noise", batch_size=batch_size)
    estimator.fit(X, y, sample_weight=weight).predict(X)
    for array, copy in zip((X, y, weight), copies, strict=True):
        assert_array_equal(array, copy)


@EITHER
@pytest.mark.parametrize("batch_size", ["auto", 16])
@pytest.mark.parametrize("preprocessing", ["auto", "standard", None])
def test_sparse_table_equals_dense_one(estimator_class, preprocessing, batch_size):
    X, y = _numbers(), TARGET[estimator_class]
    estimator = estimator_class(**SMALL, preprocessing=preprocessing, batch_size=batch_size)
    expected = _outputs(clone(estimator).fit(X, y), X)
    seen = _outputs(clone(estimator).fit(sp.csr_array(X), y), sp.csr_array(X))
    assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)


@EITHER
@pytest.mark.parametrize(
    ("given", "parameter", "batch_size", "weights", "predictions"),
    [
        ("float64", "auto", "auto", "float64", "float64"),  # one batch holds all rows
        ("float64", "auto", 16, "float32", "float64"),
        ("float32", "auto", "auto", "float32", "float32"),
        ("float32", "float64", "auto", "float64", "float32"),
        ("float64", "float32", "auto", "float32", "float64"),
        ("int64", "auto", 16, "float32", "float64"),
        ("float16", "auto", 16, "float32", "float32"),
    ],
)
def test_dtype_of_weights_and_of_predictions(
    estimator_class, given, parameter, batch_size, weights, predictions
):
    X = (_numbers() * 10).astype(given)
    estimator = estimator_class(**SMALL, dtype=parameter, batch_size=batch_size)
    estimator.fit(X, TARGET[estimator_class])
    assert str(next(estimator.module_.parameters()).dtype) == f"torch.{weights}"
    assert estimator.encode(X).dtype == weights
    assert _outputs(estimator, X).dtype == predictions


def test_mixed_frame_with_gaps_is_learnt_as_it_comes():
    rng = np.random.default_rng(0)
    kind = rng.choice(["north", "south", "east"], 300)
    frame = pd.DataFrame(
        {
            "kind": pd.Series(kind).mask(rng.random(300) < 0.1),
            "size": pd.Series(rng.normal(size=300)).mask(rng.random(300) < 0.1),
            "flag": pd.Categorical(rng.choice(["a", "b"], 300)),
            "day": pd.date_range("2024-01-01", periods=300),
            "on": rng.random(300) < 0.5,
        }
    )
    y = np.where(kind == "north", "yes", "no")
    classifier = DLClassifier(max_epochs=30, random_state=0).fit(frame[:200], y[:200])
    assert classifier.score(frame[200:], y[200:]) > 0.9
    assert list(classifier.feature_names_in_) == list(frame.columns)


LABELS = {
    "strings": np.array(["low", "mid", "high"])[CODES],
    "objects": np.array(["low", "mid", "high"], dtype=object)[CODES],
    "list of strings": np.array(["low", "mid", "high"])[CODES].tolist(),
    "booleans": CODES == 1,
    "list of booleans": (CODES == 1).tolist(),
    "negative integers": CODES * 7 - 7,
    "whole floats": CODES.astype(float),
    "pandas strings": pd.Series(np.array(["low", "mid", "high"])[CODES]),
    "pandas string dtype": pd.Series(np.array(["low", "mid", "high"])[CODES], dtype="string"),
    "pandas categorical": pd.Series(np.array(["low", "mid", "high"])[CODES]).astype("category"),
    "pandas nullable integers": pd.Series(CODES, dtype="Int64"),
    "pandas nullable booleans": pd.Series(CODES == 1, dtype="boolean"),
    "pandas, other index": pd.Series(CODES, index=np.arange(N)[::-1]),
    "polars strings": pl.Series(np.array(["low", "mid", "high"])[CODES].tolist()),
    "polars integers": pl.Series(CODES),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_type_come_back_as_they_were(kind):
    X, y = _numbers(), LABELS[kind]
    estimator = DLClassifier(**{**SMALL, "max_epochs": 200, "hidden_layer_sizes": (64,)})
    estimator.set_params(learning_rate=0.02, dropout=0.0).fit(X, y)
    values = np.asarray(y.to_list() if hasattr(y, "to_list") else y)
    assert_array_equal(estimator.classes_, np.unique(values))
    predicted = estimator.predict(X)
    objects = isinstance(y, pd.Series) and y.dtype == object  # strings, of pandas before 3
    assert predicted.dtype.kind == ("O" if objects else np.unique(values).dtype.kind)
    assert set(predicted) <= set(values)
    assert np.mean(predicted == values) > 0.8
    assert estimator.score(X, y) == np.mean(predicted == values)


@pytest.mark.parametrize(
    "make_y",
    [
        lambda y: y.astype(np.float32),
        lambda y: y.tolist(),
        lambda y: pd.Series(y),
        lambda y: pd.Series(y, dtype="Float64"),
        lambda y: pl.Series(y),
    ],
    ids=["float32", "list", "pandas", "nullable", "polars"],
)
def test_target_numbers_of_any_type_give_the_same_regressor(make_y):
    X, y = _numbers(), TARGET[DLRegressor].astype(np.float32).astype(float)
    expected = DLRegressor(**SMALL).fit(X, y).predict(X)
    assert_allclose(DLRegressor(**SMALL).fit(X, make_y(y)).predict(X), expected, rtol=1e-6)


def test_column_of_labels_is_one_class_a_row_with_a_warning():
    X = _numbers()
    with pytest.warns(DataConversionWarning):
        seen = DLClassifier(**SMALL).fit(X, CODES[:, None])
    assert_array_equal(seen.predict(X), DLClassifier(**SMALL).fit(X, CODES).predict(X))


@EITHER
@pytest.mark.parametrize("dispatch", [False, True])
def test_tensors_are_read_as_arrays(estimator_class, dispatch, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    X, y, weight = _numbers(), TARGET[estimator_class], np.arange(N) % 4.0
    expected = estimator_class(**SMALL).fit(X, y, weight)
    with sklearn.config_context(array_api_dispatch=dispatch):
        seen = estimator_class(**SMALL).fit(*map(torch.from_numpy, (X, y, weight)))
        assert_array_equal(_outputs(seen, torch.from_numpy(X)), _outputs(expected, X))


@pytest.mark.parametrize("dtype", ["Int64", "boolean", "category", "int64[pyarrow]"])
def test_a_frame_of_labels_may_be_of_any_type(dtype):
    X, y = _numbers(), pd.DataFrame({"a": CODES % 2, "b": CODES // 2})
    seen = DLClassifier(**SMALL).fit(X, y.astype(dtype))
    assert_array_equal(seen.predict_proba(X), DLClassifier(**SMALL).fit(X, y).predict_proba(X))
    first = np.arange(2 * N).reshape(N, 2) == 0
    with pytest.raises(ValueError, match=f"1 of {2 * N} values are missing"):
        DLClassifier(**SMALL).fit(X, y.astype(dtype).mask(first))


def test_an_array_of_nullable_labels_is_read_as_a_series():
    seen = DLClassifier(**SMALL).fit(_numbers(), pd.array(CODES, dtype="Int64"))
    assert seen.classes_.dtype == np.int64


@pytest.mark.parametrize("make_frame", [pd.DataFrame, pl.DataFrame])
def test_a_frame_of_one_column_is_a_target(make_frame):
    X = _numbers()
    with pytest.warns(DataConversionWarning):
        classifier = DLClassifier(**SMALL).fit(X, make_frame({"label": CODES}))
    assert_array_equal(classifier.predict(X), DLClassifier(**SMALL).fit(X, CODES).predict(X))
    y = TARGET[DLRegressor]
    expected = DLRegressor(**SMALL).fit(X, y[:, None]).predict(X)
    assert_array_equal(DLRegressor(**SMALL).fit(X, make_frame({"y": y})).predict(X), expected)


def test_times_are_no_target():
    days = pd.Series(pd.date_range("2024-01-01", periods=N))
    with pytest.raises(ValueError, match=r"holds times \(datetime64.*Give numbers, such as days"):
        DLRegressor(**SMALL).fit(_numbers(), days)
    since = (days - days.min()) / np.timedelta64(1, "D")
    assert DLRegressor(**SMALL).fit(_numbers(), since).n_iter_ > 0


def test_masked_cells_are_missing():
    X = _numbers()
    hidden = np.zeros(X.shape, dtype=bool)
    hidden[::5, 1] = True
    missing = np.where(hidden, np.nan, X)
    seen = DLClassifier(**SMALL).fit(np.ma.masked_array(X, hidden), CODES)
    assert_array_equal(
        seen.predict_proba(np.ma.masked_array(X, hidden)),
        DLClassifier(**SMALL).fit(missing, CODES).predict_proba(missing),
    )
    with pytest.raises(ValueError, match=f"NaN: {hidden[:, 1].sum()} of {N} values are missing"):
        DLClassifier(**SMALL).fit(X, np.ma.masked_array(CODES, hidden[:, 1]))


@pytest.mark.parametrize("names", [["a", "b", "a"], [0, 1, 0]])
def test_names_that_repeat_are_refused_with_a_way_out(names):
    frame = pd.DataFrame(_numbers(), columns=names)
    with pytest.raises(ValueError, match=rf"same name: \[{names[0]!r}\]. Rename them"):
        DLClassifier(**SMALL).fit(frame, CODES)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_class_weight_is_zero_or_more(weight):
    with pytest.raises(ValueError, match=r"class_weight must hold weights from zero up, got \{1: "):
        DLClassifier(**SMALL, class_weight={1: weight}).fit(_numbers(), CODES)


# several labels, several outputs


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array, pd.DataFrame])
def test_multilabel_classifier_learns_each_label(loss, container):
    X, Y = make_multilabel_classification(n_samples=150, n_classes=4, random_state=0)
    estimator = DLClassifier(max_epochs=60, loss=loss, random_state=0).fit(X, container(Y))
    assert_array_equal(estimator.classes_, np.arange(4))
    probability = estimator.predict_proba(X)
    assert probability.shape == Y.shape
    assert_array_equal(estimator.predict(X), probability > 0.5)
    assert_allclose(np.exp(estimator.predict_log_proba(X)), probability, rtol=1e-6)
    assert_allclose(1 / (1 + np.exp(-estimator.decision_function(X))), probability, rtol=1e-6)
    assert (estimator.predict(X) == Y).mean() > 0.9
    assert 0.5 < estimator.score(X, Y) <= 1


def test_multi_output_regressor_learns_each_output_in_its_own_units(diabetes):
    X, y = diabetes
    Y = np.column_stack([y, -1e6 * y + 3, np.full(len(y), 7.0)])
    estimator = DLRegressor(max_epochs=20, random_state=0).fit(X, Y)
    predicted = estimator.predict(X)
    assert predicted.shape == Y.shape
    assert np.corrcoef(predicted[:, 0], y)[0, 1] > 0.6
    assert_allclose(predicted[:, 1], -1e6 * predicted[:, 0] + 3, atol=0.2 * 1e6 * y.std())
    assert_allclose(predicted[:, 2], 7, atol=0.5)


def test_target_scale_and_offset_do_not_change_the_regressor(diabetes):
    X, y = diabetes
    one = DLRegressor(**SMALL, batch_size=1000).fit(X, y)
    other = DLRegressor(**SMALL, batch_size=1000).fit(X, 1e9 * y - 4e9)
    assert_allclose(other.predict(X), 1e9 * one.predict(X) - 4e9, rtol=1e-7)


# outputs of the classifier


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_logarithms_and_decisions_agree(n_classes):
    X, y = _numbers(), CODES % n_classes
    estimator = DLClassifier(**SMALL).fit(X, y)
    probability, decision = estimator.predict_proba(X), estimator.decision_function(X)
    assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)
    assert_allclose(np.exp(estimator.predict_log_proba(X)), probability, rtol=1e-12)
    assert_array_equal(estimator.predict(X), estimator.classes_[probability.argmax(axis=1)])
    if n_classes == 2:
        assert decision.shape == (N,)
        assert_allclose(1 / (1 + np.exp(-decision)), probability[:, 1], rtol=1e-12)
    else:
        assert decision.shape == (N, 3)
        softmax = np.exp(decision) / np.exp(decision).sum(axis=1, keepdims=True)
        assert_allclose(softmax, probability, rtol=1e-12)


@EITHER
def test_module_maps_encoded_rows_to_what_predict_uses(estimator_class):
    X = _numbers()
    estimator = estimator_class(**SMALL).fit(X, TARGET[estimator_class])
    with torch.no_grad():
        outputs = estimator.module_(torch.from_numpy(estimator.encode(X))).numpy()
    assert isinstance(estimator.module_, torch.nn.Module)
    if is_classifier(estimator):
        assert_allclose(outputs, estimator.decision_function(X), rtol=1e-12)
    else:
        units = (TARGET[DLRegressor].mean(), TARGET[DLRegressor].std())
        assert_allclose(outputs[:, 0] * units[1] + units[0], estimator.predict(X), rtol=1e-12)


# weights


WEIGHTED = [
    DLClassifier(**SMALL),
    DLClassifier(**SMALL, loss="mse", normalization="batch", class_weight="balanced"),
    DLClassifier(**SMALL, **PLAIN),
    DLRegressor(**SMALL),
    DLRegressor(**SMALL, loss="mae", normalization="layer"),
    DLRegressor(**SMALL, loss="pinball", quantile=0.9, optimizer="sgd", normalization="batch"),
]


@pytest.mark.parametrize("estimator", WEIGHTED, ids=repr)
def test_integer_weight_equals_repetition(estimator):
    X, y = _numbers(), TARGET[type(estimator)]
    weight = np.random.default_rng(0).integers(0, 4, N)
    estimator = clone(estimator).set_params(batch_size=1000)
    weighted = clone(estimator).fit(X, y, sample_weight=weight)
    repeated = clone(estimator).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(_outputs(weighted, X), _outputs(repeated, X), rtol=1e-9)
    assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [1000, 8])
@pytest.mark.parametrize("estimator", WEIGHTED, ids=repr)
def test_row_of_weight_zero_is_as_good_as_absent(estimator, batch_size):
    X, y = _numbers(), TARGET[type(estimator)]
    weight = np.random.default_rng(0).uniform(0.5, 2, N)
    weight[::3] = 0
    kept = weight > 0
    estimator = clone(estimator).set_params(batch_size=batch_size)
    weighted = clone(estimator).fit(X, y, sample_weight=weight)
    dropped = clone(estimator).fit(X[kept], y[kept], sample_weight=weight[kept])
    assert_array_equal(_outputs(weighted, X), _outputs(dropped, X))


@pytest.mark.parametrize("batch_size", [1000, 8])
@pytest.mark.parametrize("estimator", WEIGHTED, ids=repr)
def test_scale_of_the_weights_does_not_matter(estimator, batch_size):
    X, y = _numbers(), TARGET[type(estimator)]
    weight = np.random.default_rng(0).uniform(0.5, 2, N)
    estimator = clone(estimator).set_params(batch_size=batch_size, dtype="float64")
    one = clone(estimator).fit(X, y, sample_weight=weight)
    other = clone(estimator).fit(X, y, sample_weight=weight * 1e6)
    assert_allclose(_outputs(other, X), _outputs(one, X), rtol=1e-9)


def test_weight_pulls_the_model_to_its_rows(iris):
    X, y = iris
    weight = np.where(y == 2, 100.0, 1.0)
    estimator = DLClassifier(**{**SMALL, "learning_rate": 0.01})
    plain, pulled = clone(estimator).fit(X, y), clone(estimator).fit(X, y, sample_weight=weight)
    assert pulled.predict_proba(X)[:, 2].mean() > plain.predict_proba(X)[:, 2].mean() + 0.05
    assert pulled.score(X, y, sample_weight=weight) != pulled.score(X, y)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 4.0, 2: 0.25}])
@pytest.mark.parametrize("preprocessing", ["auto", None])
def test_class_weight_equals_sample_weight(iris, class_weight, preprocessing):
    X, y = iris[0][:120], iris[1][:120]
    table = {0: 0.8, 1: 0.8, 2: 2.0} if class_weight == "balanced" else class_weight
    weight = np.vectorize(table.get)(y)
    estimator = DLClassifier(**SMALL, preprocessing=preprocessing, batch_size=1000)
    by_class = clone(estimator).set_params(class_weight=class_weight).fit(X, y)
    by_row = clone(estimator).fit(X, y, sample_weight=weight)
    assert_allclose(by_class.predict_proba(X), by_row.predict_proba(X), rtol=1e-9)


# going on


def test_partial_fit_learns_batch_after_batch(iris):
    X, y = iris
    estimator = DLClassifier(learning_rate=0.01, random_state=0)
    order = np.random.default_rng(0).permutation(len(X))
    for epoch in range(20):
        for rows in np.array_split(order, 3):
            estimator.partial_fit(X[rows], y[rows], classes=[0, 1, 2] if epoch == 0 else None)
    assert estimator.score(X, y) > 0.93
    assert estimator.n_iter_ == 60
    assert_array_equal(estimator.history_["epoch"], np.arange(1, 61))
    # partial_fit uses the constant rate, whatever the schedule
    assert_allclose(estimator.history_["learning_rate"], 0.01)


def test_partial_fit_takes_classes_of_any_order_and_rows_of_some_classes_only():
    X = _numbers()
    y = np.array(["low", "mid", "high"])[CODES]
    estimator = DLClassifier(**SMALL)
    estimator.partial_fit(X[y == "low"], y[y == "low"], classes=["mid", "low", "high"])
    assert_array_equal(estimator.classes_, ["high", "low", "mid"])
    estimator.partial_fit(X[y != "low"], y[y != "low"])
    assert estimator.predict_proba(X).shape == (N, 3)


@pytest.mark.parametrize("column", [lambda y: y[:, None], lambda y: pd.DataFrame({"y": y})])
def test_partial_fit_takes_a_column_of_classes_as_fit_does(column):
    X, y = _numbers(), CODES
    expected = DLClassifier(**SMALL).partial_fit(X, y, classes=[0, 1, 2]).predict_proba(X)
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        estimator = DLClassifier(**SMALL).partial_fit(X, column(y), classes=[0, 1, 2])
    assert_array_equal(estimator.predict_proba(X), expected)


def test_partial_fit_goes_on_after_a_first_y_that_was_refused():
    X, y = _numbers(), CODES
    estimator = DLClassifier(**SMALL)
    with pytest.raises(ValueError, match="Unknown label type"):
        estimator.partial_fit(X, y + 0.5, classes=[0, 1, 2])
    assert estimator.partial_fit(X, y).predict_proba(X).shape == (N, 3)


@EITHER
def test_partial_fit_goes_on_exactly_where_it_was(estimator_class):
    """Two epochs of full batches at a constant rate are two calls of partial_fit."""
    X, y = _numbers(), TARGET[estimator_class]
    plain = {**SMALL, **PLAIN, "optimizer": "adam", "max_epochs": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole = estimator_class(**plain).fit(X, y)
    parts = estimator_class(**plain)
    kwargs = {"classes": np.unique(y)} if is_classifier(parts) else {}
    parts.partial_fit(X, y, **kwargs).partial_fit(X, y)
    assert_allclose(_outputs(parts, X), _outputs(whole, X), rtol=1e-12)


def test_partial_fit_keeps_the_encoding_of_the_first_rows(iris):
    X, y = iris
    estimator = DLClassifier(**SMALL).partial_fit(X, y, classes=[0, 1, 2])
    before = estimator.encode(X)
    estimator.partial_fit(X * 100, y)
    assert_array_equal(estimator.encode(X), before)


@EITHER
def test_partial_fit_after_fit_goes_on_and_fit_starts_afresh(estimator_class):
    X, y = _numbers(), TARGET[estimator_class]
    estimator = estimator_class(**SMALL).fit(X, y)
    first, loss = _outputs(estimator, X), estimator.loss_curve_[-1]
    estimator.partial_fit(X, y)
    assert estimator.n_iter_ == SMALL["max_epochs"] + 1
    assert estimator.loss_curve_[-1] < 1.2 * loss
    assert_array_equal(_outputs(estimator.fit(X, y), X), first)


@EITHER
def test_warm_start_goes_on_from_the_weights(estimator_class):
    X, y = _numbers(), TARGET[estimator_class]
    estimator = estimator_class(**SMALL, learning_rate=0.1, warm_start=True).fit(X, y)
    first = estimator.loss_curve_
    estimator.fit(X, y)
    assert estimator.loss_curve_[0] < 0.9 * first[0]
    assert estimator.loss_curve_[-1] < first[-1]
    cold = clone(estimator).set_params(warm_start=False).fit(X, y).fit(X, y)
    assert_allclose(cold.loss_curve_, first, rtol=1e-12)


# watching rows


def test_explicit_validation_rows_are_watched_and_not_trained_on(iris):
    X, y = iris
    given = DLClassifier(**SMALL).fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    without = DLClassifier(**SMALL).fit(X[::2], y[::2])
    assert_array_equal(given.predict_proba(X), without.predict_proba(X))
    assert len(given.validation_scores_) == given.n_iter_ == SMALL["max_epochs"]
    assert given.validation_scores_[-1] == pytest.approx(given.score(X[1::2], y[1::2]))
    expected = log_loss(y[1::2], given.predict_proba(X[1::2]))
    assert given.history_["valid_loss"].iloc[-1] == pytest.approx(expected, rel=1e-5)
    assert without.validation_scores_ is None
    assert without.history_["valid_loss"].isna().all()


def test_explicit_validation_rows_of_a_regressor_are_scored_by_r2(diabetes):
    X, y = diabetes
    given = DLRegressor(**SMALL).fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    assert given.validation_scores_[-1] == pytest.approx(given.score(X[1::2], y[1::2]), abs=1e-5)


# what a fitted estimator shows


@EITHER
@pytest.mark.parametrize("early_stopping", [False, True])
def test_fitted_attributes_are_those_of_the_contract(estimator_class, early_stopping):
    X, y = pd.DataFrame(_numbers(), columns=list("abc")), TARGET[estimator_class]
    estimator = estimator_class(**SMALL, early_stopping=early_stopping).fit(X, y)
    columns = ["epoch", "train_loss", "valid_loss", "learning_rate", "gradient_norm", "seconds"]
    history = estimator.history_
    assert list(history.columns) == columns
    assert len(history) == estimator.n_iter_ == len(estimator.loss_curve_)
    assert_array_equal(history["train_loss"], estimator.loss_curve_)
    assert_array_equal(history["epoch"], np.arange(1, estimator.n_iter_ + 1))
    assert (history["seconds"] > 0).all()
    assert (history["gradient_norm"] > 0).all()
    assert (estimator.validation_scores_ is not None) == early_stopping
    n_parameters = sum(p.numel() for p in estimator.module_.parameters())
    assert estimator.n_parameters_ == n_parameters
    assert estimator.n_features_in_ == 3
    assert list(estimator.feature_names_in_) == ["a", "b", "c"]


@EITHER
def test_constructor_stores_its_arguments_and_refit_forgets(estimator_class):
    estimator = estimator_class(**SMALL)
    assert {k: v for k, v in estimator.get_params().items() if k in SMALL} == SMALL
    X, y = _numbers(), TARGET[estimator_class]
    fitted = estimator.fit(X, y)
    assert fitted is estimator
    narrow = estimator.fit(X[:, :2], y)
    assert narrow.n_features_in_ == 2
    assert not hasattr(clone(estimator), "n_iter_")


@EITHER
def test_estimator_shows_itself_as_scikit_learns_do(estimator_class):
    estimator = estimator_class(learning_rate=0.1)
    assert repr(estimator) == f"{estimator_class.__name__}(learning_rate=0.1)"
    assert estimator_class.__name__ in estimator_html_repr(estimator)
    tags = get_tags(estimator)
    assert is_classifier(estimator) != is_regressor(estimator)
    assert tags.input_tags.sparse
    assert tags.input_tags.allow_nan
    assert tags.target_tags.required
    assert not hasattr(estimator, "set_output")
    assert isinstance(estimator, BaseEstimator)


def test_missing_numbers_are_refused_only_without_preprocessing(iris):
    X, y = iris[0].copy(), iris[1]
    X[3, 1] = np.nan
    DLClassifier(**SMALL).fit(X, y).predict(X)
    estimator = DLClassifier(**SMALL, preprocessing=None)
    assert not get_tags(estimator).input_tags.allow_nan
    with pytest.raises(ValueError, match="NaN"):
        estimator.fit(X, y)


@EITHER
def test_sample_weight_can_be_routed(estimator_class):
    X, y = _numbers(), TARGET[estimator_class]
    weight = np.linspace(0.1, 3, N)
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = estimator_class(**SMALL)
        estimator.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        routed = cross_validate(
            estimator, X, y, params={"sample_weight": weight}, cv=2, return_estimator=True
        )
    # the folds of an integer cv are not shuffled, stratified for the classifier
    train, test = routed["estimator"], routed["test_score"]
    for (rows, held_out), fitted, score in zip(
        check_cv(2, y, classifier=is_classifier(estimator)).split(X, y), train, test, strict=True
    ):
        alone = clone(estimator).fit(X[rows], y[rows], sample_weight=weight[rows])
        assert_array_equal(_outputs(alone, X), _outputs(fitted, X))
        assert alone.score(X[held_out], y[held_out], sample_weight=weight[held_out]) == score


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(
    "params",
    [{}, {"loss": "poisson"}, {"loss": "pinball", "quantile": (0.1, 0.5, 0.9)}],
    ids=["mse", "poisson", "quantiles"],
)
def test_validation_scores_are_those_of_score(diabetes, params, columns):
    X, y = diabetes[0], np.column_stack([diabetes[1], np.sqrt(diabetes[1])])[:, :columns]
    held = slice(300, None)
    net = DLRegressor(**params, n_members=1, max_epochs=2, random_state=0)
    net.fit(X[:300], y[:300], X_val=X[held], y_val=y[held])
    assert net.validation_scores_[-1] == pytest.approx(net.score(X[held], y[held]), abs=2e-3)
    same = np.full((5, columns), 0.3)
    net.fit(X[:300], y[:300], X_val=X[:5], y_val=same)
    assert net.validation_scores_ == [net.score(X[:5], same)] * 2 == [0.0, 0.0]
