"""What goes wrong says so: divergence, no convergence, Ctrl-C, and input that cannot be used."""

import _thread
import threading
import time
from contextlib import suppress

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import cross_val_score
from torch import nn

from sklearn_dl import PLAIN, DLClassifier, DLRegressor, batched_fits
from sklearn_dl.training import DenseInputs, DivergenceError, Examples, ModelState
from sklearn_dl.training.judging import padded_rows
from sklearn_dl.training.members import joined

SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 5, "random_state": 0}
EITHER = pytest.mark.parametrize("estimator_class", [DLClassifier, DLRegressor])
OPTIMIZERS = ("sgd", "adagrad", "rmsprop", "adam", "adamw")
LOSSES = [
    (DLClassifier, "cross_entropy"),
    (DLClassifier, "mse"),
    (DLRegressor, "mse"),
    (DLRegressor, "mae"),
    (DLRegressor, "huber"),
    (DLRegressor, "pinball"),
]


def _data(estimator_class, iris):
    X, y = iris
    return X, (y if estimator_class is DLClassifier else 10.0 * y + X[:, 0])


def _assert_predicts(estimator, X):
    assert np.isfinite(estimator.predict(X)).all()
    if is_classifier(estimator):
        assert np.isfinite(estimator.predict_proba(X)).all()
    assert all(np.isfinite(p.detach().numpy()).all() for p in estimator.module_.parameters())


# divergence


