"""What is done to the rows of a batch in training only: name -> ``(rows, generator) -> rows``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

__all__ = ["AUGMENTATIONS", "Augmentation", "augmentation_function"]

Augmentation = Callable[[Tensor, Generator], Tensor]
"""Rows (n, n_features) and the model's source of random numbers -> rows of the same shape."""

#: Standard deviation of ``"noise"``, in units of the encoded columns (about their quartile range).
NOISE_SCALE = 0.1


def noise(rows: Tensor, generator: Generator) -> Tensor:
    """Gaussian noise on every encoded column; on average a penalty on the slope (Bishop 1995)."""
    drawn = torch.empty_like(rows).normal_(0, NOISE_SCALE, generator=generator)
    return rows + drawn


AUGMENTATIONS: dict[str, Augmentation] = {"noise": noise}


class _UserAugmentation:
    """A user's ``rows -> rows`` or ``(rows, generator) -> rows``, checked."""

    def __init__(self, function: Callable[..., Tensor], takes_generator: bool) -> None:
        self.function, self.takes_generator = function, takes_generator

    def __call__(self, rows: Tensor, generator: Generator) -> Tensor:
        """Apply the user's function."""
        out = self.function(rows, generator) if self.takes_generator else self.function(rows)
        if not isinstance(out, Tensor) or out.shape != rows.shape:
            seen = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"augmentation must return a tensor of the shape of its rows, {tuple(rows.shape)}; "
                f"got {seen}."
            )
        return out


def augmentation_function(augmentation: str | Callable[..., Tensor] | None) -> Augmentation | None:
    """Resolve the ``augmentation`` of an estimator.

    A callable of two positional arguments is given the model's ``torch.Generator`` as the second.
    What a callable of one draws with torch comes from that generator too (the training loop sees
    to it).
    """
    if augmentation is None:
        return None
    if isinstance(augmentation, str):
        return AUGMENTATIONS[augmentation]
    from inspect import Parameter, signature

    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    required = [
        p
        for p in signature(augmentation).parameters.values()
        if p.kind in positional and p.default is Parameter.empty
    ]
    return _UserAugmentation(augmentation, takes_generator=len(required) >= 2)
