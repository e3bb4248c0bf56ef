"""How is each kind of column written into the encoded matrix?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sklearn_dl.tabular.columns import PERIODS, FloatArray, calendar_phases

# z / sqrt(1 + (z / 3)^2) lies within (-3, 3): Holzmueller et al. (2024), RealMLP, section 3.
CLIP_LIMIT = 3.0
# A scaled number beyond this is cut: its square is then finite in float32, too.
LARGEST_NUMBER = 1e9


def scale_numbers(
    numbers: FloatArray,
    missing: npt.NDArray[np.bool_],
    center: FloatArray,
    scale: FloatArray,
    *,
    clip: bool,
) -> None:
    """Scale in place, missing numbers to 0.

    Parameters
    ----------
    numbers : ndarray of shape (n_rows, n_columns)
        Changed to ``(numbers - center) * scale``, and z to ``z / sqrt(1 + (z / 3)^2)``.
    missing : ndarray of shape (n_rows, n_columns), bool
        Where `numbers` is NaN.
    center, scale : ndarray of shape (n_columns,)
        Finite.
    clip : bool
        Whether to clip smoothly.
    """
    with np.errstate(over="ignore"):  # infinity is cut to LARGEST_NUMBER
        numbers -= center
        numbers *= scale
    if missing.any():
        numbers[missing] = 0.0
    np.clip(numbers, -LARGEST_NUMBER, LARGEST_NUMBER, out=numbers)
    if clip:
        divisor = numbers * (1 / CLIP_LIMIT)
        divisor *= divisor
        divisor += 1.0
        np.sqrt(divisor, out=divisor)
        numbers /= divisor


def write_periods(times: pd.Series[Any], periods: Sequence[str], out: npt.NDArray[Any]) -> None:
    """Write sine and cosine of each period's phase, 0 where the time is missing.

    Parameters
    ----------
    times : Series of shape (n_rows,)
        A checked column; one without any date may have another type.
    periods : sequence of str
        Some of `PERIODS`.
    out : ndarray of shape (n_rows, 2 * len(periods))
        Zeros on entry; written.
    """
    if times.dtype.kind != "M":
        return
    phases = calendar_phases(times)[:, [PERIODS.index(period) for period in periods]]
    angles = 2 * np.pi * phases
    seen = ~np.asarray(times.isna())
    out[seen, 0::2] = np.sin(angles[seen])
    out[seen, 1::2] = np.cos(angles[seen])


def write_levels(codes: npt.NDArray[np.intp], n_levels: int, out: npt.NDArray[Any]) -> None:
    """Write an indicator a level: -1 and 1 in one column for two levels, 0 for one.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,), int
        In [0, n_levels), or negative for missing and unseen: zeros.
    n_levels : int
        At least 1.
    out : ndarray of shape (n_rows, n_levels), or (n_rows, 1) for two levels
        Zeros on entry; written.
    """
    if n_levels == 2:
        out[:, 0] = np.array([-1.0, 1.0, 0.0, 0.0])[codes]  # -1 and -2 index from the end
        return
    if n_levels > 2:
        rows = np.flatnonzero(codes >= 0)
        out[rows, codes[rows]] = 1.0
