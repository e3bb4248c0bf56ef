"""The gradient of a plain chain of layers, written out.

Linear layers, elementwise activations and dropout need three products a layer and no graph. On
small networks building and walking autograd's graph costs as much as the mathematics: written out,
a step of a 30-32-2 network takes 0.6 times as long. Anything else goes through autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import dropwhile

import torch
from torch import Tensor

from sklearn_dl.nn.architecture import Activation, Sequence
from sklearn_dl.nn.layers import Batch, Stacked, StackedDropout, StackedLinear
from sklearn_dl.nn.levels import StackedLevels
from sklearn_dl.nn.periodic import StackedPeriodic
from sklearn_dl.nn.piecewise import StackedPiecewise
from sklearn_dl.nn.rising import StackedRising

__all__ = ["Chain"]

_aten = torch.ops.aten

#: name -> derivative from (gradient, output), for activations whose derivative the output tells
DERIVATIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda gradient, output: _aten.threshold_backward(gradient, output, 0),
    "tanh": _aten.tanh_backward,
    "sigmoid": _aten.sigmoid_backward,
    "identity": lambda gradient, output: gradient,
}


class Chain:
    """Forward and backward pass of a sequence of plain layers."""

    def __init__(self, layers: list[Stacked]) -> None:
        self._layers = layers
        # for each layer its input (dropout: its mask) and its output
        self._tape: list[tuple[Tensor | None, Tensor]] = []

    @classmethod
    def of(cls, network: Stacked) -> Chain | None:
        """The chain of a network, if it is one."""
        if not isinstance(network, Sequence):
            return None
        rest = list(dropwhile(_is_encoding, network.chain))
        return cls(network.chain) if all(map(_is_plain, rest)) else None

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Outputs (n_models, rows, n_outputs), keeping what the backward pass needs."""
        self._tape = []
        for layer in self._layers:
            if isinstance(layer, StackedDropout):
                mask = layer.mask(x, batch)
                out = x if mask is None else x * mask
                self._tape.append((mask, out))
            else:
                out = layer.forward(x, batch)
                self._tape.append((x, out))
            x = out
        return x

    def backward(self, gradient: Tensor) -> None:
        """From the gradient at the outputs to the ``grad`` of each parameter, overwritten."""
        first = next(layer for layer in self._layers if isinstance(layer, StackedLinear))
        for layer, (kept, out) in zip(reversed(self._layers), reversed(self._tape), strict=True):
            if isinstance(layer, StackedLinear):
                assert kept is not None
                below = layer.backward(kept, gradient, inputs=layer is not first)
                if below is None:
                    self._reach_encodings(first, gradient)
                    break
                gradient = below
            elif isinstance(layer, StackedRising):
                assert kept is not None
                gradient = layer.backward(kept, gradient)
            elif isinstance(layer, Activation):
                gradient = DERIVATIVES[str(layer.activation)](gradient, out)
            elif kept is not None:
                gradient = gradient * kept
        self._tape = []

    def _reach_encodings(self, first: StackedLinear, gradient: Tensor) -> None:
        """Carry on to what encodings add, behind what they read: no other input is learnt."""
        for layer, (x, out) in zip(self._layers, self._tape, strict=True):
            if not _is_encoding(layer):
                break
            if isinstance(layer, StackedLevels | StackedPeriodic):
                assert x is not None
                weight = first.weight[:, out.shape[2] - layer.width : out.shape[2]]
                layer.backward(x, torch.bmm(gradient, weight.mT))


def _is_encoding(layer: Stacked) -> bool:
    return isinstance(layer, StackedLevels | StackedPeriodic | StackedPiecewise)


def _is_plain(layer: Stacked) -> bool:
    if isinstance(layer, Activation):
        return isinstance(layer.activation, str) and layer.activation in DERIVATIVES
    return isinstance(layer, StackedLinear | StackedDropout | StackedRising)