@EITHER
@pytest.mark.parametrize("plain", [{}, PLAIN], ids=["default", "plain"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_absurd_rate_ends_at_once_in_an_error_that_says_why(
    iris, estimator_class, optimizer, plain
):
    X, y = _data(estimator_class, iris)
    estimator = estimator_class(
        **plain, optimizer=optimizer, learning_rate=1e6, max_epochs=10_000, random_state=0
    )
    started = time.perf_counter()
    with pytest.raises(
        DivergenceError, match=r"in epoch \d+, with learning_rate=1e\+06.*too large"
    ):
        estimator.fit(X, y)
    assert time.perf_counter() - started < 5
    assert estimator.n_iter_ < 10
    assert len(estimator.history_) == estimator.n_iter_
    assert np.isfinite(estimator.history_["train_loss"]).all()
    _assert_predicts(estimator, X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("normalization", [None, "batch"])
@pytest.mark.parametrize("rate", [1.0, 10.0, 1e3, 1e6, 1e30])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("estimator_class", "loss"), LOSSES)
def test_no_fit_ends_with_predictions_that_are_no_numbers(
    iris, estimator_class, loss, optimizer, rate, normalization
):
    X, y = _data(estimator_class, iris)
    for batch_size, weight_decay in ((1000, 0.0), (32, 1.0)):
        estimator = estimator_class(
            hidden_layer_sizes=(16, 16),
            loss=loss,
            optimizer=optimizer,
            learning_rate=rate,
            normalization=normalization,
            batch_size=batch_size,
            weight_decay=weight_decay,
            schedule=None,
            max_epochs=8,
            random_state=0,
        )
        with suppress(DivergenceError):
            estimator.fit(X, y)
        _assert_predicts(estimator, X)


@EITHER
def test_last_step_is_not_trusted_either(iris, estimator_class):
    """One epoch of one batch: the loss that was read is the one before the only step."""
    X, y = _data(estimator_class, iris)
    estimator = estimator_class(
        **{**SMALL, **PLAIN, "optimizer": "sgd"}, learning_rate=1e20, batch_size=1000
    )
    kwargs = {"classes": [0, 1, 2]} if is_classifier(estimator) else {}
    with pytest.raises(DivergenceError, match=r"the last weights on some .* in epoch 1"):
        estimator.partial_fit(X, y, **kwargs)
    _assert_predicts(estimator, X)


def test_weights_after_a_divergence_are_those_of_the_last_good_epoch(diabetes):
    X, y = diabetes
    params = {**PLAIN, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.5}
    params = {**params, "hidden_layer_sizes": (), "batch_size": 1000, "random_state": 0}
    failed = DLRegressor(**params, max_epochs=1000)
    with pytest.raises(DivergenceError):
        failed.fit(X, y)
    # the last loss in the history is that of the weights one epoch before
    good = DLRegressor(**params, max_epochs=failed.n_iter_ - 1).fit(X, y)
    assert_array_equal(failed.loss_curve_[:-1], good.loss_curve_)
    assert_array_equal(failed.predict(X), good.predict(X))


def test_divergence_under_early_stopping_keeps_usable_weights(iris):
    X, y = iris
    estimator = DLRegressor(
        optimizer="sgd", learning_rate=100.0, early_stopping=True, random_state=0
    )
    with pytest.raises(DivergenceError):
        estimator.fit(X, y)
    _assert_predicts(estimator, X)


def test_divergence_is_an_arithmetic_error_and_a_refit_recovers(iris):
    estimator = DLClassifier(**SMALL, learning_rate=1e6)
    with pytest.raises(FloatingPointError):
        estimator.fit(*iris)
    estimator.set_params(learning_rate=1e-3).fit(*iris)
    assert estimator.n_iter_ == SMALL["max_epochs"]


@pytest.mark.parametrize("settings", [{}, PLAIN], ids=["default", "plain"])
def test_partial_fit_goes_on_after_a_divergence_with_its_history(diabetes, settings):
    rows = diabetes[0], diabetes[1]
    net = DLRegressor(**settings).set_params(
        optimizer="adam", learning_rate=1e30, max_epochs=2, random_state=0, hidden_layer_sizes=(8,)
    )
    with pytest.raises(DivergenceError):
        net.fit(*rows)
    assert net.n_iter_ == 0
    for _ in range(2):
        net.set_params(learning_rate=0.01).partial_fit(*rows)
    before = net.predict(rows[0])
    with pytest.raises(DivergenceError):
        net.set_params(learning_rate=1e30).partial_fit(*rows)
    assert net.history_["epoch"].tolist() == [1, 2]
    assert_array_equal(net.predict(rows[0]), before)
    net.set_params(learning_rate=0.01).partial_fit(*rows)
    assert net.history_["epoch"].tolist() == [1, 2, 3]
    assert net.loss_curve_[2] < net.loss_curve_[0]


def test_a_member_that_diverged_takes_the_optimizer_states_of_all_with_it():
    values = {"w": torch.zeros(2)}
    whole, lost = ModelState(values, {"momentum": torch.ones(2)}), ModelState(values)
    assert joined([whole, whole]).optimizer["members"] == [whole.optimizer] * 2
    assert joined([whole, lost]).optimizer == joined([lost, whole]).optimizer == {}


@EITHER
def test_batch_norm_on_columns_far_from_zero_is_no_divergence(iris, estimator_class):
    """Its running averages lag behind in the first epochs."""
    X, y = _data(estimator_class, iris)
    estimator = estimator_class(
        **{**SMALL, "max_epochs": 1}, normalization="batch", preprocessing=None
    )
    _assert_predicts(estimator.fit(X + 2000, y), X)


def test_a_row_far_off_that_weighs_next_to_nothing_is_no_divergence():
    rng = np.random.RandomState(0)
    X, noise = rng.randn(120, 4), 0.1 * rng.randn(120)
    deviation = np.r_[3000.0, np.ones(119)]
    noise[0] = 3000
    DLRegressor(**{**SMALL, "max_epochs": 20}, module="mlp").fit(
        X, X[:, 0] + noise, sample_weight=deviation**-2
    )


@pytest.mark.parametrize("order", ["first", "middle", "sorted"])
def test_one_count_in_very_many_rows_is_no_divergence(order):
    X, counts = np.zeros((10**6, 1)), np.zeros(10**6)
    counts[{"first": 0, "middle": 488, "sorted": -1}[order]] = 1  # 488: among the probed
    net = DLRegressor(**{**PLAIN, **SMALL, "max_epochs": 1, "batch_size": 2**15}, loss="poisson")
    assert net.fit(X, counts).n_iter_ == 1


# extreme but legal numbers


@EITHER
@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e30, 0.0])
def test_columns_of_any_size_are_learnt_without_overflow(iris, estimator_class, scale):
    X, y = _data(estimator_class, iris)
    estimator = estimator_class(**SMALL).fit(X * scale, y)
    _assert_predicts(estimator, X * scale)
    _assert_predicts(estimator, X)


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [(1e300, np.float32), (1e37, np.float32), (1e300, np.float64), (1e-300, np.float64)],
)
@pytest.mark.parametrize("loss", ["mse", "poisson"])
def test_target_of_any_size_is_learnt_without_overflow(diabetes, scale, dtype, loss):
    X, y = diabetes[0].astype(dtype), diabetes[1]
    one = DLRegressor(**SMALL, loss=loss).fit(X, y).predict(X)
    seen = DLRegressor(**SMALL, loss=loss).fit(X, y * scale).predict(X)
    assert_allclose(seen, one * np.float64(scale), rtol=1e-5)


