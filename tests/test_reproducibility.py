"""Same seed, same bits; no fit reads or moves a random state or a setting that is not its own."""

import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone, is_classifier
from torch import nn

from sklearn_dl import DLClassifier, DLRegressor

SMALL = {"hidden_layer_sizes": (16, 8), "max_epochs": 6, "batch_size": 32, "random_state": 0}


class Noisy(nn.Module):
    """Draws in its initialisation and in its forward pass."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.inner = nn.Linear(n_features, 8)
        self.scale = nn.Parameter(1 + 0.1 * torch.randn(8))
        self.shift = nn.Parameter(torch.normal(0.0, 0.1, (8,)))
        self.dropout = nn.Dropout(0.5)
        self.outer = nn.Linear(8, n_outputs)
        self.register_buffer("mask", torch.bernoulli(torch.full((8,), 0.5)))

    def forward(self, x):
        hidden = torch.relu(self.inner(x)) * self.scale + self.shift * self.mask
        noise = torch.randn_like(hidden) if self.training else torch.zeros_like(hidden)
        return self.outer(self.dropout(hidden + 0.1 * noise))


def _random_orders(rows, generator):
    return rows + 0.01 * torch.randn(rows.shape, generator=generator, dtype=rows.dtype)


def _global_noise(rows):
    return rows + 0.01 * torch.randn_like(rows)


CASES = {
    "classifier": DLClassifier(**SMALL),
    "regressor": DLRegressor(**SMALL),
    "everything drawn": DLClassifier(
        **SMALL, dropout=0.3, augmentation="noise", early_stopping=True, label_smoothing=0.1
    ),
    "own augmentation": DLRegressor(**SMALL, augmentation=_random_orders),
    "own augmentation, no generator": DLRegressor(**SMALL, augmentation=_global_noise),
    "one batch": DLClassifier(**{**SMALL, "batch_size": 1000}, dropout=0.3),
    "batch norm": DLRegressor(**SMALL, normalization="batch", module="residual"),
    "own module": DLClassifier(**SMALL, module=Noisy),
    "own module, regressor": DLRegressor(**SMALL, module=Noisy, early_stopping=True),
}
EACH = pytest.mark.parametrize("case", CASES)


def _outputs(estimator, X):
    return estimator.predict_proba(X) if is_classifier(estimator) else estimator.predict(X)


def _fitted(case, iris, **params):
    X, y = iris
    return clone(CASES[case]).set_params(**params).fit(X, y)


@EACH
def test_same_seed_gives_the_same_bits(iris, case):
    one, other = _fitted(case, iris), _fitted(case, iris)
    assert_array_equal(_outputs(one, iris[0]), _outputs(other, iris[0]))
    assert one.loss_curve_ == other.loss_curve_
    assert_array_equal(_outputs(one, iris[0]), _outputs(one, iris[0]))


@EACH
def test_another_seed_gives_another_model(iris, case):
    one, other = _fitted(case, iris), _fitted(case, iris, random_state=1)
    assert (_outputs(one, iris[0]) != _outputs(other, iris[0])).any()


@EACH
def test_no_seed_gives_another_model_each_time(iris, case):
    np.random.seed(0)  # noqa: NPY002 - shows that the global state is not read
    one = _fitted(case, iris, random_state=None)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    other = _fitted(case, iris, random_state=None)
    assert (_outputs(one, iris[0]) != _outputs(other, iris[0])).any()


def _global_states():
    return (
        torch.get_rng_state().numpy().tobytes(),
        np.random.get_state()[1].tobytes(),  # noqa: NPY002
        np.random.get_state()[2:],  # noqa: NPY002
        random.getstate(),
    )


@pytest.mark.parametrize("seed", [0, None])
@EACH
def test_global_random_states_are_neither_moved_nor_read(iris, case, seed):
    X, y = iris
    estimator = clone(CASES[case]).set_params(random_state=seed)
    before = _global_states()
    estimator.fit(X, y)
    _outputs(estimator, X)
    estimator.encode(X)
    estimator.module_  # noqa: B018
    kwargs = {"classes": [0, 1, 2]} if is_classifier(estimator) else {}
    estimator.partial_fit(X, y, **kwargs)
    assert _global_states() == before
    if seed is not None:
        torch.manual_seed(12345)
        np.random.seed(12345)  # noqa: NPY002
        assert_array_equal(_outputs(_fitted(case, iris), X), _outputs(_fitted(case, iris), X))


@EACH
def test_global_seed_does_not_decide_the_model(iris, case):
    torch.manual_seed(1)
    one = _outputs(_fitted(case, iris), iris[0])
    torch.manual_seed(2)
    assert_array_equal(_outputs(_fitted(case, iris), iris[0]), one)


def test_concurrent_fits_equal_serial_ones(iris):
    X, y = iris
    jobs = [clone(e).set_params(random_state=s) for s in range(3) for e in CASES.values()]
    serial = [_outputs(clone(job).fit(X, y), X) for job in jobs]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda job: _outputs(job.fit(X, y), X), jobs))
    for one, other in zip(serial, together, strict=True):
        assert_array_equal(one, other)


def test_random_state_instance_moves_on_from_fit_to_fit(iris):
    X, y = iris

    def fits():
        estimator = DLClassifier(**{**SMALL, "random_state": np.random.RandomState(3)})
        return [estimator.fit(X, y).predict_proba(X) for _ in range(2)]

    first, again = fits(), fits()
    assert_array_equal(first, again)
    assert (first[0] != first[1]).any()


def test_clone_of_a_fitted_estimator_gives_the_same_model(iris):
    fitted = _fitted("everything drawn", iris)
    copy = clone(fitted)
    assert not hasattr(copy, "n_iter_")
    assert_array_equal(copy.fit(*iris).predict_proba(iris[0]), fitted.predict_proba(iris[0]))


def test_verbosity_and_watching_rows_do_not_change_the_model(iris, capsys):
    X, y = iris
    quiet = _fitted("classifier", iris)
    loud = clone(CASES["classifier"]).set_params(verbose=True).fit(X, y, X_val=X[:9], y_val=y[:9])
    assert_array_equal(loud.predict_proba(X), quiet.predict_proba(X))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == SMALL["max_epochs"]
    assert lines[0].startswith("Epoch 1: training loss")
    assert "validation" in lines[0]


@EACH
def test_number_of_torch_threads_is_restored(iris, case):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _fitted(case, iris).predict(iris[0])
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="inconsistent"):
            clone(CASES[case]).fit(iris[0], iris[1][:9])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_of_torch_stay_as_they_are_where_a_callback_fails(iris):
    def failing(rows):
        raise RuntimeError("the user's own")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="the user's own"):
            DLClassifier(**SMALL, augmentation=failing).fit(*iris)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_grad_mode_default_dtype_and_threads_alive_are_left_alone(iris):
    alive = threading.active_count()
    with torch.no_grad():
        assert _fitted("classifier", iris).score(*iris) > 0.3
        assert not torch.is_grad_enabled()
    torch.set_default_dtype(torch.float64)
    try:
        double = _fitted("classifier", iris)
    finally:
        torch.set_default_dtype(torch.float32)
    single = _fitted("classifier", iris)
    assert_array_equal(double.predict_proba(iris[0]), single.predict_proba(iris[0]))
    assert torch.is_grad_enabled()
    assert threading.active_count() == alive


def test_fit_trains_under_inference_mode_and_no_grad(iris):
    outside = _outputs(_fitted("classifier", iris), iris[0])
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert_array_equal(_outputs(_fitted("classifier", iris), iris[0]), outside)


@pytest.mark.parametrize("params", [{}, {"module": "mlp", "normalization": "batch"}])
def test_a_module_that_is_rebuilt_under_inference_mode_can_be_trained_on(iris, params):
    fitted = DLClassifier(max_epochs=1, random_state=0, **params).fit(*iris)
    loaded = pickle.loads(pickle.dumps(fitted))
    with torch.inference_mode():
        loaded.predict(iris[0])
    numbers = (*loaded.module_.parameters(), *loaded.module_.buffers())
    assert not any(value.is_inference() for value in numbers)
    rows = torch.from_numpy(loaded.encode(iris[0]))
    loaded.module_(rows).sum().backward()
    assert all(p.grad is not None for p in loaded.module_.parameters())
