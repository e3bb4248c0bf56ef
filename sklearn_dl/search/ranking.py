"""Which of many proposals to train: a Gaussian process through the scores seen so far."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from sklearn_dl.search.evidence import Trial
from sklearn_dl.search.moves import place
from sklearn_dl.search.space import Space

__all__ = ["ranked_draws"]

Floats = NDArray[np.float64]

#: Scores further below the median than the best is above it, times this, count as that bad: a
#: network that was not trained at all says little about the others.
WORST = 2.0
#: Draws from the posterior are shrunk to its mean by this: of a few settings a round, most should
#: be good and some a surprise. Chosen on the tuning tables of benchmarks/search.py.
CURIOSITY = 0.5
#: What other tables taught is believed as far as the scores so far go along with it; this much of
#: its variance must have been tried before half of that is.
DOUBT = 0.1


def ranked_draws(
    trials: Sequence[Trial],
    proposals: Sequence[Mapping[str, Any]],
    space: Space,
    n: int,
    rng: np.random.RandomState,
    expect: Callable[[Mapping[str, Any]], float] = lambda _: 0.0,
) -> Floats:
    """Plausible scores of proposals: draws from the posterior (Thompson 1933).

    A Matern kernel on the places of the values in their ranges, so that a log-uniform rate counts
    by its logarithm (Snoek et al. 2012), around a mean that is what ``expect`` says of a setting,
    times what the scores so far make of that.

    Returns
    -------
    ndarray of shape (n_proposals, n)
        Each column orders the proposals for one place of a round.
    """
    X = np.array([_places(space, trial.params) for trial in trials])
    kernel = ConstantKernel(1.0, (0.1, 10.0)) * Matern(1.0, (0.3, 5.0), nu=2.5)
    model = GaussianProcessRegressor(kernel + WhiteKernel(0.1, (0.01, 1.0)), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a length at the end of its range is as good as any
        scores = _standardised(np.array([trial.score for trial in trials]))
        before = np.array([expect(trial.params) for trial in trials])
        centre, trust = before.mean(), _trust(before, scores)
        model.fit(X, scores - trust * (before - centre))
    Z = np.array([_places(space, params) for params in proposals])
    draws = model.sample_y(Z, n, random_state=rng.randint(2**31 - 1))
    mean = model.predict(Z)[:, None]
    ahead = trust * (np.array([expect(params) for params in proposals]) - centre)
    return np.asarray(mean + CURIOSITY * (draws - mean) + ahead[:, None])


def _trust(before: Floats, scores: Floats) -> float:
    """Slope of the scores over what was expected of them, shrunk towards zero, and not below."""
    together = float(np.mean((before - before.mean()) * (scores - scores.mean())))
    return max(together, 0.0) / (float(before.var()) + DOUBT)


def _standardised(scores: Floats) -> Floats:
    """Mean zero and variance one, failures and outliers among the bad pulled in."""
    known = scores[np.isfinite(scores)]
    median, best = float(np.median(known)), float(known.max())
    clipped = np.maximum(scores, median - WORST * (best - median))
    spread = float(clipped.std())
    return np.asarray((clipped - clipped.mean()) / spread if spread > 0 else 0 * clipped)


def _places(space: Space, params: Mapping[str, Any]) -> list[float]:
    return [x for name, values in space.items() for x in place(values, params[name])]