@EITHER
@pytest.mark.parametrize("scale", [1e300, 1e-300])
@pytest.mark.parametrize(
    "judged", [{}, {"early_stopping": True}, {"max_epochs": "auto"}], ids=["no", "held", "left"]
)
def test_weights_of_any_size_mean_the_same(iris, estimator_class, scale, judged):
    X, y = _data(estimator_class, iris)
    weight = np.linspace(1, 2, len(y))
    estimator = estimator_class(**{**SMALL, **judged})
    one = estimator.fit(X, y, sample_weight=weight).history_
    other = estimator.fit(X, y, sample_weight=weight * scale).history_
    columns = ["train_loss", "valid_loss"]
    assert one[columns].notna().to_numpy()[:, : 1 + bool(judged)].all()
    assert_allclose(other[columns], one[columns], rtol=1e-4)


@pytest.mark.parametrize("weight", [1e-60, 1e60])
def test_judged_rows_of_any_weight_share_alike(weight):
    weights = torch.full((4,), weight, dtype=torch.float64)
    rows = Examples(DenseInputs(torch.zeros(4, 1)), torch.zeros(4), weights)
    found = padded_rows([rows], torch.device("cpu"), torch.float32)
    assert found is not None
    assert found[2].tolist() == [[0.25] * 4]


@pytest.mark.parametrize("scale", [1e308, 1e-308])
def test_class_weights_of_any_size_mean_the_same(iris, scale):
    one = DLClassifier(**SMALL, class_weight={0: 1, 1: 1, 2: 1}).fit(*iris)
    other = DLClassifier(**SMALL, class_weight=dict.fromkeys(range(3), scale)).fit(*iris)
    assert_allclose(other.loss_curve_, one.loss_curve_, rtol=1e-6)


# convergence


def _converging(**params):
    return DLClassifier(**{**PLAIN, **SMALL, "learning_rate": 1e-4, "max_epochs": 12, **params})


def test_falling_loss_at_a_constant_rate_warns_once(iris):
    with pytest.warns(ConvergenceWarning, match="still falling after max_epochs=12") as caught:
        _converging(tol=0.0).fit(*iris)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "params",
    [
        {"tol": 0.0, "schedule": "cosine"},  # ends at a rate of 0: nothing more to come
        {"tol": 10.0},
        {"tol": 0.0, "max_epochs": 10},  # fewer falls than n_iter_no_change
        {"tol": 0.0, "early_stopping": True, "n_iter_no_change": 2, "learning_rate": 1e-9},
    ],
    ids=str,
)
def test_no_convergence_warning_otherwise(iris, params):
    _converging(**params).fit(*iris)


def test_partial_fit_does_not_warn_of_convergence(iris):
    estimator = _converging(tol=0.0, n_iter_no_change=1)
    for _ in range(5):
        estimator.partial_fit(*iris, classes=[0, 1, 2])


# Ctrl-C


