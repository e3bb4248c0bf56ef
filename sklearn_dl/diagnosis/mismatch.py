"""Test rows against training rows: did X move, and what explains what it cost?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sklearn_dl.diagnosis import references, rules, splits
from sklearn_dl.diagnosis.gaps import Gap
from sklearn_dl.diagnosis.ledger import Measured
from sklearn_dl.diagnosis.shift import (
    Explained,
    TwoSample,
    explain,
    importance_weights,
    two_sample_test,
)
from sklearn_dl.diagnosis.table import Table

__all__ = ["Mismatch", "examine", "shift_claim"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mismatch:
    """The two-sample test, and the shares of C - B where that is a finding."""

    test: TwoSample
    explained: Explained | None
    labelled: bool

    @property
    def name(self) -> str | None:
        """Which shift it is."""
        return None if self.explained is None else self.explained.name


def examine(
    plain: Table,
    test: Table,
    held_out: Floats,
    test_losses: Floats,
    measured: Measured,
    classify: bool,
    seed: int,
) -> Mismatch:
    """Compare the training rows with the test rows.

    Parameters
    ----------
    plain : Table
        Training rows as references take them.
    test : Table
        Test rows as the user gave them; ``y`` None without labels.
    held_out, test_losses : ndarray
        Losses of the training rows out of fold and of the test rows.
    measured : Measured
        Whether C - B is a finding: only then is it explained.
    classify : bool
        Whether ``y`` holds classes.
    seed : int
        For rows, folds, permutations and bootstrap.
    """
    rng = np.random.RandomState(seed)
    other = references.plain_frame(test.X)
    groups = _groups(plain, len(test))
    is_test = np.repeat([False, True], [len(plain), len(test)])
    moved = two_sample_test(_stacked(plain.X, other), is_test, rng, groups)
    shift = measured.shift_gap
    labelled = test.y is not None
    if not labelled or shift is None:
        return Mismatch(moved, None, labelled)
    if not rules.found(shift_claim(measured), measured.margin):
        return Mismatch(moved, None, labelled)
    # Weights and losses of a subsample: the shares are means.
    a = splits.subsample(np.arange(len(plain)), references.MAX_ROWS, rng)
    b = splits.subsample(np.arange(len(test)), references.MAX_ROWS, rng)
    part, rows = plain.take(a), test.take(b)
    both = _stacked(part.X, references.plain_frame(rows.X))
    importance = importance_weights(both, np.repeat([False, True], [len(a), len(b)]), seed)
    explained = explain(
        held_out[a], test_losses[b], (part.loss_weight, rows.loss_weight), importance,
        (part.y, rows.y) if classify else None, rng,
    )  # fmt: skip
    return Mismatch(moved, explained, labelled)


def shift_claim(measured: Measured) -> Gap | None:
    """C - B as a claim: of the family of three, or by itself where that claim is C - B_in."""
    shift = measured.shift_gap
    if shift is None or measured.outer is None:
        return None if shift is None else measured.claims["mismatch"]
    return Gap(shift.value, shift.stderr, shift.p_positive(), shift.upper())


def _groups(plain: Table, n_test: int) -> NDArray[np.int64] | None:
    """The groups of the test rows are not known: each row counts as its own."""
    if plain.groups is None:
        return None
    first = int(plain.groups.max()) + 1
    return np.concatenate([plain.groups, first + np.arange(n_test)])


def _stacked(a: Any, b: Any) -> Any:
    if not isinstance(a, pd.DataFrame):
        return sparse.csr_array(sparse.vstack([a, b]))
    frame = pd.concat([a, b], ignore_index=True)
    for column in frame.columns:  # a column of numbers here and of text there is text
        if frame[column].dtype == object:
            frame[column] = frame[column].astype(str)
    return frame
