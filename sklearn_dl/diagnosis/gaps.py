"""A gap of two losses as the rules take it, and what is believed of one that may be none at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, log_ndtr, ndtr, ndtri

__all__ = ["SHIFTED", "SHIFT_SCALE", "Gap", "Shift", "shift_given"]

SHIFTED = 0.5  # prior probability that test rows differ at all: most are held out at random
SHIFT_SCALE = 10.0  # in margins: then it costs about half of what can be learnt (half-normal)


@dataclass(frozen=True)
class Gap:
    """A difference of two losses.

    Attributes
    ----------
    value, stderr : float
        Estimate (may be negative) and its standard error, in loss units.
    p : float
        Holm-adjusted one-sided p-value of "not above zero".
    upper : float
        One-sided upper 95 % limit.
    """

    value: float
    stderr: float
    p: float
    upper: float

    def times(self, factor: float) -> Gap:
        """The same in another unit."""
        return Gap(factor * self.value, factor * self.stderr, self.p, factor * self.upper)


@dataclass(frozen=True)
class Shift:
    """What is believed of C - B: none with some probability, else a normal cut off at zero."""

    probability: float
    centre: float
    width: float

    def above(self, limit: float) -> float:
        """Probability that test rows cost more than others by more than a limit above zero."""
        tail = ndtr((self.centre - limit) / self.width) / ndtr(self.centre / self.width)
        return self.probability * float(tail)

    def quantiles(self, level: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the mixture."""
        left = np.minimum((1 - level) / self.probability, 1.0)  # probability above, given a shift
        above = self.centre - self.width * ndtri(left * ndtr(self.centre / self.width))
        return np.where(left < 1, above, 0.0)


def shift_given(gap: Gap, m: float) -> Shift:
    """What C - B says of a shift of the test rows.

    Rows held out at random do not differ, so that a difference is no matter of degree alone: with
    probability ``1 - SHIFTED`` there is none, else it is half-normal (a point null and a
    one-sided alternative, Jeffreys 1961, ch. 5).
    """
    scale = SHIFT_SCALE * m
    spread = math.hypot(scale, gap.stderr)
    # the product of two normal densities is one again
    centre, width = gap.value * (scale / spread) ** 2, scale * gap.stderr / spread
    alike = math.log(1 - SHIFTED) + float(stats.norm.logpdf(gap.value, 0, gap.stderr))
    differ = math.log(2 * SHIFTED) + float(stats.norm.logpdf(gap.value, 0, spread))
    differ += float(log_ndtr(centre / width))
    return Shift(float(expit(differ - alike)), centre, width)