class _Interrupting:
    """An augmentation during whose n-th call Ctrl-C is pressed."""

    def __init__(self, call):
        self.call, self.calls = call, 0

    def __call__(self, rows):
        self.calls += 1
        if self.calls == self.call:
            raise KeyboardInterrupt
        return rows


@EITHER
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(("call", "epochs"), [(1, 0), (2, 1), (8, 7)])
def test_ctrl_c_leaves_a_usable_model_and_a_warning(
    iris, estimator_class, call, epochs, early_stopping
):
    X, y = _data(estimator_class, iris)
    estimator = estimator_class(
        hidden_layer_sizes=(8,),
        n_members=1,  # one call an epoch
        batch_size=1000,
        early_stopping=early_stopping,
        augmentation=_Interrupting(call),
        random_state=0,
    )
    with pytest.warns(UserWarning, match=f"interrupted after {epochs} epochs; the model"):
        assert estimator.fit(X, y) is estimator
    assert estimator.n_iter_ == len(estimator.history_) == len(estimator.loss_curve_) == epochs
    _assert_predicts(estimator, X)


def test_ctrl_c_from_the_keyboard_ends_fits_that_train_together(iris):
    timer = threading.Timer(0.5, _thread.interrupt_main)
    estimator = DLClassifier(**PLAIN | {"max_epochs": 1_000_000}, random_state=0)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt), batched_fits() as batches:
            cross_val_score(estimator, *iris, cv=5)
    finally:
        timer.cancel()
    assert not batches.stacks


def test_ctrl_c_from_the_keyboard_ends_a_long_fit(iris):
    timer = threading.Timer(0.3, _thread.interrupt_main)
    estimator = DLClassifier(max_epochs=1_000_000, random_state=0)
    timer.start()
    try:
        with pytest.warns(UserWarning, match="interrupted"):
            estimator.fit(*iris)
    finally:
        timer.join()
    assert 0 < estimator.n_iter_ < 1_000_000
    _assert_predicts(estimator, iris[0])


def test_an_interrupted_fit_can_be_gone_on_with(iris):
    estimator = DLClassifier(
        **{**SMALL, "max_epochs": 50}, warm_start=True, augmentation=_Interrupting(20)
    )
    with pytest.warns(UserWarning, match="interrupted"):
        estimator.fit(*iris)
    loss = estimator.loss_curve_[-1]
    estimator.fit(*iris)
    assert estimator.loss_curve_[-1] < loss


# input that cannot be used: what was wrong, what was seen


def _with(values, value, at=3):
    out = np.array(values, dtype=float)
    out.flat[at] = value
    return out


