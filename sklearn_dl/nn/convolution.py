"""Layers for images: (n_models, batch, height, width, channels), convolved, pooled and normalised.

The channels stand last in memory, where oneDNN convolves fastest on a CPU; one model of a stack is
then a view that torch calls ``channels_last``. Models are convolved one after another: a
convolution is so much arithmetic that there is no overhead to share. Forward and backward of 32 to
64 channels on 128 images of 14 x 14, five models, one thread: 276 ms, grouped convolution 328 ms,
unfolded into one matrix product 849 ms.
"""

from __future__ import annotations

import math
from typing import TypeAlias, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from sklearn_dl.nn.layers import Batch, Stacked, StackedBatchNorm

__all__ = [
    "ImageShape",
    "StackedChannelNorm",
    "StackedConvolution",
    "StackedFlatten",
    "StackedImages",
    "StackedPooling",
    "pooled_shape",
]

ImageShape: TypeAlias = tuple[int, int, int]
"""Channels, height and width of one image, as torch and the rows of X have them."""

#: Kernel of every convolution; two of 3 x 3 see what one of 5 x 5 sees, at fewer weights (Simonyan
#: and Zisserman 2015).
KERNEL = 3
#: Rows and columns of cells that the dense layers see at most: larger maps are averaged.
MOST_CELLS = 8
#: Sides of fewer cells are not pooled: what is left would no longer say where. Digits of 8 x 8,
#: three folds: 0.024 wrong with 4 x 4 cells, 0.037 with 2 x 2.
HALVED_FROM = 8


class StackedImages(Stacked):
    """Flattened rows as images: (M, B, c h w) to (M, B, h, w, c)."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, c h w) to (M, B, h, w, c)."""
        images: Tensor = x.unflatten(-1, self.shape)
        return images.movedim(2, -1)

    def reset(self, model: int, generator: Generator) -> None:
        """Nothing to draw."""

    def plain(self, model: int) -> nn.Module:
        """``nn.Unflatten``: (B, c h w) to (B, c, h, w)."""
        return nn.Unflatten(1, self.shape)


class StackedFlatten(Stacked):
    """Images as rows: (M, B, h, w, c) to (M, B, c h w), in the order of ``nn.Flatten``."""

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, h, w, c) to (M, B, c h w)."""
        return x.movedim(-1, 2).flatten(2)

    def reset(self, model: int, generator: Generator) -> None:
        """Nothing to draw."""

    def plain(self, model: int) -> nn.Module:
        """``nn.Flatten``."""
        return nn.Flatten()


class StackedConvolution(Stacked):
    """Convolution with 3 x 3 weights over images padded with zeros, a weight a model.

    Initial weights are normal with variance ``2 / (9 c_in)``, initial biases zero (He et al. 2015).

    Parameters
    ----------
    n_models, n_in, n_out : int
        Models, and channels before and after.
    bias : bool, default=True
    """

    def __init__(self, n_models: int, n_in: int, n_out: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_models, n_out, n_in, KERNEL, KERNEL))
        self.bias = nn.Parameter(torch.empty(n_models, n_out)) if bias else None

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, h, w, c) to (M, B, h, w, c')."""
        biases = [None] * x.shape[0] if self.bias is None else self.bias.unbind(0)
        out = [
            functional.conv2d(
                rows.permute(0, 3, 1, 2),
                weight.contiguous(memory_format=torch.channels_last),
                bias,
                padding=KERNEL // 2,
            ).permute(0, 2, 3, 1)
            for rows, weight, bias in zip(x.unbind(0), self.weight.unbind(0), biases, strict=True)
        ]
        return out[0].unsqueeze(0) if len(out) == 1 else torch.stack(out)

    @torch.no_grad()
    def reset(self, model: int, generator: Generator) -> None:
        """Draw the initial values of one model."""
        row = self.weight[model]
        # drawn in float64 whatever the dtype, so that the dtype does not change the draw
        drawn = torch.empty(row.shape, dtype=torch.float64, device=generator.device)
        row.copy_(drawn.normal_(0, math.sqrt(2 / row[0].numel()), generator=generator))
        if self.bias is not None:
            self.bias[model].zero_()

    def plain(self, model: int) -> nn.Module:
        """One model as ``nn.Conv2d``."""
        _, n_out, n_in, *_ = self.weight.shape
        padding, bias = KERNEL // 2, self.bias is not None
        layer = nn.Conv2d(n_in, n_out, KERNEL, padding=padding, bias=bias, device="meta")
        layer.weight = nn.Parameter(self.weight[model].detach().clone())
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias[model].detach().clone())
        return layer


