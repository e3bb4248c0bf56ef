"""A fit moves the weights as torch's own optimizer does in a loop written by hand."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import optim

from sklearn_dl import PLAIN, DLClassifier, DLRegressor
from sklearn_dl.optimizers import ELEMENTWISE, OPTIMIZERS, optimizer_spec

EPOCHS = 15

# estimator's parameters -> torch's optimizer with the same meaning
CASES = {
    "sgd": ({"optimizer": "sgd"}, partial(optim.SGD, momentum=0.9)),
    "sgd, momentum 0": ({"optimizer": "sgd", "momentum": 0.0}, optim.SGD),
    "sgd, momentum 0.5": ({"optimizer": "sgd", "momentum": 0.5}, partial(optim.SGD, momentum=0.5)),
    "adagrad": ({"optimizer": "adagrad"}, optim.Adagrad),
    "rmsprop": ({"optimizer": "rmsprop"}, partial(optim.RMSprop, alpha=0.9)),
    "rmsprop, set": (
        {"optimizer": "rmsprop", "rms_decay": 0.5, "momentum": 0.3},
        partial(optim.RMSprop, alpha=0.5, momentum=0.3),
    ),
    "adam": ({"optimizer": "adam"}, partial(optim.Adam, betas=(0.9, 0.999))),
    "adam, set": (
        {"optimizer": "adam", "momentum": 0.5, "rms_decay": 0.9},
        partial(optim.Adam, betas=(0.5, 0.9)),
    ),
    "adamw": ({"optimizer": "adamw"}, partial(optim.AdamW, betas=(0.9, 0.999))),
    "class": ({"optimizer": optim.NAdam}, optim.NAdam),
    "class and momentum": (
        {"optimizer": optim.SGD, "momentum": 0.7},
        partial(optim.SGD, momentum=0.7),
    ),
    "partial": (
        {"optimizer": partial(optim.SGD, momentum=0.9, nesterov=True)},
        partial(optim.SGD, momentum=0.9, nesterov=True),
    ),
    "class that is not elementwise": ({"optimizer": optim.Rprop}, optim.Rprop),
}


def _fit(estimator_class, X, y, **params):
    plain = {**PLAIN, "hidden_layer_sizes": (6, 5), "dtype": "float64", "batch_size": len(X)}
    estimator = estimator_class(**{**plain, "random_state": 0, "max_epochs": EPOCHS, **params})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y)


def _by_hand(estimator_class, X, y, make, *, rate, clip=None, **params):
    """The same network and rows, trained by torch alone; its losses and its module."""
    # a rate of 1e-300 leaves the initial weights as they were drawn
    initial = _fit(
        estimator_class, X, y, **params, optimizer="sgd", learning_rate=1e-300, max_epochs=1
    )
    module = initial.module_.train()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.reset_running_stats()
    rows = torch.from_numpy(initial.encode(X))
    if estimator_class is DLClassifier:
        target, criterion = torch.from_numpy(y), torch.nn.CrossEntropyLoss()
    else:
        target = torch.from_numpy((y - y.mean()) / y.std())[:, None]
        criterion = torch.nn.MSELoss()
    optimizer, losses = make(module.parameters(), lr=rate), []
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        loss = criterion(module(rows), target)
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses, module


def _assert_equal(estimator, losses, module):
    np.testing.assert_allclose(estimator.loss_curve_, losses, rtol=1e-9)
    expected = module.state_dict()
    for name, value in estimator.module_.state_dict().items():
        if "running_var" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("case", CASES)
def test_steps_are_those_of_torchs_optimizer(iris, case, weight_decay):
    params, make = CASES[case]
    if params["optimizer"] is not optim.Rprop:  # which takes no weight decay
        make = partial(make, weight_decay=weight_decay)
    X, y = iris
    estimator = _fit(DLClassifier, X, y, **params, learning_rate=0.02, weight_decay=weight_decay)
    _assert_equal(estimator, *_by_hand(DLClassifier, X, y, make, rate=0.02))


@pytest.mark.parametrize("case", ["sgd", "rmsprop", "adamw"])
def test_regressor_steps_are_those_of_torchs_optimizer(diabetes, case):
    params, make = CASES[case]
    X, y = diabetes
    estimator = _fit(DLRegressor, X, y, **params, learning_rate=0.02, weight_decay=0.01)
    make = partial(make, weight_decay=0.01)
    _assert_equal(estimator, *_by_hand(DLRegressor, X, y, make, rate=0.02))


@pytest.mark.parametrize("clip", [0.03, 1e3])
@pytest.mark.parametrize("case", ["sgd", "adam", "adamw", "class that is not elementwise"])
def test_clipping_is_torchs_and_the_history_shows_the_norm_before_it(iris, case, clip):
    params, make = CASES[case]
    X, y = iris
    if case == "adamw":
        make = partial(make, weight_decay=0.0)
    estimator = _fit(DLClassifier, X, y, **params, learning_rate=0.1, max_grad_norm=clip)
    _assert_equal(estimator, *_by_hand(DLClassifier, X, y, make, rate=0.1, clip=clip))
    assert estimator.history_["gradient_norm"].max() > 0.03


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalised_network_moves_as_torchs(iris, normalization):
    params, make = CASES["sgd"]
    X, y = iris
    params = {**params, "normalization": normalization, "learning_rate": 0.1}
    estimator = _fit(DLClassifier, X, y, **params)
    losses, module = _by_hand(DLClassifier, X, y, make, rate=0.1, normalization=normalization)
    _assert_equal(estimator, losses, module)
    kind = torch.nn.BatchNorm1d if normalization == "batch" else torch.nn.LayerNorm
    ours, theirs = (
        [m for m in network.modules() if isinstance(m, kind)]
        for network in (estimator.module_, module)
    )
    assert len(ours) == 2
    if normalization == "batch":
        # torch's running variance is that of a sample, ours of the batch: it takes weights
        left, n = 0.9**EPOCHS, len(X)
        for our, their in zip(ours, theirs, strict=True):
            expected = left + (their.running_var - left) * (n - 1) / n
            torch.testing.assert_close(our.running_var, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_first_step_of_each_optimizer_lowers_the_loss(iris, name):
    curve = _fit(DLClassifier, *iris, optimizer=name, learning_rate=0.01).loss_curve_
    assert curve[1] < curve[0]


@pytest.mark.parametrize(
    "optimizer", sorted(ELEMENTWISE, key=lambda c: c.__name__), ids=lambda c: c.__name__
)
def test_optimizer_counted_as_elementwise_is(optimizer):
    """One matrix of all parameters moves as the parameters by themselves do."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 12, generator=generator, dtype=torch.float64)
    whole = torch.nn.Parameter(start.clone())
    parts = [torch.nn.Parameter(start[:, :5].clone()), torch.nn.Parameter(start[:, 5:].clone())]
    together, apart = optimizer([whole], lr=0.1), optimizer(parts, lr=0.1)
    for _ in range(5):
        gradient = torch.randn(2, 12, generator=generator, dtype=torch.float64)
        whole.grad = gradient
        parts[0].grad, parts[1].grad = gradient[:, :5].clone(), gradient[:, 5:].clone()
        together.step()
        apart.step()
    torch.testing.assert_close(whole.detach(), torch.cat([p.detach() for p in parts], 1))


