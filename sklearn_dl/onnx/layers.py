"""The layers of a trained network as nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sklearn_dl.onnx.graph import Graph
from sklearn_dl.onnx.images import IMAGE_EMITTERS

__all__ = ["emit_layer"]

Emitter = Callable[[Graph, Any, str], str]

# Klambauer et al. 2017, as torch rounds them
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def emit_layer(graph: Graph, layer: nn.Module, x: str) -> str:
    """Append a layer to the value x.

    Raises
    ------
    ValueError
        The layer is none of the shipped ones.
    """
    kind = type(layer)
    ours = kind.__module__.startswith("sklearn_dl.nn.")
    emitter = _OUR_EMITTERS.get(kind.__name__) if ours else _EMITTERS.get(kind)
    if emitter is None:
        raise ValueError(
            f"only shipped modules and activations become ONNX, but the network has a layer of "
            f"type {type(layer).__name__}. Export module_ with torch.onnx.export instead; "
            "estimator.encode(X) gives its inputs."
        )
    return emitter(graph, layer, x)


def _array(value: torch.Tensor) -> NDArray[Any]:
    return value.detach().cpu().numpy()


def _sequential(graph: Graph, layer: nn.Sequential, x: str) -> str:
    for part in layer:
        x = emit_layer(graph, part, x)
    return x


def _linear(graph: Graph, layer: nn.Linear, x: str) -> str:
    x = graph.add("MatMul", x, graph.constant(_array(layer.weight).T))
    return x if layer.bias is None else graph.add("Add", x, graph.constant(_array(layer.bias)))


def _residual(graph: Graph, layer: Any, x: str) -> str:
    """``x + f(x)``."""
    return graph.add("Add", x, emit_layer(graph, layer.branch, x))


def _piecewise(graph: Graph, layer: Any, x: str) -> str:
    """``[x, clip(slope x_j + offset, -mean, 1 - mean)]`` for columns j that have bins."""
    picked = graph.add("Gather", x, graph.constant(_array(layer.columns), np.int64), axis=1)
    picked = graph.add("Unsqueeze", picked, graph.constant([-1], np.int64))
    slope, offset, mean = (_array(v) for v in (layer.slope, layer.offset, layer.mean))
    bent = graph.add("Mul", picked, graph.constant(slope))
    bent = graph.add("Add", bent, graph.constant(offset))
    bent = graph.add("Max", bent, graph.constant(-mean))
    bent = graph.add("Min", bent, graph.constant(1 - mean))
    return graph.columns([x, graph.add("Flatten", bent, axis=1)])


def _periodic(graph: Graph, layer: Any, x: str) -> str:
    """``[x, relu(W [cos, sin](2 pi c x_j) + b)]`` for some columns j."""
    picked = graph.add("Gather", x, graph.constant(_array(layer.columns), np.int64), axis=1)
    picked = graph.add("Unsqueeze", picked, graph.constant([2, 3], np.int64))
    angle = graph.add("Mul", graph.constant(2 * np.pi * _array(layer.frequency)[None]), picked)
    # runtimes have Cos in float32 only
    quarter = graph.add("CastLike", graph.constant(np.pi / 2), angle)
    parts = [graph.add("Sin", graph.add("Add", angle, quarter)), graph.add("Sin", angle)]
    waves = graph.add("Concat", *parts, axis=2)  # (n_rows, n_columns, waves, 1)
    mapped = graph.add("MatMul", graph.constant(_array(layer.weight)[None]), waves)
    mapped = graph.add("Relu", graph.add("Add", mapped, graph.constant(_array(layer.bias)[None])))
    return graph.columns([x, graph.add("Flatten", mapped, axis=1)])


def _levels(graph: Graph, layer: Any, x: str) -> str:
    """The vectors of the last columns; that of code 0, before those of all levels, is zero."""
    table, k = _array(layer.table), len(layer.first)
    last = graph.constant([-k], np.int64)
    end = graph.constant([np.iinfo(np.int64).max], np.int64)
    codes = graph.cast(graph.add("Slice", x, last, end, graph.constant([1], np.int64)), np.int64)
    none = graph.add("Equal", codes, graph.constant(0, np.int64))
    row = graph.add("Add", codes, graph.constant(_array(layer.first)[None], np.int64))
    row = graph.add("Where", none, graph.constant(0, np.int64), row)
    padded = graph.constant(np.concatenate([np.zeros_like(table[:1]), table]))
    vectors = graph.add("Flatten", graph.add("Gather", padded, row, axis=0), axis=1)
    start = graph.constant([0], np.int64)
    rest = graph.add("Slice", x, start, last, graph.constant([1], np.int64))
    return graph.columns([rest, vectors])


def _ensemble(graph: Graph, layer: Any, x: str) -> str:
    """The mean prediction of the members, as outputs; in float64, where log(0) is far away."""
    link = {"softmax": "Softmax", "sigmoid": "Sigmoid", "identity": "Identity", "exp": "Exp"}[
        layer.link
    ]
    outputs = [graph.cast(emit_layer(graph, member, x), np.float64) for member in layer.members]
    share = graph.constant(1 / len(outputs))
    mean = graph.add("Mul", graph.add("Sum", *(graph.add(link, o) for o in outputs)), share)
    if layer.link == "identity":
        return mean
    if layer.link in ("softmax", "exp"):
        return graph.add("Log", mean)
    # the other probability from its own sigmoids: 1 - p would round to 0
    turned = [graph.add("Sigmoid", graph.add("Neg", o)) for o in outputs]
    other = graph.add("Mul", graph.add("Sum", *turned), share)
    return graph.add("Sub", graph.add("Log", mean), graph.add("Log", other))


def _rising(graph: Graph, layer: Any, x: str) -> str:
    """The middle quantile and the sums of steps away from it, as one product."""
    k, m = len(layer.levels), layer.middle
    sums = np.zeros((k, k))  # sums[j, i]: what step j adds to quantile i
    for j in range(k):
        sums[j] = 1 if j == m else np.where(j > m, np.arange(k) >= j, -1.0 * (np.arange(k) <= j))
    offsets = _array(layer.offsets(torch.empty(0, dtype=torch.float64)))
    grouped = graph.add("Reshape", x, graph.constant([0, -1, k], np.int64))
    raw = graph.add("Add", grouped, graph.add("CastLike", graph.constant(offsets), x))
    steps = graph.add("Softplus", raw)
    chosen = graph.add("Where", graph.constant(np.arange(k) == m, np.bool_), raw, steps)
    together = graph.add("MatMul", chosen, graph.add("CastLike", graph.constant(sums), x))
    return graph.add("Flatten", together, axis=1)


def _batch_norm(graph: Graph, layer: nn.BatchNorm1d, x: str) -> str:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    scale = layer.weight * (layer.running_var + layer.eps).rsqrt()
    x = graph.add("Sub", x, graph.constant(_array(layer.running_mean)))
    x = graph.add("Mul", x, graph.constant(_array(scale)))
    return graph.add("Add", x, graph.constant(_array(layer.bias)))


def _layer_norm(graph: Graph, layer: nn.LayerNorm, x: str) -> str:
    scale, bias = graph.constant(_array(layer.weight)), graph.constant(_array(layer.bias))
    return graph.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=layer.eps)


def _nothing(graph: Graph, layer: nn.Module, x: str) -> str:
    return x


def _elementwise(op: str) -> Emitter:
    return lambda graph, layer, x: graph.add(op, x)


def _scalar(graph: Graph, value: float, like: str) -> str:
    """A number in the dtype of another value."""
    return graph.add("CastLike", graph.constant(np.float64(value)), like)


def _silu(graph: Graph, layer: nn.Module, x: str) -> str:
    return graph.add("Mul", x, graph.add("Sigmoid", x))


def _gelu(graph: Graph, layer: nn.Module, x: str) -> str:
    """``x (1 + erf(x / sqrt 2)) / 2``; erf in float32, the only one that runtimes have."""
    scaled = graph.add("Mul", x, _scalar(graph, 1 / math.sqrt(2), x))
    erf = graph.add("CastLike", graph.add("Erf", graph.cast(scaled, np.float32)), x)
    half = graph.add("Mul", graph.add("Add", erf, _scalar(graph, 1, x)), _scalar(graph, 0.5, x))
    return graph.add("Mul", x, half)


def _selu(graph: Graph, layer: nn.Module, x: str) -> str:
    """``s (max(x, 0) + a (exp(min(x, 0)) - 1))``; runtimes have Selu in float32 only."""
    zero = _scalar(graph, 0, x)
    below = graph.add("Exp", graph.add("Min", x, zero))
    below = graph.add("Mul", graph.add("Sub", below, _scalar(graph, 1, x)),
                      _scalar(graph, SELU_ALPHA, x))  # fmt: skip
    both = graph.add("Add", graph.add("Max", x, zero), below)
    return graph.add("Mul", both, _scalar(graph, SELU_SCALE, x))


_EMITTERS: dict[type[nn.Module], Emitter] = {
    nn.Sequential: _sequential,
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.Dropout: _nothing,
    nn.Identity: _nothing,
    nn.ReLU: _elementwise("Relu"),
    nn.Tanh: _elementwise("Tanh"),
    nn.Sigmoid: _elementwise("Sigmoid"),
    nn.SiLU: _silu,
    nn.GELU: _gelu,
    nn.SELU: _selu,
    **IMAGE_EMITTERS,
}
#: Layers of `sklearn_dl.nn`, by name.
_OUR_EMITTERS: dict[str, Emitter] = {
    "PlainResidual": _residual,
    "PlainLevels": _levels,
    "PlainPeriodic": _periodic,
    "PlainPiecewise": _piecewise,
    "PlainEnsemble": _ensemble,
    "PlainRising": _rising,
}