def pooled_shape(height: int, width: int) -> tuple[int, int]:
    """Height and width behind a pooling: halved, rounded down, where there is enough of them."""
    vertical, horizontal = _kernel(height, width)
    return height // vertical, width // horizontal


def _kernel(height: int, width: int) -> tuple[int, int]:
    return 1 + (height >= HALVED_FROM), 1 + (width >= HALVED_FROM)


class StackedPooling(Stacked):
    """The largest value of each 2 x 2 cells, or with ``cells`` the mean of each part of a grid.

    A side of fewer than 8 cells is not halved.

    Parameters
    ----------
    height, width : int
        Of the images.
    cells : tuple of int or None, default=None
        Rows and columns of the grid.
    """

    def __init__(self, height: int, width: int, cells: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.cells = cells
        self.kernel = _kernel(height, width)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, h, w, c) to (M, B, h', w', c)."""
        folded = x.flatten(0, 1).permute(0, 3, 1, 2)
        if self.cells is None:
            out = functional.max_pool2d(folded, self.kernel)
        else:
            out = functional.adaptive_avg_pool2d(folded, self.cells)
        pooled: Tensor = out.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
        return pooled

    def reset(self, model: int, generator: Generator) -> None:
        """Nothing to draw."""

    def plain(self, model: int) -> nn.Module:
        """``nn.MaxPool2d`` or ``nn.AdaptiveAvgPool2d``."""
        if self.cells is None:
            return nn.MaxPool2d(self.kernel)
        return nn.AdaptiveAvgPool2d(self.cells)


class StackedChannelNorm(Stacked):
    """Normalise channels: over the images of the batch, or over all channels of an image.

    "batch" is batch normalisation with one mean and variance a channel, weighted by image (Ioffe
    and Szegedy 2015); "layer" takes mean and variance over all values of an image (Ba et al. 2016)
    and has a gain and bias a channel, which is group normalisation with one group.

    Parameters
    ----------
    n_models, n_channels : int
    kind : {"batch", "layer"}
    """

    eps = 1e-5

    def __init__(self, n_models: int, n_channels: int, kind: str) -> None:
        super().__init__()
        self.rows = StackedBatchNorm(n_models, n_channels) if kind == "batch" else None
        if self.rows is None:
            self.weight = nn.Parameter(torch.ones(n_models, 1, n_channels))
            self.bias = nn.Parameter(torch.zeros(n_models, 1, n_channels))

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (M, B, h, w, c) to (M, B, h, w, c)."""
        if self.rows is None:
            flat = functional.layer_norm(x.flatten(2), (x[0, 0].numel(),), eps=self.eps)
            pixels = flat.view(x.shape[0], -1, x.shape[-1])
            return torch.addcmul(self.bias, pixels, self.weight).view(x.shape)
        weight = batch.weight
        if weight is not None:  # each pixel weighs what its image does
            weight = weight.repeat_interleave(x.shape[2] * x.shape[3], 1)
        return self.rows.forward(x.flatten(1, 3), Batch(weight)).view(x.shape)

    @torch.no_grad()
    def reset(self, model: int, generator: Generator) -> None:
        """Start with gains of one and biases of zero."""
        if self.rows is not None:
            self.rows.reset(model, generator)
        else:
            self.weight[model].fill_(1)
            self.bias[model].zero_()

    def plain(self, model: int) -> nn.Module:
        """One model as ``nn.BatchNorm2d`` or ``nn.GroupNorm``."""
        if self.rows is not None:
            like = cast(nn.BatchNorm1d, self.rows.plain(model))
            layer = nn.BatchNorm2d(like.num_features, eps=like.eps, momentum=like.momentum)
            layer.weight, layer.bias = like.weight, like.bias
            layer.running_mean, layer.running_var = like.running_mean, like.running_var
            return layer.eval()
        group = nn.GroupNorm(1, self.weight.shape[-1], eps=self.eps)
        group.weight = nn.Parameter(self.weight[model, 0].detach().clone())
        group.bias = nn.Parameter(self.bias[model, 0].detach().clone())
        return group
