"""What a named augmentation is: numbers drawn for each row, and a function of rows and numbers.

Each model of a stack draws its numbers from its own generator, so they are the same alone or in a
stack; the function then changes the rows of all models at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Generator, Tensor

__all__ = ["Draws", "ImageShape", "Mixed", "Rule", "uniform"]

ImageShape: TypeAlias = tuple[int, int, int]
"""Channels, height and width."""


@dataclass(frozen=True)
class Mixed:
    """Rows that are mixtures of two rows of their batch.

    Attributes
    ----------
    partner : Tensor of shape (n_models, rows), int64
        Position of the second row.
    share : Tensor of shape (n_models, rows)
        How much of the mixture is the first row, in [0, 1].
    """

    partner: Tensor
    share: Tensor

    def second(self, values: Tensor) -> Tensor:
        """The values, (n_models, rows, ...), of the second rows."""
        n_models, length = self.partner.shape
        index = self.partner
        if n_models > 1:
            first = torch.arange(0, n_models * length, length, device=index.device)
            index = index + first.unsqueeze(1)
        flat = values.reshape(n_models * length, *values.shape[2:])
        return flat.index_select(0, index.flatten()).view(values.shape)


@dataclass(frozen=True)
class Draws:
    """What a rule knows beside the rows.

    Attributes
    ----------
    numbers : Tensor of shape (n_models, rows, n_numbers)
        What each row drew; 0 for padding rows.
    strength : Tensor of shape (n_models, 1, 1)
        In (0, 1].
    n_rows : Tensor of shape (n_models, 1, 1) or None
        Rows of each model, padding not counted; None where no row is padding.
    image : tuple (channels, height, width) or None
        Where the rows are images, flattened.
    """

    numbers: Tensor
    strength: Tensor
    n_rows: Tensor | None
    image: ImageShape | None


def uniform(out: Tensor, strength: float, generator: Generator) -> None:
    """Fill with numbers in [0, 1)."""
    out.uniform_(generator=generator)


@dataclass(frozen=True)
class Rule:
    """A named augmentation.

    Attributes
    ----------
    name : str
    inputs : {"any", "images", "tables"}
        What it makes sense for.
    n_numbers : callable
        ``(n_features, image) -> `` numbers that each row draws.
    apply : callable
        ``(rows, draws) -> rows`` of shape (n_models, rows, n_features), or such rows and a
        ``Mixed``.
    draw : callable
        ``(out, strength, generator)`` fills what one model drew, (rows, n_numbers).
    """

    name: str
    inputs: Literal["any", "images", "tables"]
    n_numbers: Callable[[int, ImageShape | None], int]
    apply: Callable[[Tensor, Draws], Tensor | tuple[Tensor, Mixed]]
    draw: Callable[[Tensor, float, Generator], None] = uniform
