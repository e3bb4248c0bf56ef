"""What moved between training and test rows, from losses that are known already.

Is X distributed alike (a permutation test in which the classifier is refitted)? How much of
C - B would the changed share of the classes alone explain, how much the changed X alone? What
remains is a changed relation of target and inputs (Cai, Namkoong and Yadlowsky 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.model_selection import StratifiedKFold

__all__ = ["Explained", "Share", "TwoSample", "domain_features", "explain", "two_sample_test"]

Floats = NDArray[np.float64]

MAX_LEVELS = 30  # one-hot columns of a categorical column; rarer levels share one
MAX_ROWS = 3000  # rows of each table in the test: it has all the power it needs long before
PERMUTATIONS = 199
STOP_AFTER = 10  # Besag and Clifford 1991: so many exceedances settle that p is not small
BATCH = 33  # permutations refitted together: one linear solve
FOLDS = 5
RIDGE = 0.05  # of the mean squared feature, a row: damps directions with few rows behind them
MAX_WEIGHT = 20.0  # importance weights beyond this rest on single rows
CONTINUOUS = 0.9  # a column with so many values among the distinct rows does not repeat by nature
DISTINCT = 0.1  # and neither does it with so many values a row
BOOTSTRAPS = 300
UNSUPPORTED = 0.05  # fewer rows than one in twenty cannot speak for all


@dataclass(frozen=True)
class TwoSample:
    """Are the inputs of two tables distributed alike?

    Attributes
    ----------
    p_value : float
        Exact for exchangeable rows.
    auc : float
        Of a classifier that tells the tables apart, on rows it did not learn; 0.5 is chance.
    n_rows, n_permutations : int
        Rows compared, refits made.
    copies : float
        Share of the test rows that are also training rows; 0 where rows repeat by nature.
    """

    p_value: float
    auc: float
    n_rows: int
    n_permutations: int
    copies: float


@dataclass(frozen=True)
class Share:
    """A part of C - B, its 95 % bootstrap interval; NaN where it cannot be asked."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Explained:
    """Shares of C - B.

    Attributes
    ----------
    label, covariate : Share
        By the class frequencies alone; by the distribution of X alone.
    concept : Share
        What the larger of the two leaves over.
    effective_share : float
        Effective sample size of the weighted training rows (Kong 1992) over their number, times
        the share of the test rows that weighted training rows reach (the mean weight, which is
        one where training rows are found wherever test rows are).
    name : str
        Which it is, in words.
    """

    label: Share
    covariate: Share
    concept: Share
    effective_share: float
    name: str


