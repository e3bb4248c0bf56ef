"""How folds treat groups and time: what they keep apart, and what they hold out beside it.

Where whole groups or later periods are held out, the held-out loss mixes two things: rows that were
not learnt (estimation) and groups or times that were not seen (mismatch). Each fold then also
holds out rows of its *training* groups or period; their loss B_in tells the two apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "clusters_of", "hold_inside", "kind_of", "subsample", "unseen_classes"]

Rows = NDArray[np.int64]
Pairs = Sequence[tuple[Rows, Rows]]
Kind = Literal["independent", "grouped", "ordered"]

# Of a fold's training rows, this share is held out beside the fold: enough rows for B_in over all
# folds, few enough that the fits still learn nearly what the user's would.
INSIDE = 0.15
MIN_INSIDE = 10  # fewer rows over all folds say nothing about B_in


def kind_of(splits: Pairs, groups: NDArray[np.int64] | None) -> Kind:
    """What the folds keep apart, read from the folds themselves: any splitter counts.

    ``grouped``: no group is on both sides of a fold. ``ordered``: every fold learns rows that come
    before those it is judged on.
    """
    if groups is not None and not any(_shares_group(a, b, groups) for a, b in splits):
        return "grouped"
    if len(splits) > 1 and all(train.max() < test.min() for train, test in splits):
        return "ordered"
    return "independent"


def _shares_group(train: Rows, test: Rows, groups: NDArray[np.int64]) -> bool:
    return bool(np.isin(groups[test], groups[train]).any())


def leaked_rows(splits: Pairs, groups: NDArray[np.int64]) -> int:
    """Held-out rows whose group was learnt, over all folds."""
    return sum(int(np.isin(groups[test], groups[train]).sum()) for train, test in splits)


def hold_inside(
    splits: Pairs, kind: Kind, groups: NDArray[np.int64] | None, rng: np.random.RandomState
) -> tuple[list[tuple[Rows, Rows]], tuple[Rows, ...]]:
    """Take INSIDE of each fold's training rows out, as rows of the training groups or period.

    Rows that were not yet held out this way come first, so that over the folds as many as
    possible are; of a group one row at least stays among the learnt.

    Returns
    -------
    splits : list of (train, test)
        With what is left to learn.
    inside : tuple of ndarray
        The rows taken out; empty where fewer than MIN_INSIDE can be.
    """
    if kind == "independent":
        return list(splits), ()
    n = 1 + max(int(max(a.max(), b.max())) for a, b in splits)
    used = np.zeros(n, dtype=np.int64)
    kept: list[tuple[Rows, Rows]] = []
    inside: list[Rows] = []
    for train, test in splits:
        free = _not_alone(train, groups, rng) if kind == "grouped" and groups is not None else train
        order = np.lexsort((rng.uniform(size=len(free)), used[free]))
        taken = np.sort(free[order[: round(INSIDE * len(train))]])
        used[taken] += 1
        kept.append((np.setdiff1d(train, taken), test))
        inside.append(taken)
    if sum(len(rows) for rows in inside) < MIN_INSIDE:
        return list(splits), ()
    return kept, tuple(inside)


def _not_alone(train: Rows, groups: NDArray[np.int64], rng: np.random.RandomState) -> Rows:
    """All rows but one of each group."""
    shuffled = rng.permutation(train)
    _, first = np.unique(groups[shuffled], return_index=True)
    return np.delete(shuffled, first)


def clusters_of(kind: Kind, groups: NDArray[np.int64] | None, n: int) -> NDArray[np.int64] | None:
    """Rows that are no independent evidence: groups, or sqrt(n) neighbours in time.

    Groups count even where the folds ignore them: the rows are no less alike for that.
    """
    if groups is not None:
        return groups
    if kind == "ordered":
        return np.arange(n, dtype=np.int64) // math.ceil(math.sqrt(n))
    return None


def unseen_classes(splits: Pairs, y: NDArray[Any]) -> int:
    """Held-out rows of a class that their fold never saw."""
    return sum(int((~np.isin(y[test], y[train])).sum()) for train, test in splits)


def subsample(
    rows: Rows,
    size: int,
    rng: np.random.RandomState,
    *,
    y: NDArray[Any] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> Rows:
    """At most ``size`` of the rows, sorted: whole groups, or each class at its share.

    Parameters
    ----------
    rows : ndarray of row numbers
        To choose from.
    size : int
        How many at most.
    rng : RandomState
        Draws.
    y : ndarray of shape (n,), optional
        Classes to be kept at their share; every class keeps a row.
    groups : ndarray of shape (n,), optional
        Kept whole; a group larger than ``size`` is cut.
    """
    if len(rows) <= size:
        return rows
    shuffled = rng.permutation(rows)
    if groups is not None:
        label = groups[shuffled]
        turn = rng.permutation(int(groups.max()) + 1)[label]
        ordered = shuffled[np.argsort(turn, kind="stable")]
        return np.sort(ordered[: _whole_groups(groups[ordered], size)])
    if y is None:
        return np.sort(shuffled[:size])
    # Systematic sampling of the rows sorted by class takes every class at its share; the first
    # row of each is added, for the rare ones.
    label = np.unique(y[shuffled], return_inverse=True)[1]
    ordered = shuffled[np.argsort(label, kind="stable")]
    _, first = np.unique(np.sort(label), return_index=True)
    even = np.floor((np.arange(size) + 0.5) * len(rows) / size).astype(np.int64)
    return np.sort(ordered[np.union1d(even, first)])


def _whole_groups(labels: NDArray[np.int64], size: int) -> int:
    """Rows of the whole groups that fit into ``size``; ``size`` where the first does not."""
    ends = np.flatnonzero(np.diff(labels)) + 1
    fitting = ends[ends <= size]
    return int(fitting[-1]) if len(fitting) else size
