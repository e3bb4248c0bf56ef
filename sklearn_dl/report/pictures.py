"""Where does each mark of a picture stand? Pure geometry, in percent of the picture's size.

Percent, so that a picture fits a phone and a desk while its text keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Bar", "Curves", "Line", "Tick", "Waterfall", "curves", "waterfall"]

Floats = NDArray[np.float64]

#: Points of a line beyond this are left out evenly: more cannot be seen at 1000 pixels.
MAX_POINTS = 200
#: A ratio of largest to smallest value from which differences only show on a logarithmic axis.
LOG_RATIO = 20.0
N_TICKS = 4


@dataclass(frozen=True)
class Tick:
    """A number on an axis and where it stands, in percent."""

    at: float
    label: str


@dataclass(frozen=True)
class Bar:
    """One step of the waterfall; positions in percent, None where there is no number.

    Attributes
    ----------
    label, text : str
        What it is and how large, with its interval.
    kind : str
        "level" for a loss, else the cause.
    left, width : float or None
        The bar.
    low, high : float or None
        Ends of the 95 % interval of its right end or length.
    end : float or None
        Where the sum stands after this step: the next begins there.
    """

    label: str
    text: str
    kind: str
    left: float | None = None
    width: float | None = None
    low: float | None = None
    high: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Waterfall:
    """Bars from the reference's loss to the model's."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    zero: float


@dataclass(frozen=True)
class Line:
    """A named line: its path in a box of 100 by 100, y downwards, and its style's number."""

    name: str
    path: str
    style: int


@dataclass(frozen=True)
class Curves:
    """Lines, and a band around one of them, over one pair of axes; percent from left and top."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    log: bool
    band: str = ""


def number(x: float) -> str:
    """Three figures; an exponent only where it would be hard to read without."""
    if x == 0:
        return "0"
    return f"{x:.3g}" if 1e-4 <= abs(x) < 1e5 else f"{x:.1e}"


def waterfall(ledger: pd.DataFrame, labels: dict[str, str], total: tuple[str, float]) -> Waterfall:
    """The ledger's rows as steps.

    Parameters
    ----------
    ledger : DataFrame
        ``Diagnosis.ledger``.
    labels : dict
        Name of each row, as shown.
    total : tuple of str and float
        Name and value of the loss that the steps add up to.
    """
    losses = ledger["loss"].to_numpy(dtype=float)
    starts = np.concatenate([[0.0], np.cumsum(np.nan_to_num(losses))[:-1]])
    low, high = (starts + np.nan_to_num(ledger[c].to_numpy(dtype=float)) for c in _ENDS)
    edges = np.concatenate([[0.0], starts, starts + np.nan_to_num(losses), low, high, [total[1]]])
    least, most = float(edges.min()), float(edges.max())
    span = (most - least) or 1.0

    def at(x: float) -> float:
        return round(100 * (x - least) / span, 3)

    bars = []
    for k, name in enumerate(ledger.index):
        if not math.isfinite(losses[k]):
            bars.append(Bar(labels[name], "not applicable", name))
            continue
        start, end = starts[k], starts[k] + losses[k]
        known = math.isfinite(ledger["ci_low"].iloc[k])
        interval = f" ({low[k] - start:.2g} to {high[k] - start:.2g})" if known else ""
        sign = "" if k == 0 or losses[k] < 0 else "+"
        bars.append(
            Bar(
                labels[name],
                f"{sign}{number(losses[k])}{interval}",
                "level" if k == 0 else name,
                at(min(start, end)),
                round(100 * abs(end - start) / span, 3),
                at(low[k]) if known else None,
                at(high[k]) if known else None,
                at(end),
            )
        )
    width = round(100 * abs(total[1]) / span, 3)
    bars.append(Bar(total[0], number(total[1]), "level", at(min(0.0, total[1])), width))
    ticks = tuple(Tick(at(x), number(x)) for x in _nice(least, most))
    return Waterfall(tuple(bars), ticks, at(0.0))


_ENDS = ("ci_low", "ci_high")


def curves(
    lines: Sequence[tuple[str, Floats, Floats]],
    *,
    from_zero: bool = False,
    band: tuple[Floats, Floats, Floats] | None = None,
) -> Curves | None:
    """Lines over shared axes; None where no line has two points.

    Parameters
    ----------
    lines : sequence of (name, x, y)
        Points that are not finite are left out.
    from_zero : bool
        Whether a linear y axis begins at 0.
    band : tuple of x, low and high, or None
        An area to be filled.
    """
    kept = []
    for name, x, y in lines:
        known = np.isfinite(x) & np.isfinite(y)
        if known.sum() >= 2:
            chosen = np.flatnonzero(known)
            picked = np.linspace(0, len(chosen) - 1, min(len(chosen), MAX_POINTS)).round()
            index = chosen[np.unique(picked.astype(int))]
            kept.append((name, x[index], y[index]))
    if not kept:
        return None
    every_x, every_y = (np.concatenate([line[axis] for line in kept]) for axis in (1, 2))
    if band is not None:
        every_y = np.concatenate([every_y, band[1], band[2]])
    log = bool(every_y.min() > 0 and every_y.max() / every_y.min() > LOG_RATIO)
    bottom = 0.0 if from_zero and not log else float(every_y.min())
    x_axis = _Axis(float(every_x.min()), float(every_x.max()), log=False)
    y_axis = _Axis(bottom, float(every_y.max()), log=log)
    drawn = tuple(
        Line(name, _path(x_axis.at(x), 100 - y_axis.at(y)), style)
        for style, (name, x, y) in enumerate(kept)
    )
    x_ticks = tuple(Tick(float(x_axis.at(x)), number(x)) for x in x_axis.ticks())
    y_ticks = tuple(Tick(100 - float(y_axis.at(y)), number(y)) for y in y_axis.ticks())
    area = ""
    if band is not None:
        around = np.concatenate([band[0], band[0][::-1]])
        edge = np.concatenate([band[1], band[2][::-1]])
        area = _path(x_axis.at(around), 100 - y_axis.at(edge)) + "Z"
    return Curves(drawn, x_ticks, y_ticks, log, area)


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    log: bool

    def at(self, value: Floats | float) -> Floats:
        low, high, shown = self.low, self.high, np.asarray(value, dtype=float)
        if self.log:
            low, high, shown = math.log10(low), math.log10(high), np.log10(shown)
        return np.round(100 * (shown - low) / ((high - low) or 1.0), 2)

    def ticks(self) -> list[float]:
        if not self.log:
            return _nice(self.low, self.high)
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        step = max(1, math.ceil((last - first + 1) / (N_TICKS + 1)))
        return [10.0**e for e in range(first, last + 1, step)]


def _nice(low: float, high: float) -> list[float]:
    """Round numbers within [low, high]: steps of 1, 2 or 5 times a power of ten."""
    rough = ((high - low) or 1.0) / N_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _path(x: Floats, y: Floats) -> str:
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
