"""The mean training loss as a function of one vector.

A model is copied to float64 and never changed; its trainable parameters, in the module's order and
flattened, are the vector ``weights`` of shape (n_parameters,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["Objective", "row_losses"]


@dataclass(frozen=True, eq=False)
class Objective:
    """The weighted mean loss of a network over some rows.

    Attributes
    ----------
    module : torch.nn.Module
        A float64 copy in evaluation mode.
    loss : callable
        ``(outputs, target) -> losses`` of shape (n,).
    inputs, target : Tensor
        First axis: rows.
    share : Tensor of shape (n,)
        Weights of the rows, which sum to one.
    penalty : float
        ``penalty / 2 * |weights|^2`` is added.
    weights : Tensor of shape (n_parameters,)
        Where the model stands.
    names, shapes : tuple
        Parameters that make up ``weights``, in order.
    epsilon : float
        Rounding unit of the precision the model was kept in.
    """

    module: nn.Module
    loss: Callable[[Tensor, Tensor], Any]
    inputs: Tensor
    target: Tensor
    share: Tensor
    penalty: float
    weights: Tensor
    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    epsilon: float

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.share)

    @property
    def n_parameters(self) -> int:
        """Number of trainable weights."""
        return self.weights.numel()

    def at(self, index: NDArray[np.intp]) -> Objective:
        """The mean loss over some of the rows."""
        rows = torch.as_tensor(index, device=self.share.device)
        share = self.share[rows]
        inputs, target = self.inputs[rows], self.target[rows]
        return replace(self, inputs=inputs, target=target, share=share / share.sum())

    def blocks(self, n_blocks: int) -> list[tuple[Objective, float]]:
        """The rows in at most ``n_blocks`` random parts of nearly equal size, with their shares.

        At random, since rows may come sorted by class or time: parts of neighbours then differ by
        more than chance. Always the same parts.
        """
        order = np.random.default_rng(0).permutation(len(self))
        parts = np.array_split(order, min(n_blocks, len(self)))
        shares = [float(self.share[torch.as_tensor(part)].sum()) for part in parts]
        return [(self.at(part), share) for part, share in zip(parts, shares, strict=True) if share]

    def parts(self, weights: Tensor) -> dict[str, Tensor]:
        """The vector as named parameters, views of it."""
        pieces = weights.split([shape.numel() for shape in self.shapes])
        return {
            name: piece.view(shape)
            for name, piece, shape in zip(self.names, pieces, self.shapes, strict=True)
        }

    def outputs(self, weights: Tensor) -> Tensor:
        """Outputs of the network at other weights."""
        out: Tensor = functional_call(self.module, self.parts(weights), (self.inputs,))
        return out

    def mean_loss(self, weights: Tensor) -> Tensor:
        """The objective, differentiable."""
        losses = row_losses(self.loss, self.outputs(weights), self.target, len(self))
        value = (self.share * losses).sum()
        return value + self.penalty / 2 * weights.square().sum() if self.penalty else value

    @torch.no_grad()
    def value(self, weights: Tensor | None = None) -> float:
        """The objective at some weights, its own by default."""
        return float(self.mean_loss(self.weights if weights is None else weights))

    def gradient(self, weights: Tensor | None = None) -> Tensor:
        """Its gradient, (n_parameters,)."""
        leaf = (self.weights if weights is None else weights).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.mean_loss(leaf), leaf)
        return gradient


def row_losses(
    loss: Callable[[Tensor, Tensor], Any], outputs: Tensor, target: Tensor, n: int
) -> Tensor:
    """One loss a row, (n,); further axes are averaged."""
    losses = loss(outputs, target)
    if not isinstance(losses, Tensor) or losses.ndim == 0 or losses.shape[0] != n:
        seen = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(
            f"loss(output, y) must return one value a row, shape ({n},); got {seen}. Return the "
            "unreduced losses (reduction='none' in torch)."
        )
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses
