"""Augmentations of any row of numbers: noise, values dropped or swapped, and mixtures of rows."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from sklearn_dl.augmentation.rules import Draws, ImageShape, Mixed, Rule

__all__ = ["TABLE_RULES"]


def _one_a_column(n_features: int, image: ImageShape | None) -> int:
    return n_features


def _normal(out: Tensor, strength: float, generator: Generator) -> None:
    out.normal_(0, strength, generator=generator)


def noise(x: Tensor, draws: Draws) -> Tensor:
    """Gaussian noise on every column; on average a penalty on the slope (Bishop 1995)."""
    return x + draws.numbers


def dropout(x: Tensor, draws: Draws) -> Tensor:
    """Columns set to 0, their middle, with probability ``strength``; the rest are not scaled.

    The denoising corruption of Vincent et al. (2008).
    """
    return x * (draws.numbers >= draws.strength)


def swap(x: Tensor, draws: Draws) -> Tensor:
    """Each value with probability ``strength`` that of the same column in another row.

    The corruption of Bahri et al. (2022), SCARF, by rows of the batch. A number below ``strength``
    decides for the swap, and what it is divided by ``strength`` is uniform again: it chooses the
    row.
    """
    swapped = draws.numbers < draws.strength
    n_rows = x.shape[1] if draws.n_rows is None else draws.n_rows
    other = (draws.numbers / draws.strength * n_rows).long()
    other = torch.where(other < n_rows, other, other - 1)  # a quotient may round up to 1
    return torch.where(swapped, x.gather(1, torch.where(swapped, other, 0)), x)


def _beta_and_order(out: Tensor, strength: float, generator: Generator) -> None:
    """A share by Beta(strength, strength) for the batch, and positions in random order."""
    # torch.distributions.Beta is made of these draws too, but takes no generator
    gamma = torch._standard_gamma(out.new_full((2,), strength), generator=generator)
    out[:, 0] = gamma[0] / gamma.sum()
    out[:, 1] = torch.randperm(len(out), generator=generator, device=out.device)


def mixup(x: Tensor, draws: Draws) -> tuple[Tensor, Mixed]:
    """Each row mixed with another of its batch, by a share that is Beta(strength, strength).

    Each batch draws one share. The loss is mixed by it too, which for the cross-entropy is that of
    the mixed targets (Zhang et al. 2018, mixup). Each half keeps the sample weight of its row.
    """
    share, partner = draws.numbers[..., 0], draws.numbers[..., 1].long()
    if draws.n_rows is not None:  # a padding row is mixed with nothing
        place = torch.arange(x.shape[1], device=x.device)
        real = place < draws.n_rows.squeeze(-1)
        share, partner = torch.where(real, share, 1.0), torch.where(real, partner, place)
    mixed = Mixed(partner, share)
    return torch.lerp(mixed.second(x), x, share.unsqueeze(-1)), mixed


TABLE_RULES = (
    Rule("noise", "any", _one_a_column, noise, _normal),
    Rule("dropout", "any", _one_a_column, dropout),
    Rule("swap", "tables", _one_a_column, swap),
    Rule("mixup", "any", lambda n_features, image: 2, mixup, _beta_and_order),
)
