"""The whole estimator as an ONNX model: table in, prediction out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_dl import __version__
from sklearn_dl.estimators import DLClassifier, DLRegressor
from sklearn_dl.onnx.columns import emit_encoder
from sklearn_dl.onnx.graph import Graph, array_of
from sklearn_dl.onnx.images import emit_images
from sklearn_dl.onnx.layers import emit_layer
from sklearn_dl.tabular import TabularEncoder

__all__ = ["export_onnx"]


def export_onnx(estimator: DLClassifier | DLRegressor, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator as an ONNX model, encoder and classes included.

    A table of numbers without column names becomes one input ``X`` of doubles, (n_rows,
    n_features). With column names, or with text, each column is an input of its name, (n_rows, 1):
    doubles, NaN where missing; text, "" where missing. Images are one input ``X`` of doubles,
    (n_rows, channels, height, width). `onnx_inputs` makes them of what ``predict`` takes.

    The outputs of a classifier are ``label`` and ``probabilities``, that of a regressor is
    ``prediction``; they equal ``predict`` and ``predict_proba`` up to rounding (1e-5).

    Parameters
    ----------
    estimator : DLClassifier or DLRegressor
        Fitted, of a shipped module.
    path : path-like
        The file.

    Raises
    ------
    ValueError
        The module or the activation is a callable; a column holds dates, durations or categories
        that doubles cannot tell apart, or has the name of an output; labels are no text or numbers.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import onnxruntime
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_dl import DLClassifier
    >>> from sklearn_dl.onnx import export_onnx, onnx_inputs
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> fitted = DLClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "iris.onnx"
    >>> export_onnx(fitted, path)
    >>> session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    >>> labels, probabilities = session.run(None, onnx_inputs(fitted, X))
    >>> bool(np.allclose(probabilities, fitted.predict_proba(X), atol=1e-5))
    True
    """
    if not isinstance(estimator, DLClassifier | DLRegressor):
        raise TypeError(
            f"export_onnx takes a DLClassifier or DLRegressor, got {type(estimator).__name__}; of "
            "a pipeline export the last step, whose encoder does its own scaling."
        )
    check_is_fitted(estimator)
    graph = Graph()
    dtype = next(iter(estimator._state.values())).dtype
    emit = emit_encoder if isinstance(estimator.encoder_, TabularEncoder) else emit_images
    encoded = emit(graph, estimator.encoder_, dtype)
    outputs = graph.cast(emit_layer(graph, estimator.module_, encoded), np.float64)
    if isinstance(estimator, DLClassifier):
        ends = _classes(graph, estimator, outputs)
    else:
        ends = {"prediction": _numbers(graph, estimator, outputs)}
    about = {"sklearn_dl": __version__, "estimator": type(estimator).__name__}
    Path(path).write_bytes(graph.model(ends, about).SerializeToString())


def _classes(
    graph: Graph, estimator: DLClassifier, outputs: str
) -> dict[str, tuple[str, Any, list[Any]]]:
    shape = ["n_rows", estimator.n_outputs_]
    if estimator._loss().link == "sigmoid":
        above = graph.cast(graph.add("Greater", outputs, graph.constant(0.0)), np.int64)
        each = graph.add("Sigmoid", outputs)
        return {
            "label": (above, np.int64, shape),
            "probabilities": (each, np.float64, shape),
        }
    classes = array_of(estimator.classes_)
    place = graph.add("ArgMax", outputs, axis=1, keepdims=0)
    label = graph.add("Gather", graph.constant(classes), place)
    return {
        "label": (label, classes.dtype, ["n_rows"]),
        "probabilities": (graph.add("Softmax", outputs, axis=1), np.float64, shape),
    }


def _numbers(graph: Graph, estimator: DLRegressor, outputs: str) -> tuple[str, Any, list[Any]]:
    scale, network = estimator._scale, estimator._network
    n_levels = len(network.get("levels", ()))
    if network["link"] == "exp":
        outputs = graph.add("Exp", outputs)
    elif estimator._shift.any():
        outputs = graph.add("Add", outputs, graph.constant(estimator._shift.reshape(1, -1)))
        outputs = _running_maximum(graph, outputs, max(1, n_levels), len(scale.mean))
    mean, deviation = (np.repeat(v, max(1, n_levels))[None] for v in (scale.mean, scale.deviation))
    values = graph.add("Mul", outputs, graph.constant(deviation))
    values = graph.add("Add", values, graph.constant(mean))
    if n_levels and not estimator._flat:
        shape = graph.constant([0, len(scale.mean), n_levels], np.int64)
        values = graph.add("Reshape", values, shape)
        return values, np.float64, ["n_rows", len(scale.mean), n_levels]
    if n_levels or not estimator._flat:
        return values, np.float64, ["n_rows", estimator.n_outputs_]
    flat = graph.add("Squeeze", values, graph.constant([1], np.int64))
    return flat, np.float64, ["n_rows"]


def _running_maximum(graph: Graph, outputs: str, n_levels: int, n_targets: int) -> str:
    """The largest level so far, target by target."""
    columns: list[str] = []
    for column in range(n_targets * n_levels):
        own = graph.add("Gather", outputs, graph.constant([column], np.int64), axis=1)
        first = column % n_levels == 0
        columns.append(own if first else graph.add("Max", columns[-1], own))
    return graph.columns(columns)
