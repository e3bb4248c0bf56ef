"""The layers of a trained network as nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sklearn_dl.nn.architecture import PlainResidual
from sklearn_dl.onnx.graph import Graph

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
    emitter = _EMITTERS.get(type(layer))
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


def _residual(graph: Graph, layer: PlainResidual, x: str) -> str:
    return graph.add("Add", x, emit_layer(graph, layer.branch, x))


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
    PlainResidual: _residual,
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
}
