"""What each cause asks of the next candidates: steps within a space, and which way they go."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np

from sklearn_dl.diagnosis.rules import Verdict
from sklearn_dl.search.space import Distribution, Space, is_list

__all__ = ["MOVES", "moved", "numbered", "place", "redrawn", "stepped"]

Params = dict[str, Any]

UP, DOWN, SWITCH = 1, -1, 0
#: Cause -> (hyperparameter, direction): what courses teach. Directions are those of the space.
#: Early stopping is left to chance. Of the 16 best settings each of six tuning tables (600 rows),
#: those that gave a tenth of the rows away for it were worse on other rows than those that did not
#: by 0.05 of the lead over the prior, and differed 2.6 times as much between seeds.
MOVES: dict[Verdict, tuple[tuple[str, int], ...]] = {
    Verdict.MODEL_BIAS: (
        ("hidden_layer_sizes", UP), ("dropout", DOWN), ("weight_decay", DOWN),
        ("label_smoothing", DOWN), ("augmentation", DOWN), ("max_epochs", UP),
        ("early_stopping", DOWN), ("activation", SWITCH),
    ),
    Verdict.OPTIMIZATION: (
        ("learning_rate", UP), ("learning_rate", DOWN), ("max_epochs", UP), ("schedule", SWITCH),
        ("normalization", SWITCH), ("activation", SWITCH), ("optimizer", SWITCH),
        ("batch_size", DOWN), ("momentum", UP), ("warmup", UP), ("max_grad_norm", SWITCH),
    ),
    Verdict.OVERFITTING: (
        ("dropout", UP), ("weight_decay", UP), ("label_smoothing", UP), ("augmentation", UP),
        ("max_epochs", DOWN), ("hidden_layer_sizes", DOWN),
        ("learning_rate", DOWN), ("normalization", SWITCH),
    ),
}  # fmt: skip
#: The ends of a distribution are left out: a log-uniform's is a factor, no natural limit.
EDGE = 0.02


def _has_rank(value: Any) -> bool:
    """Whether it is a number, off and on, none, or the sizes of layers."""
    if isinstance(value, tuple | list):
        return all(isinstance(v, Real) for v in value)
    return value is None or isinstance(value, Real | np.bool_)


def _rank(value: Any) -> tuple[float, float]:
    """Order of listed values: none or off first, then by size; of layers by their weights."""
    if value is None or isinstance(value, str):
        return (-math.inf if value is None else 0.0, 0.0)
    if isinstance(value, tuple | list):
        weights = sum(a * b for a, b in pairwise(value))
        return float(weights), float(sum(value))
    return float(value), 0.0


def stepped(values: Distribution, value: Any, by: float, rng: np.random.RandomState) -> Any:
    """A value further up (``by`` > 0) or down a hyperparameter's range, or another one (0).

    Parameters
    ----------
    values : list or distribution
        The range. Steps of a distribution are in its probability, so that those of a log-uniform
        are factors.
    value : object
        From where; one outside the range (``"auto"``, say) counts as its middle.
    by : float in [-1, 1]
        Share of the range; at least one place of a list.
    """
    if is_list(values):
        listed = list(values)
        if by == 0 or not _is_ordered(listed):
            others = [v for v in listed if not _same(v, value)]
            return others[rng.randint(len(others))] if others else value
        listed.sort(key=_rank)
        place = next((k for k, v in enumerate(listed) if _same(v, value)), None)
        if place is None:
            place = _place_of_a_stranger(listed, value)
        jump = max(1, round(abs(by) * (len(listed) - 1)))
        return listed[min(max(place + int(math.copysign(jump, by)), 0), len(listed) - 1)]
    if by == 0:
        return _drawn(values, rng)
    return _at(values, _share_below(values, value) + by)


def _share_below(values: Distribution, value: Any) -> float:
    """Of a distribution; the middle for what is no number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(values.cdf(value)) if number else 0.5


def _at(values: Distribution, share: float) -> Any:
    return _plain(values.ppf(min(max(share, EDGE), 1 - EDGE)))


def _place_of_a_stranger(listed: list[Any], value: Any) -> int:
    """Where a value that is not listed would stand; the middle for what has no size."""
    if not _has_rank(value):
        return len(listed) // 2
    return min(sum(_rank(v) < _rank(value) for v in listed), len(listed) - 1)


def _is_ordered(listed: list[Any]) -> bool:
    """Numbers, layers, off and on, with one word at most; anything else has no order."""
    others = [v for v in listed if not _has_rank(v)]
    words = all(isinstance(v, str) for v in others)
    return len(listed) > 1 and len(others) < 2 and words


def place(values: Distribution, value: Any) -> list[float]:
    """Where a value lies in its range, in [0, 1]; of words without order, which one it is."""
    if not is_list(values):
        return [_share_below(values, value)]
    listed = list(values)
    if not _is_ordered(listed):
        return [0.5 * _same(v, value) for v in listed]
    listed.sort(key=_rank)
    k = next((k for k, v in enumerate(listed) if _same(v, value)), None)
    return [(_place_of_a_stranger(listed, value) if k is None else k) / (len(listed) - 1)]


def numbered(values: Distribution, value: Any) -> Any:
    """The value, or for a word among numbers the middle of the range, which it counts as."""
    if not isinstance(value, str):
        return value
    if not is_list(values):
        return _at(values, 0.5)
    listed = list(values)
    if any(isinstance(v, str) for v in listed) or not _is_ordered(listed):
        return value
    return sorted(listed, key=_rank)[_place_of_a_stranger(listed, value)]


def redrawn(values: Distribution, rng: np.random.RandomState) -> Any:
    """Any value of the range."""
    return _drawn(values, rng)


def _drawn(values: Distribution, rng: np.random.RandomState) -> Any:
    if is_list(values):
        return values[rng.randint(len(values))]
    return _plain(values.rvs(random_state=rng))


def _plain(number: Any) -> Any:
    """Python's own number, to four digits: nobody means more, and results are read."""
    number = number.item() if hasattr(number, "item") else number
    return float(f"{number:.4g}") if isinstance(number, float) else number


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return tuple(a) == tuple(b)
    return type(a) is type(b) and bool(np.all(a == b))


def moved(
    params: Mapping[str, Any],
    space: Space,
    prefix: str,
    cause: Verdict,
    size: float,
    n_moves: int,
    rng: np.random.RandomState,
) -> Params:
    """A setting changed in what its cause asks for.

    Parameters
    ----------
    params : mapping
        From where, a value for each name of the space.
    space : Space
        What may be changed.
    prefix : str
        Of the network's parameters in the space.
    cause : Verdict
        A key of `MOVES`; another one moves anything anywhere.
    size : float
        Share of a range, the largest step.
    n_moves : int
        How many hyperparameters.
    """
    known = [(prefix + name, way) for name, way in MOVES.get(cause, ()) if prefix + name in space]
    if not known:
        known = [(name, way) for name in space for way in (UP, DOWN)]
    changed = dict(params)
    touched: set[str] = set()
    for k in rng.permutation(len(known)):
        name, way = known[k]
        if name in touched or len(touched) == n_moves:
            continue
        by = way * size * (0.5 + rng.uniform() / 2)
        value = stepped(space[name], params[name], by, rng)
        if not _same(value, params[name]):
            changed[name] = value
            touched.add(name)
    return changed