BAD_FITS = {
    "no rows": (lambda X, y: (X[:0], y[:0]), r"0 sample\(s\) \(shape=\(0, 4\)\).*minimum of 1"),
    "no columns": (lambda X, y: (X[:, :0], y), r"0 feature\(s\) \(shape=\(150, 0\)\).*minimum"),
    "unequal lengths": (lambda X, y: (X, y[:9]), r"inconsistent numbers of samples: \[150, 9\]"),
    "one dimension": (lambda X, y: (X[:, 0], y), "Expected 2D array, got 1D array.*[Rr]eshape"),
    "three dimensions": (lambda X, y: (X[:, :, None], y), "dim 3"),
    "complex X": (lambda X, y: (X + 1j, y), "Complex data not supported"),
    "inf in X": (lambda X, y: (_with(X, np.inf), y), "X contains infinity"),
    "-inf in a frame": (
        lambda X, y: (pd.DataFrame(_with(X, -np.inf), columns=list("abcd")), y),
        "column 'd'.*contains infinity",
    ),
    "inf in sparse X": (lambda X, y: (sp.csr_array(_with(X, np.inf)), y), "X contains infinity"),
    "no y": (lambda X, y: (X, None), "requires y to be passed, but the target y is None"),
    "NaN in y": (lambda X, y: (X, _with(y, np.nan)), "y contains NaN"),
    "inf in y": (lambda X, y: (X, _with(y, np.inf)), "y contains infinity"),
    "NA in y": (
        lambda X, y: (X, pd.Series([1, 2, None] * 50, dtype="Int64")),
        "y contains NaN: 50 of 150 values are missing",
    ),
    "three dimensions in y": (lambda X, y: (X, np.zeros((150, 2, 2))), "dim 3"),
    "negative weights": (lambda X, y: (X, y, -np.ones(150)), "Negative values.*sample_weight"),
    "NaN in weights": (lambda X, y: (X, y, _with(np.ones(150), np.nan)), "sample_weight.*NaN"),
    "too few weights": (lambda X, y: (X, y, np.ones(9)), r"\(9,\), expected \(150,\)"),
    "weights all zero": (lambda X, y: (X, y, np.zeros(150)), "at least one non-zero"),
    "X_val alone": (lambda X, y: (X, y, None, X), "fit got X_val without y_val: give both"),
    "y_val alone": (lambda X, y: (X, y, None, None, y), "fit got y_val without X_val: give both"),
    "columns of X_val": (lambda X, y: (X, y, None, X[:, :2], y), "2 features.*expecting 4"),
    "rows of y_val": (lambda X, y: (X, y, None, X, y[:3]), r"\[150, 3\]"),
    "no X_val": (lambda X, y: (X, y, None, X[:0], y[:0]), r"0 sample\(s\)"),
    "NaN in y_val": (lambda X, y: (X, y, None, X, _with(y, np.nan)), "NaN"),
}


@EITHER
@pytest.mark.parametrize("case", BAD_FITS)
def test_bad_rows_are_refused_with_what_was_seen(iris, estimator_class, case):
    make, message = BAD_FITS[case]
    estimator = estimator_class(**SMALL)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        estimator.fit(*make(*_data(estimator_class, iris)))
    assert not hasattr(estimator, "history_")


BAD_LABELS = {
    "one class": (
        lambda X, y: (X, np.zeros(150)),
        "at least two classes in y, got the one class 0.0",
    ),
    "one class of weight": (lambda X, y: (X, y, y == 1), "one class 1 in 50 rows"),
    "continuous": (lambda X, y: (X, X[:, 0] + 0.01), "Unknown label type: continuous"),
    "several classes twice": (
        lambda X, y: (X, np.column_stack([y, y])),
        "2 columns of several classes.*MultiOutputClassifier",
    ),
    "None among strings": (
        lambda X, y: (X, np.array(["a", "b", None] * 50, dtype=object)),
        "y contains NaN: 50 of 150",
    ),
    "unknown in y_val": (
        lambda X, y: (X, y, None, X, y + 1),
        r"labels \[3\] that are none of the classes \[0, 1, 2\]",
    ),
    "another type in y_val": (lambda X, y: (X, y, None, X, y.astype(str)), "none of the classes"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels_are_refused_with_what_was_seen(iris, case):
    make, message = BAD_LABELS[case]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        DLClassifier(**SMALL).fit(*make(*iris))


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({0: -1.0, 1: 1.0, 2: 1.0}, "class_weight|sample_weight"),
        ({7: 1.0}, r"classes, \[0, 1, 2\], are not in class_weight"),
        ({0: 0.0, 1: 0.0, 2: 0.0}, "class_weight leaves no row"),
        ("heavy", "'class_weight' parameter"),
    ],
)
def test_bad_class_weights_are_refused(iris, class_weight, message):
    with pytest.raises(ValueError, match=message):
        DLClassifier(**SMALL, class_weight=class_weight).fit(*iris)


def test_words_are_no_target_of_a_regressor(iris):
    with pytest.raises(ValueError, match="could not convert string to float"):
        DLRegressor(**SMALL).fit(iris[0], np.array(["a", "b", "c"])[iris[1]])


