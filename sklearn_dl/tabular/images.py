"""How do images become rows of numbers, and how are those scaled?"""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from sklearn_dl.tabular.checking import Table, column_names, without_mask
from sklearn_dl.tabular.reading import positive_weights, row_chunks

__all__ = ["ImageEncoder", "ImageShape", "checked_shape", "has_images", "image_rows"]

ImageShape: TypeAlias = tuple[int, int, int]
"""Channels, height and width."""

#: A last axis this short behind two longer ones is taken for channels: grey, colour, with alpha.
CHANNELS_LAST = (1, 3, 4)


def has_images(X: Any) -> bool:
    """Whether X is an array, or a list, of more than two axes."""
    if isinstance(X, list | tuple):
        try:
            return np.ndim(X) > 2
        except ValueError:  # rows of different length, which the check of tables explains
            return False
    return int(getattr(X, "ndim", 2)) > 2


def checked_shape(shape: Any) -> ImageShape:
    """``input_shape`` as a tuple of three positive ints.

    Raises
    ------
    ValueError
        It is anything else.
    """
    listed = tuple(shape) if np.ndim(shape) == 1 else ()
    right = len(listed) == 3 and all(
        isinstance(n, Integral) and not isinstance(n, bool) and int(n) > 0 for n in listed
    )
    if not right:
        raise ValueError(
            "input_shape must be three positive ints (channels, height, width), such as "
            f"(1, 28, 28) for grey images of 28 x 28; got {shape!r}."
        )
    channels, height, width = (int(n) for n in listed)
    return channels, height, width


def image_rows(X: Any, shape: ImageShape | None) -> tuple[Any, ImageShape]:
    """Images as rows of numbers, channel by channel, row of pixels by row of pixels.

    Parameters
    ----------
    X : array-like of shape (n, channels, height, width), (n, height, width) or (n, n_pixels)
        Images of one channel may leave out that axis; flattened ones need ``shape``. The masked
        cells of a masked array are missing.
    shape : tuple (channels, height, width) or None
        What the images must be; None: what X says.

    Returns
    -------
    rows : of shape (n, channels height width)
        A view of X where that is possible; X itself if it was flat.
    shape : tuple (channels, height, width)

    Raises
    ------
    ValueError
        X holds no images, or images of another shape.
    """
    if not has_images(X):
        return X, _flat_shape(X, shape)
    images = np.asarray(without_mask(X))
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4:
        raise ValueError(
            "images must be an array of shape (n, channels, height, width), or (n, height, width) "
            f"with one channel; got shape {np.shape(X)}."
        )
    channels, height, width = images.shape[1:]
    if 0 in images.shape[1:]:
        raise ValueError(f"images need one pixel and one channel at least; got shape {np.shape(X)}")
    if shape is None and width in CHANNELS_LAST and min(channels, height) > max(CHANNELS_LAST):
        raise ValueError(
            f"X of shape {images.shape} looks like images whose channels stand last, but images "
            "are (n, channels, height, width): pass X.transpose(0, 3, 1, 2). If these are "
            f"{channels} channels, say so: input_shape={(channels, height, width)}."
        )
    if shape is not None and (channels, height, width) != shape:
        raise ValueError(
            f"X has images of shape {(channels, height, width)} (channels, height, width), "
            f"expected {shape}."
        )
    return images.reshape(len(images), channels * height * width), (channels, height, width)


def _flat_shape(X: Any, shape: ImageShape | None) -> ImageShape:
    """The shape of flattened images, which their rows must have room for."""
    seen = getattr(X, "shape", None) or np.shape(X)
    n_columns = int(seen[1]) if len(seen) == 2 else None
    if shape is None:
        side = math.isqrt(n_columns or 0)
        such = f", such as {(1, side, side)}" if n_columns and side * side == n_columns else ""
        raise ValueError(
            "module='cnn' needs to know the shape of the images. X has shape "
            f"{seen}: give images of shape (n, channels, height, width) or (n, height, width), or "
            f"rows of pixels and input_shape=(channels, height, width){such}."
        )
    if n_columns is not None and n_columns != math.prod(shape):
        alone = " For a single image pass X[None]." if tuple(seen) == shape[1:] else ""
        raise ValueError(
            f"X has {n_columns} columns, but input_shape={shape} makes "
            f"{' x '.join(map(str, shape))} = {math.prod(shape)} of them.{alone}"
        )
    return shape


