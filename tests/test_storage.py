"""Stored and loaded estimators predict the same, and take no more room than they need."""

import copy
import io
import pickle
import subprocess
import sys

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from torch import nn

from sklearn_dl import DLClassifier, DLRegressor

SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 4, "random_state": 0}


class Net(nn.Module):
    """A user's module with a buffer."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, n_outputs)
        )

    def forward(self, x):
        return self.layers(x)


CASES = {
    "classifier": DLClassifier(**SMALL),
    "regressor": DLRegressor(**SMALL),
    "everything": DLClassifier(
        **SMALL, normalization="batch", module="residual", early_stopping=True, dropout=0.1
    ),
    "layer norm, sgd": DLRegressor(**SMALL, normalization="layer", optimizer="sgd"),
    "own module": DLClassifier(**SMALL, module=Net),
    "float32": DLRegressor(**SMALL, dtype="float32"),
    "warm": DLClassifier(**SMALL, warm_start=True),
}
EACH = pytest.mark.parametrize("case", CASES)


def _pickled(value):
    return pickle.loads(pickle.dumps(value))


def _joblib(value):
    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


def _cloudpickled(value):
    return pickle.loads(cloudpickle.dumps(value))


def _skops(value):
    stored = skops.io.dumps(value)
    return skops.io.loads(stored, trusted=skops.io.get_untrusted_types(data=stored))


WAYS = {
    "pickle": _pickled,
    "deepcopy": copy.deepcopy,
    "joblib": _joblib,
    "cloudpickle": _cloudpickled,
    "skops": _skops,
}
WAY = pytest.mark.parametrize("way", WAYS)


def _fitted(case, iris):
    return clone(CASES[case]).fit(*iris)


def _outputs(estimator, X):
    return estimator.predict_proba(X) if is_classifier(estimator) else estimator.predict(X)


@WAY
@EACH
def test_loaded_estimator_is_the_stored_one(iris, case, way):
    X, _ = iris
    fitted = _fitted(case, iris)
    loaded = WAYS[way](fitted)
    assert loaded is not fitted
    assert_array_equal(_outputs(loaded, X), _outputs(fitted, X))
    assert repr(loaded.get_params()) == repr(fitted.get_params())
    pd.testing.assert_frame_equal(loaded.history_, fitted.history_)
    assert loaded.loss_curve_ == fitted.loss_curve_
    assert loaded.n_parameters_ == fitted.n_parameters_
    with torch.no_grad():
        rows = torch.from_numpy(fitted.encode(X))
        torch.testing.assert_close(loaded.module_(rows), fitted.module_(rows), rtol=0, atol=0)
    assert not loaded.module_.training


@WAY
@EACH
def test_unfitted_estimator_is_stored_too(iris, case, way):
    loaded = WAYS[way](CASES[case])
    with pytest.raises(NotFittedError):
        loaded.predict(iris[0])
    assert_array_equal(_outputs(loaded.fit(*iris), iris[0]), _outputs(_fitted(case, iris), iris[0]))


@WAY
def test_loaded_estimator_can_go_on(iris, way):
    loaded = WAYS[way](_fitted("classifier", iris))
    loss = loaded.loss_curve_[-1]
    loaded.partial_fit(*iris)
    assert loaded.n_iter_ == SMALL["max_epochs"] + 1
    assert loaded.loss_curve_[-1] < 1.2 * loss


def _goes_on_alike(way, X, y, **params):
    fitted = DLClassifier(**SMALL, **params).partial_fit(X, y, classes=[0, 1, 2])
    fitted.partial_fit(X, y)
    loaded = WAYS[way](fitted)
    expected = fitted.partial_fit(X, y).predict_proba(X)
    assert_array_equal(loaded.partial_fit(X, y).predict_proba(X), expected)


@WAY
def test_partial_fit_goes_on_with_the_optimizer_it_had(iris, way):
    _goes_on_alike(way, *iris)


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "sgd", "module": "mlp"},
        {"optimizer": torch.optim.NAdam},
        {"optimizer": torch.optim.LBFGS, "batch_size": 150},
    ],
    ids=["sgd", "class", "mixes parameters"],
)
def test_every_optimizer_goes_on_after_pickling(iris, params):
    _goes_on_alike("pickle", *iris, **params)


def test_a_warm_start_goes_on_after_pickling(iris):
    fitted = _fitted("warm", iris)
    loaded = _pickled(fitted)
    assert_array_equal(_outputs(loaded.fit(*iris), iris[0]), _outputs(fitted.fit(*iris), iris[0]))
    assert "torch" not in pickle.dumps(loaded.__getstate__()["_optimizer_state"]).decode("latin1")


def test_labels_and_frames_survive_skops():
    frame = pd.DataFrame({"a": np.arange(20.0), "kind": pd.Categorical(["x", "y"] * 10)})
    y = np.array(["no", "yes"] * 10)
    fitted = DLClassifier(**SMALL).fit(frame, y)
    loaded = _skops(fitted)
    assert_array_equal(loaded.predict(frame), fitted.predict(frame))
    assert_array_equal(loaded.feature_names_in_, ["a", "kind"])


def test_skops_needs_no_trust_beyond_this_package_and_numpy(iris):
    stored = skops.io.dumps(_fitted("everything", iris))
    unknown = skops.io.get_untrusted_types(data=stored)
    assert all(name.startswith(("sklearn_dl.", "numpy.")) for name in unknown), unknown


@pytest.mark.parametrize(
    ("make", "goes_on"),
    [
        (lambda X, y, **p: DLClassifier(**p).fit(X, y), False),
        (lambda X, y, **p: DLClassifier(**p, warm_start=True, early_stopping=True).fit(X, y), True),
        (lambda X, y, **p: DLClassifier(**p).partial_fit(X, y, classes=[0, 1, 2]), True),
        (lambda X, y, **p: DLRegressor(**p).fit(X, y, X_val=X, y_val=y), False),
    ],
)
def test_pickle_is_about_the_size_of_the_weights(make, goes_on):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20_000, 10)).astype(np.float32), rng.integers(0, 3, 20_000)
    fitted = make(X, y, hidden_layer_sizes=(128, 128), max_epochs=1, random_state=0)
    fitted.predict(X)
    weights = sum(value.nbytes for value in fitted.module_.state_dict().values())
    size = len(pickle.dumps(fitted))
    # no data (800 kB), no second copy of the weights; the two moments where training may go on
    moments = sum(p.nbytes for p in fitted.module_.parameters()) * 2 if goes_on else 0
    assert weights + moments < size < weights + moments + 20_000


def test_size_does_not_grow_with_refits(iris):
    estimator = _fitted("classifier", iris)
    size = len(pickle.dumps(estimator))
    for _ in range(3):
        estimator.fit(*iris)
    assert len(pickle.dumps(estimator)) <= size + 100


def test_pickle_holds_no_tensor_and_loads_in_a_fresh_process(iris, tmp_path):
    fitted = _fitted("everything", iris)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(fitted))
    np.save(tmp_path / "x.npy", iris[0])
    code = """
import pickle, numpy as np
with open("model.pkl", "rb") as stored:
    model = pickle.load(stored)
np.save("p.npy", model.predict_proba(np.load("x.npy")))
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert_array_equal(np.load(tmp_path / "p.npy"), fitted.predict_proba(iris[0]))
    assert b"torch._utils" not in pickle.dumps(fitted)


def test_fit_with_a_skorch_callback_can_be_stored(iris):
    from skorch.callbacks import EpochScoring

    estimator = clone(CASES["classifier"]).set_params(
        callbacks=[EpochScoring("accuracy", on_train=True)]
    )
    estimator.fit(*iris)
    assert_array_equal(_pickled(estimator).predict(iris[0]), estimator.predict(iris[0]))
