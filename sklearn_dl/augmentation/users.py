"""A user's function of the rows of a batch."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

from torch import Generator, Tensor

from sklearn_dl.augmentation.rules import ImageShape

__all__ = ["UserFunction"]


class UserFunction:
    """``rows -> rows``, ``(rows, generator) -> rows`` or ``(rows, generator, strength) -> rows``.

    Images come and go as (n, channels, height, width), other rows as (n, n_features).
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.n_arguments = _positional(function)

    def __call__(
        self, rows: Tensor, generator: Generator, strength: float, image: ImageShape | None
    ) -> Tensor:
        """Apply the function to the rows (n, n_features) of one model, and check what it gives."""
        given = rows if image is None else rows.unflatten(1, image)
        out: Any = self.function(*(given, generator, strength)[: self.n_arguments])
        if not isinstance(out, Tensor) or out.shape != given.shape:
            seen = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                "augmentation must return a tensor of the shape of its rows, "
                f"{tuple(given.shape)}; got {seen}."
            )
        return out.reshape(rows.shape)


def _positional(function: Callable[..., Tensor]) -> int:
    """How many arguments the function is given: the rows, and what else it asks for."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    required = [
        p
        for p in signature(function).parameters.values()
        if p.kind in kinds and p.default is Parameter.empty
    ]
    return min(3, max(1, len(required)))
