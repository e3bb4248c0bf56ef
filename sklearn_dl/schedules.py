"""How the learning rate moves: name -> multiplier as a function of progress in [0, 1].

Progress is the share of the optimizer steps of ``max_epochs`` that are done, so a schedule means
the same under early stopping and in a stack of models of different lengths. ``"plateau"`` alone
reads the loss; it lives with the stopping rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

__all__ = ["SCHEDULES", "Multiplier", "Schedule", "factor_of_fall", "learning_rate_schedule"]

Schedule = Callable[[float], float]
"""Progress in [0, 1] -> multiplier of the learning rate."""

Multiplier = Callable[[int, int], float]
"""Steps that are done, and steps of the whole training -> multiplier for the next step."""

#: Share of the rate that ``"exponential"`` keeps at the end where no factor is given.
EXPONENTIAL_END = 0.01
#: Factor of ``"step"`` and ``"plateau"`` where none is given.
STEP_FACTOR = 0.1
#: ``"one_cycle"``: start at 1/25 of the rate, peak after 30 %, end at 1e-4 of the start
#: (Smith and Topin 2018, with the values of torch.optim.lr_scheduler.OneCycleLR).
ONE_CYCLE_START, ONE_CYCLE_PEAK, ONE_CYCLE_END = 1 / 25, 0.3, 1e-4 / 25

SCHEDULES = ("step", "exponential", "cosine", "one_cycle", "plateau")


def cosine(progress: float) -> float:
    """``(1 + cos(pi t)) / 2`` (Loshchilov and Hutter 2017, eq. 5)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def one_cycle(progress: float) -> float:
    """Cosine up from 1/25 to 1 in the first 30 %, cosine down to nearly 0 in the rest."""
    if progress < ONE_CYCLE_PEAK:
        share = cosine(progress / ONE_CYCLE_PEAK)
        return 1 + (ONE_CYCLE_START - 1) * share
    share = cosine((progress - ONE_CYCLE_PEAK) / (1 - ONE_CYCLE_PEAK))
    return ONE_CYCLE_END + (1 - ONE_CYCLE_END) * share


def step(max_epochs: int, every: int, factor: float) -> Schedule:
    """``factor ** floor(epoch / every)``: the rate falls at whole epochs."""
    # the small number keeps rounding of progress from moving a fall by one step
    return lambda progress: float(factor ** math.floor(progress * max_epochs / every + 1e-9))


def factor_of_fall(decay_factor: float | None) -> float:
    """What ``"step"`` and ``"plateau"`` multiply the rate with when it falls."""
    return STEP_FACTOR if decay_factor is None else decay_factor


def exponential(max_epochs: int, factor: float) -> Schedule:
    """``factor ** epoch``, moving at every step."""
    return lambda progress: float(factor ** (progress * max_epochs))


def _constant(progress: float) -> float:
    return 1.0


def _checked(schedule: Callable[[float], Any]) -> Schedule:
    """A user's schedule whose values are rates."""

    def multiplier(progress: float) -> float:
        value = schedule(progress)
        if not isinstance(value, Real) or not 0 <= float(value) < math.inf:
            raise ValueError(
                "a callable schedule must return a finite number >= 0, the multiplier of the "
                f"learning rate; got {value!r} at progress {progress:g}."
            )
        return float(value)

    return multiplier


def learning_rate_schedule(
    schedule: str | Schedule | None,
    *,
    max_epochs: int,
    decay_every: int | None,
    decay_factor: float | None,
    warmup: float,
) -> Multiplier | None:
    """The multiplier of each step of a training; ``None`` where it is always 1.

    A step has the rate of its beginning, so that none is made at the rate 0 of progress 1, but the
    warm-up of its end: at its beginning the first step would do nothing.

    Parameters
    ----------
    schedule : str, callable or None
        A name of ``SCHEDULES`` or a callable. ``"plateau"`` is constant here.
    max_epochs : int
        Length of the training that progress 1 stands for.
    decay_every : int or None
        Epochs between two falls of ``"step"``; ``None``: a third of ``max_epochs``.
    decay_factor : float or None
        Factor of a fall (``"step"``; ``None``: 0.1) or of an epoch (``"exponential"``; ``None``:
        the factor that ends at 1 % of the rate).
    warmup : float in [0, 1)
        Share of training during which the multiplier is scaled up linearly from 0.
    """
    function: Schedule
    if callable(schedule):
        function = _checked(schedule)
    elif schedule == "step":
        every = decay_every or max(1, max_epochs // 3)
        function = step(max_epochs, every, factor_of_fall(decay_factor))
    elif schedule == "exponential":
        default = EXPONENTIAL_END ** (1 / max_epochs)
        function = exponential(max_epochs, default if decay_factor is None else decay_factor)
    elif schedule in ("cosine", "one_cycle"):
        function = cosine if schedule == "cosine" else one_cycle
    elif warmup == 0:
        return None
    else:
        function = _constant

    def multiplier(done: int, total: int) -> float:
        factor = function(done / total)
        return factor * min(1.0, (done + 1) / total / warmup) if warmup > 0 else factor

    return multiplier
