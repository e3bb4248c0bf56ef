"""The exported model predicts what the estimator predicts, under onnxruntime."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_dl import DLClassifier, DLRegressor
from sklearn_dl.onnx import export_onnx, onnx_inputs

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime runs the exported model")

TOLERANCE = 1e-5
SMALL = {"hidden_layer_sizes": (8, 6), "max_epochs": 4, "random_state": 0}
IRIS, DIABETES = load_iris(return_X_y=True), load_diabetes(return_X_y=True)


def _run(estimator, X, folder):
    export_onnx(estimator, folder / "model.onnx")
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    found = session.run(None, onnx_inputs(estimator, X))
    return dict(zip([output.name for output in session.get_outputs()], found, strict=True))


def _check(estimator, X, folder):
    """Predictions under onnxruntime equal those of the estimator."""
    found = _run(estimator, X, folder)
    if isinstance(estimator, DLRegressor):
        expected = estimator.predict(X)
        assert found["prediction"].shape == expected.shape
        scale = np.abs(expected).max()
        assert_allclose(found["prediction"] / scale, expected / scale, rtol=0, atol=TOLERANCE)
    else:
        expected = estimator.predict_proba(X)
        assert_allclose(found["probabilities"], expected, rtol=0, atol=TOLERANCE)
        close = np.abs(np.sort(expected, axis=-1)[:, -1] - np.sort(expected, axis=-1)[:, -2])
        clear = close > 10 * TOLERANCE
        assert_array_equal(found["label"][clear], estimator.predict(X)[clear])
    return found


NETWORKS = {
    **{
        f"{module} {activation}": {"module": module, "activation": activation}
        for module in ("auto", "periodic", "mlp", "residual")
        for activation in ("relu", "gelu", "silu", "selu", "tanh", "sigmoid", "identity")
    },
    **{
        f"{module} {norm} {dtype}": {"module": module, "normalization": norm, "dtype": dtype}
        for module in ("mlp", "residual")
        for norm in ("batch", "layer")
        for dtype in ("float32", "float64")
    },
    "linear": {"module": "mlp", "hidden_layer_sizes": ()},
    "auto linear": {"hidden_layer_sizes": ()},
    "defaults": {"hidden_layer_sizes": (256, 256), "max_epochs": 2},
}
LOSSES = {
    "cross_entropy": (DLClassifier(loss="cross_entropy", label_smoothing=0.1), IRIS),
    "classes by mse": (DLClassifier(loss="mse"), IRIS),
    "two classes": (DLClassifier(), (IRIS[0][:100], IRIS[1][:100])),
    "labels": (DLClassifier(), (IRIS[0], np.eye(3, dtype=int)[IRIS[1]])),
    "labels by mse": (DLClassifier(loss="mse"), (IRIS[0], np.eye(3, dtype=int)[IRIS[1]])),
    **{loss: (DLRegressor(loss=loss), DIABETES) for loss in ("mse", "mae", "huber", "pinball")},
    "counts": (DLRegressor(loss="poisson"), DIABETES),
    "quantiles": (DLRegressor(loss="pinball", quantile=(0.1, 0.5, 0.6, 0.9)), DIABETES),
    "quantiles moved by rows left out": (
        DLRegressor(loss="pinball", quantile=(0.1, 0.5, 0.9)),
        (DIABETES[0][:150], np.stack([DIABETES[1], DIABETES[1] ** 2], 1)[:150]),
    ),
    "quantiles of outputs": (
        DLRegressor(loss="pinball", quantile=(0.1, 0.9)),
        (DIABETES[0], np.stack([DIABETES[1], DIABETES[1] ** 2], 1)),
    ),
    "own loss": (DLRegressor(loss=lambda a, b: (a - b).abs().mean(-1)), DIABETES),
    "outputs": (DLRegressor(), (DIABETES[0], np.stack([DIABETES[1], DIABETES[1] ** 2], 1))),
    "one column": (DLRegressor(), (DIABETES[0], DIABETES[1][:, None])),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_shipped_network_predicts_the_same(name, tmp_path):
    X, y = IRIS
    _check(DLClassifier(**SMALL | NETWORKS[name]).fit(X, y), X, tmp_path)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_and_kind_of_target_predicts_the_same(name, tmp_path):
    estimator, (X, y) = LOSSES[name]
    epochs = {"max_epochs": "auto"} if "left out" in name else {}
    _check(clone(estimator).set_params(**SMALL | epochs).fit(X, y), X, tmp_path)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "yes", "Ü"]),
        np.array(["no", "yes", "Ü"], dtype=object),
        np.array([-1, 7, 2**40]),
        np.array([0.5, 1.0, 2.0]).round().astype(np.uint8),
        np.array([False, True, True]),
        np.array([0.0, 1.0, 2.0], dtype=np.float16),
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_labels_keep_their_type(labels, tmp_path):
    X, y = IRIS
    fitted = DLClassifier(**SMALL).fit(X, labels[y])
    found = _check(fitted, X, tmp_path)["label"]
    assert found.dtype.kind == {"U": "O", "u": "i"}.get(labels.dtype.kind, labels.dtype.kind)


def _frame(n=700):
    rng = np.random.default_rng(0)
    many = np.array([f"town {k}" for k in range(140)])
    frame = pd.DataFrame(
        {
            "number": rng.normal(1e4, 3.0, n),
            "hole": np.where(rng.random(n) < 0.3, np.nan, rng.exponential(size=n)),
            "whole": rng.integers(0, 2**40, n),
            "flag": rng.random(n) < 0.5,
            "constant": 3.0,
            "kind": pd.Categorical(rng.choice(["a", "b", "c"], n)),
            "two": rng.choice(["left", "right"], n),
            "one": "always",
            "missing kind": pd.Series(rng.choice(["x", "y", "z"], n)).where(rng.random(n) < 0.8),
            "codes": pd.Categorical(rng.choice([1, 5, 1000], n)),
            "missing codes": pd.Series(rng.choice([0.5, 7.0], n))
            .where(rng.random(n) < 0.8)
            .astype("category"),
            "grade": pd.Categorical(
                rng.choice(["low", "mid", "high", None], n), ["low", "mid", "high"], ordered=True
            ),
            "town": many[rng.integers(0, 140, n)],
            "nullable": pd.array(np.where(rng.random(n) < 0.2, None, 2), dtype="Int64"),
        }
    )
    y = np.where(frame["kind"] == "a", 1.0, 0.0) + frame["hole"].fillna(0) + rng.normal(size=n)
    return frame, y.to_numpy()


NEW = {
    "kind": ["a", "new", None],
    "two": ["left", "new", None],
    "codes": [5, 6, None],
    "grade": ["mid", "high", None],
    "town": ["town 1", "town 9999", None],
    "number": [1e4, np.nan, 1e300],
    "hole": [np.nan, 0.0, -1e30],
}


@pytest.mark.parametrize("preprocessing", ["auto", "standard"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("module", ["auto", "periodic", "mlp"])
def test_every_kind_of_column_is_encoded_the_same(preprocessing, dtype, module, tmp_path):
    X, y = _frame()
    settings = {"preprocessing": preprocessing, "dtype": dtype, "module": module}
    fitted = DLRegressor(**SMALL, **settings).fit(X, y)
    assert len(fitted.encoder_.rare_columns_) == (module == "mlp")
    assert len(fitted.encoder_.coded_columns_) == (module != "mlp")
    _check(fitted, X, tmp_path)
    new = X.iloc[:3].copy()
    for name, values in NEW.items():
        if isinstance(X[name].dtype, pd.CategoricalDtype) and X[name].dtype.ordered:
            new[name] = pd.Categorical(values, X[name].cat.categories, ordered=True)
        elif isinstance(X[name].dtype, pd.CategoricalDtype):
            new[name] = pd.Categorical(values)
        else:
            new[name] = values
    _check(fitted, new, tmp_path)


def test_columns_are_inputs_by_name_and_numbers_without_names_one_matrix(tmp_path):
    X, y = _frame()
    named = onnx_inputs(DLRegressor(**SMALL).fit(X, y), X)
    assert list(named) == list(X.columns)
    assert all(values.shape == (len(X), 1) for values in named.values())
    assert named["missing kind"].dtype == object
    assert set(named["missing kind"].ravel()) == {"x", "y", "z", ""}
    matrix = onnx_inputs(DLClassifier(**SMALL).fit(*IRIS), IRIS[0])
    assert {name: values.shape for name, values in matrix.items()} == {"X": (150, 4)}


def test_columns_may_be_called_as_nodes_would_be(tmp_path):
    names = [f"{stem}_{k}" for stem in ("add", "cast", "constant") for k in range(40)]
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(30, len(names))), columns=names)
    _check(DLRegressor(**SMALL).fit(X, X["add_3"]), X, tmp_path)


@pytest.mark.parametrize("categorical_features", [[0, 2], None, [True, False, True, True]], ids=str)
def test_a_matrix_may_hold_codes_and_missing_numbers(categorical_features, tmp_path):
    rng, n = np.random.default_rng(0), 200
    X = np.column_stack(
        [rng.integers(0, 4, n), rng.normal(size=n), rng.integers(5, 7, n), rng.integers(0, 2, n)]
    ).astype(float)
    X[rng.random(X.shape) < 0.1] = np.nan
    y = np.nan_to_num(X).sum(1) + rng.normal(size=n)
    fitted = DLRegressor(**SMALL, categorical_features=categorical_features).fit(X, y)
    _check(fitted, X, tmp_path)
    _check(fitted, np.array([[9.0, 0.0, 5.0, np.nan], [np.nan, np.nan, 8.0, 1.0]]), tmp_path)


def test_text_without_names_and_columns_without_values_work(tmp_path):
    rng = np.random.default_rng(0)
    X = np.empty((100, 3), dtype=object)
    X[:, 0], X[:, 1] = rng.choice(["a", "b", "c"], 100), rng.normal(size=100)
    X[:, 2] = None
    with pytest.warns(UserWarning, match="Left out"):
        fitted = DLClassifier(**SMALL).fit(X, (X[:, 0] == "a").astype(int))
    assert list(onnx_inputs(fitted, X)) == ["x0", "x1"]
    _check(fitted, X, tmp_path)


def test_no_preprocessing_takes_numbers_as_they_come(tmp_path):
    X, y = IRIS
    _check(DLClassifier(**SMALL, preprocessing=None).fit(X, y), X, tmp_path)
    _check(DLClassifier(**SMALL).fit(X.astype(np.float32), y), X.astype(np.float32), tmp_path)


IMAGES = {
    "digits": ((1, 8, 8), {}),
    "layer": ((1, 8, 8), {"normalization": "layer", "activation": "gelu"}),
    "batch": ((1, 8, 8), {"normalization": "batch", "dtype": "float64"}),
    "colour, uneven cells": ((3, 11, 21), {"channels": (4,)}),
    "as they come": ((2, 5, 16), {"channels": (3, 4), "preprocessing": None}),
    "as rows of a dense network": ((1, 8, 8), {"module": "mlp", "input_shape": (1, 8, 8)}),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_read_convolved_and_pooled_the_same(name, tmp_path):
    shape, options = IMAGES[name]
    X = np.random.RandomState(0).normal(3, 2, (40, *shape))
    X[::7, 0, 0, 0] = 0 if options.get("preprocessing", "auto") is None else np.nan
    y = np.tile(["cat", "dog"], 20)
    settings = {"module": "cnn", "hidden_layer_sizes": (5,), "max_epochs": 2, "random_state": 0}
    fitted = DLClassifier(**settings | options).fit(X, y)
    _check(fitted, X, tmp_path)
    flat = onnx_inputs(fitted, X.reshape(40, -1))["X"]
    assert_array_equal(flat, onnx_inputs(fitted, X)["X"])


def test_the_number_of_rows_is_free_and_one_row_works(tmp_path):
    X, y = IRIS
    fitted = DLClassifier(**SMALL).fit(X, y)
    _check(fitted, X[:1], tmp_path)
    many = np.tile(X, (100, 1))
    _check(fitted, many, tmp_path)


class Net(torch.nn.Linear):
    """A user's module."""


