"""Every hyperparameter: its values train, others are refused by name, and it does what it says."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss, mean_pinball_loss
from sklearn.preprocessing import StandardScaler
from torch import nn, optim

from sklearn_dl import PLAIN, DLClassifier, DLRegressor

SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 4, "batch_size": 64, "random_state": 0}
DATA = {DLClassifier: load_iris(return_X_y=True), DLRegressor: load_diabetes(return_X_y=True)}
EITHER = pytest.mark.parametrize("estimator_class", [DLClassifier, DLRegressor])

# parameter -> (values that train, values that are refused)
SHARED = {
    "hidden_layer_sizes": (
        [(), (5,), (9, 7, 5), [6, 6], np.array([4, 4]), 7],
        [(0,), (-1,), (1.5,), "wide", 0, -3, None, ((3,),), (True,)],
    ),
    "activation": (
        ["relu", "gelu", "silu", "selu", "tanh", "sigmoid", "identity", torch.sin],
        ["RELU", None, 1],
    ),
    "normalization": ([None, "batch", "layer"], ["group", True, 0]),
    "dropout": (["auto", 0, 0.0, 0.5, 0.99], [1.0, -0.1, 1.5, None, "half", np.nan]),
    "module": (
        ["auto", "ensemble", "mlp", "residual", lambda i, o: nn.Linear(i, o)],
        ["resnet50", None, 3],
    ),
    "n_members": (["auto", 1, 2], [0, -1, 1.5, None, "many"]),
    "optimizer": (
        [
            *("sgd", "adagrad", "rmsprop", "adam", "adamw", optim.NAdam, optim.Adafactor),
            partial(optim.SGD, momentum=0.9, nesterov=True),
        ],
        ["lion", None, 3],
    ),
    "learning_rate": ([1e-12, 1e-3, 1], [0, 0.0, -1e-3, np.inf, np.nan, None, "small"]),
    "momentum": ([None, 0, 0.0, 0.5, 0.99], [1.0, -0.1, np.nan, "nesterov"]),
    "rms_decay": ([None, 0.3, 0.5, 0.999], [1.0, -0.1, np.nan]),
    "weight_decay": ([0, 0.0, 0.1, 10.0], [-1e-6, np.inf, np.nan, None]),
    "max_grad_norm": ([None, 0.01, 1, 1e9], [0.0, -1.0, np.nan, "one"]),
    "schedule": (
        [None, "step", "exponential", "cosine", "one_cycle", "plateau", lambda t: 1 - t],
        ["linear", 1, True],
    ),
    "decay_every": ([None, 1, 3, 1000], [0, -1, 1.5, "two"]),
    "decay_factor": ([None, 0.1, 1.0], [0.0, -0.5, 1.5, np.nan]),
    "warmup": ([0, 0.0, 0.5, 0.99], [1.0, -0.1, np.nan, None]),
    "batch_size": (["auto", 1, 2, 64, 10_000], [0, -1, 1.5, None, "all"]),
    "max_epochs": (["auto", 1, 3], [0, -1, 1.5, None, "many"]),
    "early_stopping": ([False, True], [None, "yes", 2]),
    "validation_fraction": ([0.01, 0.1, 0.9], [0.0, 1.0, -0.1, np.nan, None]),
    "n_iter_no_change": ([1, 10], [0, -1, 1.5, None]),
    "tol": ([0, 0.0, 1e-4, 10.0], [-1e-6, np.inf, np.nan, None]),
    "augmentation": (
        [
            *(None, "noise", "dropout", "swap", "mixup"),
            lambda rows: rows * 1.01,
            lambda rows, generator: rows,
            lambda rows, generator, strength: rows * (1 + strength),
        ],
        ["cutmix", 0.1, True],
    ),
    "augmentation_strength": ([0, 0.0, 0.1, 1], [-0.1, 1.1, np.nan, None, "strong"]),
    "input_shape": ([None, (1, 2, 2), [4, 1, 1]], [4, (2, 2), (1, 1, 4.0), (0, 2, 2), "28x28"]),
    "channels": ([(), (4,), [2, 2], 3], [0, (-1,), (1.5,), None, "wide"]),
    "categorical_features": (["from_dtype", None, [0], [True, False, False, False]], ["all", 3]),
    "preprocessing": (["auto", "standard", None], ["minmax", True, 0]),
    "warm_start": ([False, True], [None, "yes"]),
    "random_state": ([None, 0, np.random.RandomState(0)], [-1, 1.5, "seed"]),
    "verbose": ([False, True, 0, 1], [-1, "loud"]),
    "dtype": (["auto", "float32", "float64"], ["float16", None, np.float32]),
    "device": ([None, "cpu", torch.device("cpu")], ["abacus", 1.5, 999]),
    "callbacks": ([None, [], ()], ["log", 3, [3]]),
}
OWN = {
    DLClassifier: {
        "loss": (
            ["cross_entropy", "mse", partial(F.cross_entropy, reduction="none")],
            ["hinge", None, "mae"],
        ),
        "label_smoothing": (["auto", 0, 0.0, 0.1, 0.99], [1.0, -0.1, np.nan, None]),
        "class_weight": (
            [None, "balanced", {0: 1.0, 1: 2.0, 2: 0.5}],
            ["heavy", 2.0],
        ),
    },
    DLRegressor: {
        "loss": (
            ["mse", "mae", "huber", "pinball", "poisson", lambda f, y: (f - y) ** 4],
            ["cross_entropy", None],
        ),
        "quantile": ([0.01, 0.5, 0.99], [0.0, 1.0, -0.5, np.nan, None, "half", (0.1, 0.9)]),
    },
}
TABLE = {cls: {**SHARED, **own} for cls, own in OWN.items()}
GOOD = [(c, n, v) for c, rows in TABLE.items() for n, (good, _) in rows.items() for v in good]
BAD = [(c, n, v) for c, rows in TABLE.items() for n, (_, bad) in rows.items() for v in bad]


def _name(value):
    # no addresses: the ids must be the same in every worker
    return getattr(value, "__name__", str(value)[:25])


def _outputs(estimator, X):
    return estimator.predict_proba(X) if is_classifier(estimator) else estimator.predict(X)


@EITHER
def test_every_parameter_is_in_the_table(estimator_class):
    assert set(TABLE[estimator_class]) == set(estimator_class().get_params())
    assert set(PLAIN) <= set(estimator_class().get_params())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator_class", "name", "value"), GOOD, ids=_name)
def test_value_trains_and_predicts(estimator_class, name, value, capsys):
    X, y = DATA[estimator_class]
    X, y = X[::3, :4], y[::3]
    estimator = estimator_class(**{**SMALL, name: value})
    assert estimator.get_params()[name] is value
    estimator.fit(X, y)
    assert estimator.get_params()[name] is value
    outputs = _outputs(estimator, X)
    assert np.isfinite(outputs).all()
    assert len(outputs) == len(y)
    assert 1 <= estimator.n_iter_ <= 100
    assert np.isfinite(estimator.score(X, y))


@pytest.mark.parametrize(("estimator_class", "name", "value"), BAD, ids=_name)
def test_value_out_of_range_is_refused_in_fit_by_name(estimator_class, name, value):
    X, y = DATA[estimator_class]
    estimator = clone(estimator_class()).set_params(**{**SMALL, name: value})
    with pytest.raises((TypeError, ValueError), match=name) as refusal:
        estimator.fit(X, y)
    seen = repr(value) if not isinstance(value, list) else repr(value[0])
    assert seen in str(refusal.value)
    assert not hasattr(estimator, "n_iter_")


# what each means: networks


def test_no_hidden_layer_is_logistic_regression(iris):
    X, y = StandardScaler().fit_transform(iris[0]) * 0.3, (iris[1] + (iris[0][:, 1] > 3)) % 3
    expected = LogisticRegression(C=np.inf, tol=1e-8, max_iter=10_000).fit(X, y)
    seen = DLClassifier(
        **{**PLAIN, "preprocessing": None, "schedule": "cosine"}, hidden_layer_sizes=(),
        optimizer="adam", learning_rate=0.3, max_epochs=4000, batch_size=1000, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert_allclose(seen.predict_proba(X), expected.predict_proba(X), atol=2e-3)
    loss = log_loss(y, expected.predict_proba(X))
    assert seen.loss_curve_[-1] == pytest.approx(loss, abs=1e-6)


def test_no_hidden_layer_is_linear_regression(diabetes):
    X, y = diabetes
    seen = DLRegressor(
        **{**PLAIN, "schedule": "cosine"}, hidden_layer_sizes=(), optimizer="sgd",
        learning_rate=0.1, max_epochs=6000, batch_size=1000, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert_allclose(seen.predict(X), LinearRegression().fit(X, y).predict(X), atol=0.01)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_pinball_finds_the_quantile(quantile):
    rng = np.random.default_rng(0)
    X, noise = rng.uniform(-1, 1, (4000, 1)), rng.exponential(size=4000)
    y = 3 * X[:, 0] + noise
    seen = DLRegressor(
        loss="pinball", quantile=quantile, hidden_layer_sizes=(), learning_rate=0.01,
        max_epochs=30, random_state=0,
    ).fit(X, y).predict(X)  # fmt: skip
    expected = 3 * X[:, 0] - np.log(1 - quantile)  # the quantile of the exponential noise
    share = (y < seen).mean()
    assert abs(share - quantile) < 5 * np.sqrt(quantile * (1 - quantile) / 4000) + 0.01
    best = mean_pinball_loss(y, expected, alpha=quantile)
    assert mean_pinball_loss(y, seen, alpha=quantile) < 1.02 * best


def test_mae_resists_outliers_that_move_mse():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (500, 1))
    clean = 2 * X[:, 0]
    y = clean + np.where(rng.random(500) < 0.1, 30.0, 0.0)

    def distance(loss):
        model = DLRegressor(
            loss=loss, hidden_layer_sizes=(), learning_rate=0.02, max_epochs=60, random_state=0
        )
        return np.abs(model.fit(X, y).predict(X) - clean).mean()

    assert distance("mae") < 0.2
    assert distance("mse") > 2


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_hidden_layer_sizes_and_normalization_are_the_layers_of_the_module(iris, normalization):
    estimator = DLClassifier(
        **{**PLAIN, **SMALL, "hidden_layer_sizes": (9, 7), "normalization": normalization}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        module = estimator.fit(*iris).module_
    shapes = [(m.in_features, m.out_features) for m in module if isinstance(m, nn.Linear)]
    assert shapes == [(4, 9), (9, 7), (7, 3)]
    kinds = {None: (), "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[normalization]
    assert sum(isinstance(m, kinds) for m in module) == (2 if normalization else 0)
    assert sum(isinstance(m, nn.ReLU) for m in module) == 2


def test_callable_is_the_name_it_stands_for(iris):
    X, y = iris
    named = {"activation": "tanh", "loss": "cross_entropy", "schedule": "cosine", "module": "mlp"}
    own = {
        "activation": torch.tanh,
        "loss": partial(F.cross_entropy, reduction="none"),
        "schedule": lambda t: (1 + np.cos(np.pi * t)) / 2,
    }
    expected = DLClassifier(**SMALL, **named).fit(X, y).predict_proba(X)
    for name, value in own.items():
        seen = DLClassifier(**SMALL, **{**named, name: value}).fit(X, y)
        assert_allclose(seen.predict_proba(X), expected, rtol=1e-5)


def test_identity_activation_is_a_linear_model(diabetes):
    X, y = diabetes
    estimator = DLRegressor(**SMALL, module="mlp", activation="identity", preprocessing="standard")
    estimator.fit(X, y)
    linear = LinearRegression().fit(X[:200], estimator.predict(X[:200]))
    assert_allclose(linear.predict(X[200:]), estimator.predict(X[200:]), rtol=1e-4)


# what each means: losses


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_of_the_first_step_is_torchs_with_label_smoothing(iris, smoothing):
    X, y = iris
    estimator = DLClassifier(
        hidden_layer_sizes=(5,), dropout=0.0, label_smoothing=smoothing, optimizer="sgd",
        learning_rate=1e-300, max_epochs=1, batch_size=1000, random_state=0, n_members=1,
    ).fit(X, y)  # fmt: skip
    outputs = torch.from_numpy(np.log(estimator.predict_proba(X)))
    expected = F.cross_entropy(outputs, torch.from_numpy(y), label_smoothing=smoothing)
    assert estimator.loss_curve_[0] == pytest.approx(float(expected), rel=1e-9)


def test_validation_loss_is_not_smoothed(iris):
    X, y = iris
    estimator = DLClassifier(**SMALL, label_smoothing=0.5).fit(X, y, X_val=X, y_val=y)
    expected = log_loss(y, estimator.predict_proba(X))
    assert estimator.history_["valid_loss"].iloc[-1] == pytest.approx(expected, rel=1e-5)


def test_smoothing_keeps_the_network_less_sure(iris):
    params = {**SMALL, "max_epochs": 100, "learning_rate": 0.02}
    sure = DLClassifier(**params).fit(*iris).predict_proba(iris[0])
    smoothed = DLClassifier(**params, label_smoothing=0.3).fit(*iris).predict_proba(iris[0])
    assert smoothed.max(axis=1).mean() < sure.max(axis=1).mean() - 0.05


# what each means: regularisation


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_weight_decay_shrinks_the_weights(iris, optimizer):
    def norm(weight_decay):
        estimator = DLClassifier(
            **{**SMALL, "max_epochs": 60}, optimizer=optimizer, weight_decay=weight_decay,
            learning_rate=0.02, module="mlp",
        ).fit(*iris)  # fmt: skip
        return sum(float((p.detach() ** 2).sum()) for p in estimator.module_.parameters())

    assert norm(0.5) < 0.7 * norm(0.0)


def test_dropout_and_augmentation_act_in_training_only(iris):
    X, y = iris
    for noise in ({"dropout": 0.5}, {"augmentation": "noise"}):
        estimator = DLClassifier(**SMALL, **noise).fit(X, y)
        assert_array_equal(estimator.predict_proba(X), estimator.predict_proba(X))
        quiet = DLClassifier(
            **SMALL, **dict.fromkeys(noise, None if "augmentation" in noise else 0)
        )
        assert (quiet.fit(X, y).predict_proba(X) != estimator.predict_proba(X)).any()


def test_augmentation_sees_the_rows_of_each_batch(iris):
    X, y = iris
    seen = []

    def keep(rows):
        seen.append(rows.clone())
        return rows

    estimator = DLClassifier(**{**SMALL, "max_epochs": 2}, augmentation=keep, n_members=1)
    estimator.fit(X, y)
    assert [len(rows) for rows in seen] == [64, 64, 22] * 2
    encoded = estimator.encode(X)
    for epoch in (torch.cat(seen[:3]), torch.cat(seen[3:])):
        # every row once an epoch
        order, expected = np.lexsort(epoch.numpy().T), np.lexsort(encoded.T)
        assert_array_equal(epoch.numpy()[order], encoded[expected])
    assert (seen[0] != seen[3]).any()  # in another order


# what each means: length of the training


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@EITHER
@pytest.mark.parametrize("schedule", [None, "cosine", "plateau"])
@pytest.mark.parametrize("max_epochs", [1, 7, 23])
def test_exactly_max_epochs_without_early_stopping(estimator_class, max_epochs, schedule):
    estimator = estimator_class(
        **{**SMALL, "max_epochs": max_epochs}, schedule=schedule, tol=1e9, n_iter_no_change=1
    )
    assert estimator.fit(*DATA[estimator_class]).n_iter_ == max_epochs
    assert not hasattr(estimator, "best_epoch_") or estimator.best_epoch_ is None


@EITHER
@pytest.mark.parametrize("explicit", [False, True])
def test_early_stopping_keeps_the_weights_of_the_least_validation_loss(estimator_class, explicit):
    X, y = DATA[estimator_class]
    rng = np.random.default_rng(0)
    X = np.column_stack([X, rng.normal(size=(len(X), 20))])  # so that it overfits
    train, held_out = np.arange(0, len(X), 2), np.arange(1, len(X), 2)
    estimator = estimator_class(
        hidden_layer_sizes=(64,), learning_rate=0.01, dropout=0.0, max_epochs=150,
        early_stopping=True, n_iter_no_change=8, validation_fraction=0.3, random_state=0,
    )  # fmt: skip
    if explicit:
        estimator.fit(X[train], y[train], X_val=X[held_out], y_val=y[held_out])
    else:
        estimator.fit(X, y)
    losses = estimator.history_["valid_loss"]
    assert estimator.best_epoch_ == estimator.history_["epoch"][losses.argmin()]
    assert estimator.best_epoch_ <= estimator.n_iter_ <= estimator.best_epoch_ + 8 + 20
    assert estimator.n_iter_ < 150
    if explicit and is_classifier(estimator):
        kept = log_loss(y[held_out], estimator.predict_proba(X[held_out]))
        assert kept == pytest.approx(losses.min(), rel=1e-5)
    elif explicit:
        residual = (y[held_out] - estimator.predict(X[held_out])) / y[train].std()
        assert np.mean(residual**2) == pytest.approx(losses.min(), rel=1e-4)


def test_early_stopping_waits_n_iter_no_change_epochs_for_an_improvement_of_tol(iris):
    for patience in (1, 4):
        estimator = DLClassifier(
            **{**SMALL, "max_epochs": 50}, early_stopping=True, tol=100.0,
            n_iter_no_change=patience,
        ).fit(*iris)  # fmt: skip
        assert estimator.n_iter_ == patience + 1


def test_validation_rows_are_held_out_stratified_and_few(iris):
    X, y = iris
    seen = []

    def keep(rows):
        seen.append(len(rows))
        return rows

    DLClassifier(
        **{**SMALL, "max_epochs": 1}, augmentation=keep, early_stopping=True,
        validation_fraction=0.2, n_members=1,
    ).fit(X, y)  # fmt: skip
    assert sum(seen) == 120


def test_last_batch_of_one_row_joins_the_one_before(iris):
    X, y = iris[0][:129], iris[1][:129]
    seen = []

    def keep(rows):
        seen.append(len(rows))
        return rows

    estimator = DLClassifier(
        **{**SMALL, "max_epochs": 1}, augmentation=keep, normalization="batch", n_members=1
    ).fit(X, y)
    assert seen == [64, 65]
    assert np.isfinite(estimator.predict_proba(X)).all()


# what each means: tables


def test_plain_is_the_network_of_the_textbook(iris):
    X, y = iris
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator = DLClassifier(**{**SMALL, **PLAIN}).fit(X, y)
    assert_allclose(estimator.encode(X), StandardScaler().fit_transform(X), rtol=1e-5, atol=1e-6)
    kinds = [type(layer) for layer in estimator.module_ if not isinstance(layer, nn.Dropout)]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear]
    assert estimator.history_["learning_rate"].nunique() == 1


def test_no_preprocessing_takes_the_numbers_as_they_come(iris):
    X, y = iris
    estimator = DLClassifier(**SMALL, preprocessing=None).fit(X, y)
    assert_allclose(estimator.encode(X), X, rtol=1e-6)


def test_categorical_features_are_encoded_as_categories(iris):
    X, y = iris
    codes = np.column_stack([X, y])
    as_number = DLClassifier(**SMALL).fit(codes, y)
    as_category = DLClassifier(**SMALL, categorical_features=[4]).fit(codes, y)
    assert as_category.encode(codes).shape[1] > as_number.encode(codes).shape[1]
