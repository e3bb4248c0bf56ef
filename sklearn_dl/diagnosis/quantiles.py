"""Nearest neighbours and random trees that predict a quantile instead of a mean.

Of the rows that a model takes for alike, the mean has the least squared error and the quantile the
least pinball error (Koenker and Bassett 1978; Meinshausen 2006).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.neighbors import NearestNeighbors

__all__ = ["EachQuantile", "LeafQuantileTrees", "NeighbourQuantile"]

Floats = NDArray[np.float64]


class NeighbourQuantile(RegressorMixin, BaseEstimator):
    """The quantile, or several, of the targets of the nearest rows."""

    def __init__(self, quantile: float | tuple[float, ...] = 0.5, n_neighbors: int = 5) -> None:
        self.quantile = quantile
        self.n_neighbors = n_neighbors

    def fit(self, X: Any, y: Any) -> NeighbourQuantile:
        """Remember the rows."""
        self.targets_ = np.asarray(y, dtype=np.float64)
        k = min(self.n_neighbors, len(self.targets_))
        self.neighbours_ = NearestNeighbors(n_neighbors=k).fit(X)
        return self

    def predict(self, X: Any) -> Floats:
        """Quantiles of shape (n,) or (n, n_quantiles)."""
        rows = self.neighbours_.kneighbors(X, return_distance=False)
        return np.asarray(np.quantile(self.targets_[rows], self.quantile, axis=1).T)


class LeafQuantileTrees(RegressorMixin, BaseEstimator):
    """Extremely randomised trees; each leaf predicts a quantile of its rows, trees are averaged.

    Differs from Meinshausen (2006), who pools the rows of all trees' leaves: that takes memory of
    rows learnt times rows predicted.
    """

    def __init__(
        self,
        quantile: float | tuple[float, ...] = 0.5,
        min_samples_leaf: int = 4,
        random_state: Any = None,
    ) -> None:
        self.quantile = quantile
        self.min_samples_leaf = min_samples_leaf
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LeafQuantileTrees:
        """Grow the trees on squared error, then take the quantile of each leaf."""
        y = np.asarray(y, dtype=np.float64)
        weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
        self.trees_ = ExtraTreesRegressor(
            100, min_samples_leaf=self.min_samples_leaf, random_state=self.random_state
        ).fit(X, y, sample_weight=sample_weight)
        leaves = self.trees_.apply(X)
        self.quantiles_ = [
            [
                _quantile_by_leaf(leaf, tree.tree_.node_count, y, weights, float(level))
                for leaf, tree in zip(leaves.T, self.trees_.estimators_, strict=True)
            ]
            for level in np.ravel(self.quantile)
        ]
        return self

    def predict(self, X: Any) -> Floats:
        """Quantiles of shape (n,) or (n, n_quantiles)."""
        leaves = self.trees_.apply(X)
        levels = [
            np.mean([q[leaf] for q, leaf in zip(trees, leaves.T, strict=True)], axis=0)
            for trees in self.quantiles_
        ]
        return np.asarray(levels[0] if np.ndim(self.quantile) == 0 else np.stack(levels, axis=1))


class EachQuantile(RegressorMixin, BaseEstimator):
    """One model a level, whose predictions are sorted (Chernozhukov et al. 2010).

    Parameters
    ----------
    estimator : regressor
        With a parameter ``quantile``.
    levels : tuple of float
        Levels of the quantiles.
    """

    def __init__(self, estimator: Any, levels: tuple[float, ...]) -> None:
        self.estimator = estimator
        self.levels = levels

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> EachQuantile:
        """Fit one clone a level."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.models_ = [
            clone(self.estimator).set_params(quantile=level).fit(X, y, **weights)
            for level in self.levels
        ]
        return self

    def predict(self, X: Any) -> Floats:
        """Quantiles of shape (n, n_quantiles), rising."""
        return np.sort(np.stack([model.predict(X) for model in self.models_], axis=1), axis=1)


def _quantile_by_leaf(
    leaf: NDArray[np.int64], n_nodes: int, y: Floats, weights: Floats, q: float
) -> Floats:
    """The least target at which the weights of its leaf reach ``q`` of their sum; by node."""
    order = np.lexsort((y, leaf))
    label, reached = leaf[order], np.cumsum(weights[order])
    total = np.bincount(leaf, weights, n_nodes)
    before = np.cumsum(total) - total
    enough = reached >= before[label] + q * total[label] - 1e-9 * reached[-1]
    rows = np.flatnonzero(enough)
    nodes, first = np.unique(label[rows], return_index=True)
    quantiles = np.zeros(n_nodes)
    quantiles[nodes] = y[order][rows[first]]
    return quantiles
