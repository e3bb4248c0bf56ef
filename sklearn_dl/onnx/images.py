"""Images as nodes: how they are scaled, convolved and pooled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sklearn_dl.onnx.graph import Graph
from sklearn_dl.tabular import ImageEncoder

__all__ = ["IMAGE_EMITTERS", "emit_images"]


def emit_images(graph: Graph, encoder: ImageEncoder, dtype: Any) -> str:
    """Declare the input X of images, and append their scaling; gives flattened rows."""
    x = graph.cast(graph.input("X", np.float64, *encoder.shape), dtype)
    if encoder.preprocessing is not None:
        x = graph.add("Sub", x, _a_channel(graph, encoder.center_.astype(dtype)))
        x = graph.add("Mul", x, _a_channel(graph, encoder.scale_.astype(dtype)))
        zero = graph.constant(0, dtype)
        x = graph.add("Where", graph.add("IsNaN", x), zero, x)
    return graph.add("Flatten", x, axis=1)


def _a_channel(graph: Graph, values: NDArray[Any]) -> str:
    """One number for all pixels of a channel."""
    return graph.constant(values.reshape(1, -1, 1, 1))


def _of(value: torch.Tensor) -> NDArray[Any]:
    return value.detach().cpu().numpy()


def _unflatten(graph: Graph, layer: nn.Unflatten, x: str) -> str:
    channels, *graph.sides = (int(n) for n in layer.unflattened_size)
    return graph.add("Reshape", x, graph.constant([0, channels, *graph.sides], np.int64))


def _in_float32(graph: Graph, op: str, x: str, *weights: NDArray[Any], **attributes: Any) -> str:
    """Runtimes convolve float32 alone; the result has the dtype of x."""
    given = [graph.constant(w.astype(np.float32)) for w in weights]
    out = graph.add(op, graph.cast(x, np.float32), *given, **attributes)
    return graph.add("CastLike", out, x)


def _convolution(graph: Graph, layer: nn.Conv2d, x: str) -> str:
    weights = [_of(layer.weight), *([] if layer.bias is None else [_of(layer.bias)])]
    pads = [int(n) for n in layer.padding] * 2
    return _in_float32(graph, "Conv", x, *weights, pads=pads)


def _maximum(graph: Graph, layer: nn.MaxPool2d, x: str) -> str:
    assert isinstance(layer.kernel_size, tuple)
    kernel = [int(n) for n in layer.kernel_size]
    graph.sides = [side // n for side, n in zip(graph.sides, kernel, strict=True)]
    return _in_float32(graph, "MaxPool", x, kernel_shape=kernel, strides=kernel)


def _means(graph: Graph, layer: nn.AdaptiveAvgPool2d, x: str) -> str:
    """The mean of each part of a grid, as a product from either side."""
    assert isinstance(layer.output_size, tuple)
    rows, columns = (
        _shares(side, int(cells or side))
        for side, cells in zip(graph.sides, layer.output_size, strict=True)
    )
    graph.sides = [len(rows), len(columns)]
    x = graph.add("MatMul", graph.add("CastLike", graph.constant(rows), x), x)
    return graph.add("MatMul", x, graph.add("CastLike", graph.constant(columns.T), x))


def _shares(side: int, cells: int) -> NDArray[np.float64]:
    """Of (cells, side) pixels, what each gives to the mean of a cell."""
    shares = np.zeros((cells, side))
    for k in range(cells):
        first, end = k * side // cells, -(-(k + 1) * side // cells)
        shares[k, first:end] = 1 / (end - first)
    return shares


def _batch_norm(graph: Graph, layer: nn.BatchNorm2d, x: str) -> str:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    scale = layer.weight * (layer.running_var + layer.eps).rsqrt()
    x = graph.add("Sub", x, _a_channel(graph, _of(layer.running_mean)))
    x = graph.add("Mul", x, _a_channel(graph, _of(scale)))
    return graph.add("Add", x, _a_channel(graph, _of(layer.bias)))


def _group_norm(graph: Graph, layer: nn.GroupNorm, x: str) -> str:
    """Over all values of an image, as the one group is; a gain and a bias a channel."""
    assert layer.num_groups == 1
    axes = graph.constant([1, 2, 3], np.int64)
    x = graph.add("Sub", x, graph.add("ReduceMean", x, axes))
    variance = graph.add("ReduceMean", graph.add("Mul", x, x), axes)
    eps = graph.add("CastLike", graph.constant(np.float64(layer.eps)), x)
    x = graph.add("Div", x, graph.add("Sqrt", graph.add("Add", variance, eps)))
    x = graph.add("Mul", x, _a_channel(graph, _of(layer.weight)))
    return graph.add("Add", x, _a_channel(graph, _of(layer.bias)))


def _flatten(graph: Graph, layer: nn.Flatten, x: str) -> str:
    return graph.add("Flatten", x, axis=1)


IMAGE_EMITTERS: dict[type[nn.Module], Callable[[Graph, Any, str], str]] = {
    nn.Unflatten: _unflatten,
    nn.Conv2d: _convolution,
    nn.MaxPool2d: _maximum,
    nn.AdaptiveAvgPool2d: _means,
    nn.BatchNorm2d: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.Flatten: _flatten,
}