def _half(x):
    return 0.5 * x


REFUSED = {
    "module": (
        DLClassifier(**SMALL, module=Net),
        IRIS,
        "only shipped modules.*torch.onnx.export",
    ),
    "activation": (DLClassifier(**SMALL, activation=_half), IRIS, "layer of type Elementwise"),
    "dates": (
        DLRegressor(**SMALL),
        (pd.DataFrame({"day": pd.date_range("2024", periods=99)}), np.arange(99.0)),
        "ONNX has no dates: column 'day'",
    ),
    "mixed": (
        DLRegressor(**SMALL),
        (pd.DataFrame({"m": pd.Series([1, "a"] * 40, dtype=object)}), np.arange(80.0)),
        "column 'm' mixes text and numbers, e.g. 1 and 'a'",
    ),
    "empty text": (
        DLRegressor(**SMALL),
        (pd.DataFrame({"m": ["", "a"] * 40}), np.arange(80.0)),
        "stands for missing in",
    ),
    "name of an output": (
        DLClassifier(**SMALL),
        (pd.DataFrame({"label": np.arange(80.0)}), np.arange(80) % 2),
        "column 'label' has the name of an output",
    ),
    "no name": (
        DLRegressor(**SMALL),
        (pd.DataFrame({"": np.arange(80.0)}), np.arange(80.0)),
        "Name it before fit",
    ),
    "large codes": (
        DLRegressor(**SMALL),
        (pd.DataFrame({"id": pd.Categorical([2**53, 2**53 + 1] * 40)}), np.arange(80.0)),
        "column 'id' has categories that are one number",
    ),
    "large labels": (
        DLClassifier(**SMALL),
        (IRIS[0], IRIS[1].astype(np.uint64) + np.uint64(2**63)),
        "up to 2..63 - 1",
    ),
    "dates as labels": (
        DLClassifier(**SMALL),
        (IRIS[0], np.array(["2024-01-01", "2024-01-02"], "M8[D]")[IRIS[1] % 2]),
        "labels that are text or numbers, got datetime64",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_onnx_cannot_hold_is_refused_by_name(what, tmp_path):
    estimator, (X, y), message = REFUSED[what]
    fitted = estimator.fit(X, y)
    with pytest.raises(ValueError, match=message):
        export_onnx(fitted, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_only_fitted_estimators_of_ours_are_exported(tmp_path):
    with pytest.raises(NotFittedError):
        export_onnx(DLClassifier(), tmp_path / "m")
    with pytest.raises(TypeError, match="got Pipeline; of a pipeline export the last step"):
        export_onnx(make_pipeline(StandardScaler(), DLClassifier()), tmp_path / "m")
