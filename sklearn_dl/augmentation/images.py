"""Augmentations of images: geometry, colour and erased parts.

Rows are flattened images whose channels are scaled to mean 0 and deviation 1. Cells that come in
from outside an image are those of its edge.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_dl.augmentation.rules import Draws, ImageShape, Rule

__all__ = ["IMAGE_RULES"]

#: Largest ratio of the sides of an erased part to those of the image (Zhong et al. 2020).
ERASED_ASPECT = 10 / 3


def _shape(draws: Draws) -> ImageShape:
    assert draws.image is not None
    return draws.image


def _centred(draws: Draws) -> Tensor:
    """The numbers as (n_models rows, n_numbers) in [-strength, strength)."""
    return ((2 * draws.numbers - 1) * draws.strength).flatten(0, 1)


def _moved(x: Tensor, draws: Draws, angle: Tensor, zoom: Tensor, shift: Tensor) -> Tensor:
    """Each image seen through a map of its plane, bilinear.

    Parameters
    ----------
    angle, zoom : Tensor of shape (n_models rows,)
        In radians, and the size of the picture as a factor.
    shift : Tensor of shape (n_models rows, 2)
        To the right and down, as a share of the width and height.
    """
    channels, height, width = _shape(draws)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    # the plane of grid_sample is a square of side 2, whatever the sides of the image
    theta = torch.stack(
        [
            torch.stack([cos, sin * (height / width), -2 * shift[:, 0]], 1),
            torch.stack([-sin * (width / height), cos, -2 * shift[:, 1]], 1),
        ],
        1,
    )
    images = x.reshape(-1, channels, height, width)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    out = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return out.view(x.shape)


def rotate(x: Tensor, draws: Draws) -> Tensor:
    """Turned by up to ``strength`` half turns either way: 18 degrees at 0.1."""
    angle = math.pi * _centred(draws)[:, 0]
    return _moved(x, draws, angle, torch.ones_like(angle), angle.new_zeros(len(angle), 2))


def crop(x: Tensor, draws: Draws) -> Tensor:
    """Shifted by whole cells, up to ``strength`` of each side: padded, then cropped."""
    _, height, width = _shape(draws)
    moved = _centred(draws)
    sides = moved.new_tensor([width, height])
    shift = torch.round(moved * sides) / sides
    still = moved.new_zeros(len(moved))
    return _moved(x, draws, still, still + 1, shift)


def affine(x: Tensor, draws: Draws) -> Tensor:
    """Turned by up to ``strength`` half turns, zoomed and shifted by up to ``strength``."""
    moved = _centred(draws)
    zoom = (1 + moved[:, 1]).clamp(min=0.1)
    return _moved(x, draws, math.pi * moved[:, 0], zoom, moved[:, 2:])


def flip(x: Tensor, draws: Draws) -> Tensor:
    """Mirrored left to right, every second image; any ``strength`` above 0 does the same."""
    images = x.unflatten(-1, _shape(draws))
    mirrored = (draws.numbers < 0.5).unsqueeze(-1).unsqueeze(-1)
    return torch.where(mirrored, images.flip(-1), images).flatten(2)


def colour(x: Tensor, draws: Draws) -> Tensor:
    """Each channel times ``1 +- strength``, plus up to ``+- strength`` of its deviation."""
    channels, _, _ = _shape(draws)
    moved = (2 * draws.numbers - 1) * draws.strength
    gain, offset = moved[..., :channels, None], moved[..., channels:, None]
    pixels = x.unflatten(-1, (channels, -1))
    return torch.addcmul(offset, pixels, 1 + gain).flatten(2)


def erase(x: Tensor, draws: Draws) -> Tensor:
    """A rectangle of up to ``strength`` of the area set to 0, the mean of its channel.

    Zhong et al. (2020), Random erasing data augmentation. Differs from the paper: every image loses
    one, of an area between nothing and ``strength``.
    """
    channels, height, width = _shape(draws)
    area, aspect, top, left = draws.numbers.unbind(-1)
    share = area * draws.strength.squeeze(-1)
    stretch = ERASED_ASPECT ** (aspect - 0.5)
    tall = (share.sqrt() * stretch).clamp(max=1).unsqueeze(-1)
    wide = (share.sqrt() / stretch).clamp(max=1).unsqueeze(-1)
    down = (torch.arange(height, device=x.device, dtype=x.dtype) + 0.5) / height
    right = (torch.arange(width, device=x.device, dtype=x.dtype) + 0.5) / width
    from_top = down - top.unsqueeze(-1) * (1 - tall)
    from_left = right - left.unsqueeze(-1) * (1 - wide)
    rows = (from_top >= 0) & (from_top < tall)
    columns = (from_left >= 0) & (from_left < wide)
    erased = rows.unsqueeze(-1) & columns.unsqueeze(-2)
    images = x.unflatten(-1, (channels, height, width))
    out: Tensor = images.masked_fill(erased.unsqueeze(2), 0).flatten(2)
    return out


def _channels(n_features: int, image: ImageShape | None) -> int:
    assert image is not None
    return 2 * image[0]


IMAGE_RULES = (
    Rule("rotate", "images", lambda n_features, image: 1, rotate),
    Rule("crop", "images", lambda n_features, image: 2, crop),
    Rule("affine", "images", lambda n_features, image: 4, affine),
    Rule("flip", "images", lambda n_features, image: 1, flip),
    Rule("colour", "images", _channels, colour),
    Rule("erase", "images", lambda n_features, image: 4, erase),
)