def domain_features(frame: Any, seed: int) -> Floats:
    """Rows of both tables as features in which a linear classifier sees bends and interactions.

    Nothing here looks at which table a row is from, so permuting that needs no new features.

    Parameters
    ----------
    frame : DataFrame of numbers and strings, or sparse array
        From `references.plain_frame`, both tables below each other.
    seed : int
        For the random trees.

    Returns
    -------
    ndarray of shape (n, n_features)
        Standardised.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.ensemble import RandomTreesEmbedding

    if not isinstance(frame, pd.DataFrame):
        size = min(50, min(frame.shape) - 1)
        base = (
            TruncatedSVD(size, random_state=seed).fit_transform(frame) if size else frame.toarray()
        )
        parts = [np.asarray(base), np.square(base)]
    else:
        numbers = frame.select_dtypes(np.float64)
        levels = frame.drop(columns=numbers.columns)
        z = _standardised(numbers.fillna(numbers.median()).fillna(0.0).to_numpy())
        base = np.hstack([z, numbers.isna().to_numpy(np.float64), *map(_one_hot, levels.items())])
        parts = [base, np.square(z)]
    if base.shape[1]:
        leaves = RandomTreesEmbedding(12, max_depth=3, sparse_output=False, random_state=seed)
        parts.append(leaves.fit_transform(base))
    features = _standardised(np.hstack(parts))
    return features[:, features.any(axis=0)]


def _one_hot(item: tuple[Any, pd.Series[Any]]) -> Floats:
    common = item[1].value_counts().index[:MAX_LEVELS]
    return np.asarray(item[1].to_numpy()[:, None] == np.asarray(common)[None, :], dtype=np.float64)


def _standardised(x: Floats) -> Floats:
    deviation = x.std(axis=0)
    z: Floats = (x - x.mean(axis=0)) / np.where(deviation > 1e-12, deviation, 1.0)
    return np.clip(np.where(deviation > 1e-12, z, 0.0), -5, 5)


def one_of_each(
    frame: Any, is_test: NDArray[np.bool_], rng: np.random.RandomState
) -> tuple[NDArray[np.int64], float]:
    """One copy, drawn at random, of each distinct row, and the share of copied test rows.

    Rows drawn with replacement would make a harmless difference look certain. Tables of a few
    discrete columns repeat their rows by nature; they are left as they are.
    """
    n = len(is_test)
    if not isinstance(frame, pd.DataFrame):
        return np.arange(n), 0.0
    key = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    shuffled = rng.permutation(n)
    _, first = np.unique(key[shuffled], return_index=True)
    rows = np.sort(shuffled[first])
    numbers = frame.select_dtypes(np.float64).columns
    most = max((frame[c].iloc[rows].nunique() for c in numbers), default=0)
    if most < max(CONTINUOUS * len(rows), DISTINCT * n):
        return np.arange(n), 0.0
    return rows, float(np.isin(key[is_test], key[~is_test]).mean())


def two_sample_test(
    frame: Any,
    is_test: NDArray[np.bool_],
    rng: np.random.RandomState,
    groups: NDArray[np.int64] | None = None,
) -> TwoSample:
    """Permutation test of equal distributions, the classifier refitted for each permutation.

    Parameters
    ----------
    frame : DataFrame or sparse array
        Both tables below each other, from `references.plain_frame`.
    is_test : ndarray of bool of shape (n,)
        Which rows are test rows.
    rng : RandomState
        Draws rows, folds and permutations.
    groups : ndarray of shape (n,), optional
        One row of each group is compared: the others are no independent evidence.

    References
    ----------
    Besag and Clifford (1991), Sequential Monte Carlo p-values.
    Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests.
    """
    rows, copies = one_of_each(frame, is_test, rng)
    if groups is not None:
        rows = rng.permutation(rows)
        rows = rows[np.unique(groups[rows], return_index=True)[1]]
    rows = np.concatenate([_draw(rows[is_test[rows] == side], rng) for side in (False, True)])
    label = is_test[rows].astype(np.float64)
    if min(label.sum(), (1 - label).sum()) < FOLDS:
        return TwoSample(math.nan, math.nan, len(rows), 0, copies)
    part = frame.iloc[rows] if isinstance(frame, pd.DataFrame) else frame[rows]
    features = domain_features(part, int(rng.randint(2**31 - 1)))
    folds = rng.permutation(len(rows)) % FOLDS
    solve = _solver(features, folds)
    observed = float(_aucs(solve(label[:, None]), label[:, None])[0])
    exceeding = done = 0
    while done < PERMUTATIONS:
        size = min(BATCH, PERMUTATIONS - done)
        shuffled = np.stack([rng.permutation(label) for _ in range(size)], axis=1)
        for auc in _aucs(solve(shuffled), shuffled):
            done += 1
            exceeding += int(auc >= observed)
            if exceeding == STOP_AFTER:
                return TwoSample(STOP_AFTER / done, observed, len(rows), done, copies)
    return TwoSample((exceeding + 1) / (done + 1), observed, len(rows), done, copies)


def _draw(rows: NDArray[np.int64], rng: np.random.RandomState) -> NDArray[np.int64]:
    return rows if len(rows) <= MAX_ROWS else rng.choice(rows, MAX_ROWS, replace=False)


def _solver(features: Floats, folds: NDArray[np.int64]) -> Any:
    """Out-of-fold ridge scores (n, m) of labels (n, m); one solve a fold serves them all."""
    hats = []
    for k in range(FOLDS):
        inside = folds != k
        x = features[inside] - features[inside].mean(axis=0)
        gram = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
        out = features[~inside] - features[inside].mean(axis=0)
        hats.append((inside, out @ np.linalg.solve(gram, x.T)))

    def solve(labels: Floats) -> Floats:
        scores = np.empty_like(labels)
        for inside, hat in hats:
            y = labels[inside]
            scores[~inside] = y.mean(axis=0) + hat @ (y - y.mean(axis=0))
        return scores

    return solve


def _aucs(scores: Floats, labels: Floats) -> Floats:
    """Area under the ROC curve of each column."""
    ranks = stats.rankdata(scores, axis=0)
    positive = labels.sum(axis=0)
    above = (ranks * labels).sum(axis=0) - positive * (positive + 1) / 2
    area: Floats = above / (positive * (len(labels) - positive))
    return area


def importance_weights(frame: Any, is_test: NDArray[np.bool_], seed: int) -> Floats:
    """``p(test | x) / p(train | x) n_train / n_test`` of training rows, cross-fitted, clipped."""
    from sklearn.linear_model import LogisticRegression

    features = domain_features(frame, seed)
    chance = np.empty(len(is_test))
    k = min(FOLDS, int(is_test.sum()), int((~is_test).sum()))
    if k < 2:
        return np.ones(int((~is_test).sum()))
    for fit, judge in StratifiedKFold(k, shuffle=True, random_state=seed).split(features, is_test):
        model = LogisticRegression(C=0.1, max_iter=500).fit(features[fit], is_test[fit])
        chance[judge] = model.predict_proba(features[judge])[:, 1]
    p = np.clip(chance[~is_test], 1e-6, 1 - 1e-6)
    ratio = (~is_test).sum() / is_test.sum()
    weights: Floats = np.minimum(p / (1 - p) * ratio, MAX_WEIGHT)
    return weights


def explain(
    held_out: Floats,
    test: Floats,
    weights: tuple[Floats, Floats],
    importance: Floats,
    labels: tuple[NDArray[Any], NDArray[Any]] | None,
    rng: np.random.RandomState,
) -> Explained:
    """Divide C - B.

    Parameters
    ----------
    held_out : ndarray of shape (n,)
        Out-of-fold losses of the training rows; NaN where unknown.
    test : ndarray of shape (n_test,)
        Losses of the test rows.
    weights : pair of ndarray
        What the rows of both count.
    importance : ndarray of shape (n,)
        Importance weights of the training rows.
    labels : pair of ndarray, or None
        Classes of both; None for numbers.
    rng : RandomState
        Of the bootstrap.
    """
    known, seen = np.isfinite(held_out), np.isfinite(test)
    b, v = held_out[known], importance[known]
    w, w_test, c = weights[0][known], weights[1][seen], test[seen]
    classes = None if labels is None else (labels[0][known], labels[1][seen])
    draws = []
    for k in range(BOOTSTRAPS + 1):
        count: Floats = np.ones(len(b))
        count_test: Floats = np.ones(len(c))
        if k:
            count = np.bincount(rng.randint(len(b), size=len(b)), minlength=len(b)).astype(float)
            count_test = np.bincount(rng.randint(len(c), size=len(c)), minlength=len(c)).astype(
                float
            )
        draws.append(_shares(b, c, count * w, count_test * w_test, v, classes))
    point, spread = draws[0], np.array(draws[1:])
    low, high = np.percentile(spread, [2.5, 97.5], axis=0)
    label, covariate, concept = (
        Share(float(point[i]), float(low[i]), float(high[i])) for i in range(3)
    )
    effective = float(v.sum() ** 2 / (np.square(v).sum() * len(v))) * min(1.0, float(v.mean()))
    return Explained(label, covariate, concept, effective, _name(label, covariate, effective))


def _shares(
    b: Floats, c: Floats, w: Floats, w_test: Floats, v: Floats, classes: Any
) -> tuple[float, float, float]:
    before, after = np.average(b, weights=w), np.average(c, weights=w_test)
    if after == before:
        return (math.nan if classes is None else 0.0, 0.0, 0.0)
    covariate = (np.average(b, weights=w * v) - before) / (after - before)
    label = math.nan
    if classes is not None:
        label = (_relabelled(b, w, w_test, *classes) - before) / (after - before)
    best = max(0.0, covariate, label)  # in this order a NaN label counts as none
    return (float(label), float(covariate), float(1 - best))


def _relabelled(b: Floats, w: Floats, w_test: Floats, y: Any, y_test: Any) -> float:
    """Mean loss of the training rows, each class at its share of the test rows."""
    total = mass = 0.0
    for label in np.unique(y):
        rows = y == label
        if w[rows].sum() > 0:
            share = float(w_test[y_test == label].sum())
            total += share * float(np.average(b[rows], weights=w[rows]))
            mass += share
    return total / mass if mass else float(np.average(b, weights=w))


def _name(label: Share, covariate: Share, effective: float) -> str:
    if max(covariate.value, label.value) >= 0.5:
        return "label shift" if label.value >= covariate.value else "covariate shift"
    return "unsupported inputs" if effective < UNSUPPORTED else "concept shift"
