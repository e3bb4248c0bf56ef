"""Modules made from a user's: with fresh initial values, and inside a larger class.

A user's module is a function ``(n_features, n_outputs) -> torch.nn.Module`` whose class of
functions we do not know. Drawing its weights anew leaves the class as it is; adding a wide network
to its output gives a class that contains it (the added network can be zero).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["Beside", "Reinitialised"]

Factory = Callable[[int, int], nn.Module]


@dataclass(frozen=True)
class Reinitialised:
    """The same module, every layer drawn as torch draws it by default."""

    factory: Factory

    def __call__(self, n_features: int, n_outputs: int) -> nn.Module:
        """Build it."""
        module = self.factory(n_features, n_outputs)
        for layer in module.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
        return module


@dataclass(frozen=True)
class Beside:
    """The same module plus a network of one hidden layer: ``x -> f(x) + g(x)``."""

    factory: Factory
    width: int

    def __call__(self, n_features: int, n_outputs: int) -> nn.Module:
        """Build both."""
        added = nn.Sequential(
            nn.Linear(n_features, self.width), nn.ReLU(), nn.Linear(self.width, n_outputs)
        )
        return _Sum(self.factory(n_features, n_outputs), added)


class _Sum(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.first(x) + self.second(x)
        return out