@EITHER
def test_a_refused_refit_leaves_the_model_as_it_was(iris, estimator_class):
    X, y = _data(estimator_class, iris)
    estimator = estimator_class(**SMALL).fit(X, y)
    before = estimator.predict(X)
    with pytest.raises(ValueError, match="infinity"):
        estimator.fit(_with(X, np.inf), y)
    assert_array_equal(estimator.predict(X), before)


def _fails(outputs, target):
    raise RuntimeError


@EITHER
@pytest.mark.parametrize("params", [{"hidden_layer_sizes": (0,)}, {"loss": _fails}])
def test_a_refit_that_fails_leaves_no_old_weights_behind_a_new_encoding(
    iris, estimator_class, params
):
    X, y = _data(estimator_class, iris)
    estimator = estimator_class(**SMALL).fit(X, y)
    with pytest.raises((ValueError, RuntimeError)):
        estimator.set_params(**params).fit(100 * X + 5, y)
    with pytest.raises(NotFittedError):
        estimator.predict(X)
    estimator.set_params(**SMALL, loss=estimator_class().loss).partial_fit(X, y)
    assert estimator.n_iter_ == 1


# at predict


@EITHER
def test_other_columns_at_predict_are_refused(iris, estimator_class):
    X, y = _data(estimator_class, iris)
    estimator = estimator_class(**SMALL).fit(X, y)
    message = rf"X has 2 features, but {estimator_class.__name__} is expecting 4"
    with pytest.raises(ValueError, match=message):
        estimator.predict(X[:, :2])
    with pytest.raises(ValueError, match="infinity"):
        estimator.predict(_with(X, np.inf))
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator.fit(frame, y)
    with pytest.raises(ValueError, match="must be in the same order"):
        estimator.predict(frame[list("dcba")])
    with pytest.raises(ValueError, match=r"(?s)unseen at fit time:.*- z.*now missing:.*- a"):
        estimator.predict(frame.rename(columns={"a": "z"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        estimator.predict(X)


@pytest.mark.parametrize("estimator", [DLClassifier(), DLRegressor()], ids=repr)
@pytest.mark.parametrize(
    "use",
    [
        lambda e, X: e.predict(X),
        lambda e, X: e.encode(X),
        lambda e, X: e.score(X, X[:, 0]),
        lambda e, X: e.predict_proba(X) if is_classifier(e) else e.predict(X),
        lambda e, X: e.decision_function(X) if is_classifier(e) else e.predict(X),
        lambda e, X: e.module_,
        lambda e, X: e.history_,
    ],
)
def test_unfitted_use_says_so(iris, estimator, use):
    with pytest.raises(NotFittedError, match=f"This {type(estimator).__name__}.*not fitted yet"):
        use(estimator, iris[0])


# going on with something else


def test_partial_fit_refuses_what_does_not_go_on(iris):
    X, y = iris
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        DLClassifier(**SMALL).partial_fit(X, y)
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows at once"):
        DLClassifier(**SMALL, class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"labels \[2\] that are none of the classes \[0, 1\]"):
        DLClassifier(**SMALL).partial_fit(X, y, classes=[0, 1])
    estimator = DLClassifier(**SMALL).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="not the same as on last call"):
        estimator.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"2 features.*expecting 4"):
        estimator.partial_fit(X[:, :2], y)
    with pytest.raises(ValueError, match=r"another hidden_layer_sizes: had \[\(8,\)\], got"):
        estimator.set_params(hidden_layer_sizes=(9,)).partial_fit(X, y)


def test_warm_start_refuses_another_kind_of_target(iris):
    X, y = iris
    estimator = DLClassifier(**SMALL, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"one class a row before and is a 0/1 matrix"):
        estimator.fit(X, np.eye(3, dtype=int)[y])
    with pytest.raises(ValueError, match=r"labels \[3\] that are none"):
        estimator.fit(X, y + 1)
    regressor = DLRegressor(**SMALL, warm_start=True).fit(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="1 outputs, expected 2"):
        regressor.fit(X, y)


@pytest.mark.parametrize(
    ("name", "had", "got"),
    [("preprocessing", "auto", None), ("categorical_features", [0, 1], [0])],
)
def test_going_on_refuses_another_encoding(name, had, got):
    X, y = np.arange(40.0).reshape(20, 2) % 3, np.arange(20) % 2
    estimator = DLClassifier(**SMALL, warm_start=True).set_params(**{name: had}).fit(X, y)
    estimator.set_params(**{name: np.array(had, dtype=object).tolist()}).fit(X, y)
    estimator.set_params(**{name: got})
    with pytest.raises(ValueError, match=f"cannot go on training a network with another {name}"):
        estimator.fit(X, y)
    with pytest.raises(ValueError, match=f"another {name}"):
        estimator.partial_fit(X, y)


def test_predictions_have_the_dimensions_of_the_last_y(iris):
    X, y = iris
    estimator = DLRegressor(**SMALL, warm_start=True).fit(X, y)
    assert estimator.fit(X, y[:, None]).predict(X).shape == (len(X), 1)
    assert estimator.partial_fit(X, y).predict(X).shape == (len(X),)


# too few rows


@pytest.mark.parametrize("rows", [2, 4, 9])
def test_too_few_rows_to_hold_some_out_are_all_trained_on(rows):
    X, y = np.arange(rows, dtype=float)[:, None], np.arange(rows) % 2
    with pytest.warns(UserWarning, match=f"early_stopping needs at least 10 rows .* got {rows}"):
        estimator = DLClassifier(**SMALL, early_stopping=True).fit(X, y)
    assert estimator.n_iter_ == SMALL["max_epochs"]
    assert estimator.validation_scores_ is None


def test_one_row_is_a_constant_regressor():
    estimator = DLRegressor(**SMALL, normalization="batch").fit([[1.0, 2.0]], [7.0])
    assert_allclose(estimator.predict([[1.0, 2.0]]), 7.0, atol=1.0)


@pytest.mark.parametrize("rare", [1, 2])
def test_classes_too_rare_to_stratify_are_held_out_all_the_same(rare):
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(20, int), np.ones(20, int), np.full(rare, 2)]
    X = rng.normal(size=(len(y), 2))
    estimator = DLClassifier(**SMALL, early_stopping=True, batch_size=7).fit(X, y)
    assert_array_equal(estimator.classes_, [0, 1, 2])
    assert estimator.predict_proba(X).shape == (len(y), 3)


# what cannot be trained, or only looks so


def test_weights_whose_sum_overflows_are_shares_all_the_same(iris):
    for estimator, y in ((DLClassifier(**SMALL), iris[1]), (DLRegressor(**SMALL), iris[1] * 1.0)):
        expected = estimator.fit(iris[0], y).predict(iris[0])
        weight = np.full(len(y), 1e308)
        assert_allclose(estimator.fit(iris[0], y, sample_weight=weight).predict(iris[0]), expected)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"device": "meta"}, "device='meta' has shapes and no numbers"),
        ({"loss": lambda f, t: f.detach().sum(1)}, "a callable loss must be differentiable"),
        (
            {"activation": lambda x: nn.functional.rrelu(x, training=True)},
            "a callable activation draws random numbers",
        ),
        (
            {
                "loss": lambda f, t: nn.functional.cross_entropy(
                    f + torch.randn_like(f), t, reduction="none"
                )
            },
            "a callable loss draws random numbers, which random_state does not decide",
        ),
    ],
)
def test_what_cannot_be_trained_is_named(iris, params, message):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        DLClassifier(**{**SMALL, **params}).fit(*iris)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_column_of_wide_integers_is_one_of_numbers(iris):
    X, y = (iris[0] * 10).astype(int), iris[1]
    frame = pl.DataFrame({f"x{i}": X[:, i].tolist() for i in range(4)})
    expected = DLClassifier(**SMALL).fit(frame, y).predict_proba(frame)
    wide = frame.with_columns(pl.all().cast(pl.Int128))
    assert_allclose(DLClassifier(**SMALL).fit(wide, y).predict_proba(wide), expected, rtol=1e-5)