def test_specs_of_equal_settings_are_equal():
    for name in OPTIMIZERS:
        one, other = (optimizer_spec(name, momentum=0.5, rms_decay=None) for _ in range(2))
        assert one == other
        assert hash(one) == hash(other)


# refused


def _not_an_optimizer(params, lr):
    return 3


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (dict, "optimizer must be a name"),
        (optim.Muon, "2D"),
        (_not_an_optimizer, "optimizer must .* it returned int"),
    ],
)
def test_optimizer_that_cannot_train_here_is_refused(iris, optimizer, message):
    with pytest.raises((TypeError, ValueError), match=message):
        _fit(DLClassifier, *iris, optimizer=optimizer)


def test_lbfgs_finds_the_optimum_of_a_linear_model(iris):
    lbfgs = partial(optim.LBFGS, line_search_fn="strong_wolfe", max_iter=100)
    settings = {**PLAIN, "hidden_layer_sizes": (), "dtype": "float64", "batch_size": 150}
    X, y = iris[0], (iris[0][:, 0] > 5.8) ^ (np.arange(150) % 7 == 0)
    net = DLClassifier(**settings, optimizer=lbfgs, learning_rate=1.0, max_epochs=5).fit(X, y)
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=np.inf, tol=1e-10)).fit(X, y)
    np.testing.assert_allclose(net.predict_proba(X), oracle.predict_proba(X), atol=1e-4)


def test_momentum_is_refused_where_the_class_takes_none(iris):
    with pytest.raises(ValueError, match=r"Adagrad has no momentum argument; got momentum=0\.5"):
        _fit(DLClassifier, *iris, optimizer=optim.Adagrad, momentum=0.5)


@pytest.mark.parametrize(
    ("arguments", "params", "message"),
    [
        ({"weight_decay": 0.5}, {}, r"weight_decay=0\.5.*Give it there alone: weight_decay=0\.5"),
        ({"lr": 0.5}, {}, r"sets lr=0\.5.*Give it there alone: learning_rate=0\.5"),
        ({"momentum": 0.5}, {"momentum": 0.9}, r"partial that sets momentum=0\.5"),
        ({}, {"rms_decay": 0.9}, r"rms_decay=0\.9 is for an optimizer with a name"),
    ],
)
def test_what_a_partial_and_the_estimator_both_set_is_refused(iris, arguments, params, message):
    with pytest.raises(ValueError, match=message):
        _fit(DLClassifier, *iris, optimizer=partial(optim.SGD, **arguments), **params)


def test_a_function_that_takes_any_keyword_is_given_weight_decay_and_momentum(iris):
    def make(parameters, **settings):
        return torch.optim.SGD(parameters, **settings)

    given = {"weight_decay": 0.3, "momentum": 0.5, "module": "mlp", "max_epochs": 2}
    found, expected = (
        DLClassifier(optimizer=optimizer, random_state=0, **given).fit(*iris).predict_proba(iris[0])
        for optimizer in (make, torch.optim.SGD)
    )
    assert_allclose(found, expected, rtol=1e-5)