class ImageEncoder(BaseEstimator):
    """Scale each channel of flattened images: ``(x - mean) / standard deviation`` of its pixels.

    Mean and deviation are those of all pixels of a channel in fit, weighted by image. A missing
    pixel becomes 0, the mean, and so does a channel that is constant.

    Parameters
    ----------
    shape : tuple (channels, height, width)
    preprocessing : {"auto", "standard"} or None, default="auto"
        None: the pixels as they come.

    Attributes
    ----------
    n_encoded_ : int
        Columns of the result: channels x height x width.
    center_, scale_ : ndarray of shape (channels,)
        An encoded pixel is ``(x - center_) * scale_``.
    n_features_in_ : int
        Columns of X.

    Examples
    --------
    >>> import numpy as np
    >>> pixels = np.array([[0, 2, 10, 30], [2, 4, 10, 30]])  # two channels of 1 x 2
    >>> encoder = ImageEncoder(shape=(2, 1, 2)).fit_table(pixels)
    >>> encoder.center_.tolist()
    [2.0, 20.0]
    >>> encoder.transform_table(pixels, np.float64).round(2).tolist()[0]
    [-1.41, 0.0, -1.0, 1.0]
    """

    def __init__(self, *, shape: ImageShape, preprocessing: str | None = "auto") -> None:
        self.shape = shape
        self.preprocessing = preprocessing

    def fit_table(self, table: Table, sample_weight: Any = None) -> Self:
        """Learn mean and deviation of each channel from a checked table."""
        validate_data(self, table, reset=True, skip_check_array=True)
        self.n_encoded_ = math.prod(self.shape)
        channels = self.shape[0]
        self.center_, self.scale_ = np.zeros(channels), np.ones(channels)
        if self.preprocessing is not None:
            weights, keep = positive_weights(sample_weight, table)
            full = None
            if keep is not None or weights is not None:
                full = np.zeros(table.shape[0])
                full[slice(None) if keep is None else keep] = 1.0 if weights is None else weights
            self.center_ = self._mean(table, full, power=1)
            deviation = np.sqrt(self._mean(table, full, power=2))
            # a constant channel, whose mean rounding may miss, says nothing
            constant = deviation <= 1e-12 * np.abs(self.center_)
            self.scale_ = np.where(constant, 0.0, 1 / np.where(constant, 1.0, deviation))
        return self

    def _mean(self, table: Table, weights: Any, *, power: int) -> npt.NDArray[np.float64]:
        """Mean of ``(x - center_)^power`` over images and pixels of each channel."""
        total, count = np.zeros(self.shape[0]), np.zeros(self.shape[0])
        for rows, chunk in row_chunks(table):
            pixels = self._pixels(chunk, np.float64)
            weight = np.ones(len(pixels)) if weights is None else weights[rows]
            moved = (pixels - self.center_[:, None]) ** power
            known = ~np.isnan(pixels)
            total += weight @ np.where(known, moved, 0.0).sum(2)
            count += weight @ known.sum(2)
        return (self.center_ if power == 1 else 0.0) + total / np.maximum(count, 1e-300)

    def _pixels(self, chunk: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Rows as (n, channels, pixels)."""
        if isinstance(chunk, pd.DataFrame):
            for name, kind in zip(column_names(chunk), chunk.dtypes, strict=True):
                if not (isinstance(kind, np.dtype) and kind.kind in "fiub"):
                    raise ValueError(
                        f"images are made of numbers, but column {name!r} is {kind}. Leave "
                        "input_shape=None and module='auto' for a table of other things."
                    )
            chunk = chunk.to_numpy(dtype=dtype)
        return np.asarray(chunk, dtype=dtype).reshape(len(chunk), self.shape[0], -1)

    def transform_table(self, table: Table, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Scaled pixels of a checked table, (n_rows, n_encoded_), in ``dtype``."""
        encoded = np.empty((table.shape[0], self.n_encoded_), dtype=dtype)
        center = self.center_[:, None].astype(dtype)
        scale = self.scale_[:, None].astype(dtype)
        for rows, chunk in row_chunks(table):
            pixels = self._pixels(chunk, dtype)
            if self.preprocessing is not None:
                pixels = (pixels - center) * scale
                pixels[np.isnan(pixels)] = 0
            encoded[rows] = pixels.reshape(len(pixels), -1)
        return encoded
