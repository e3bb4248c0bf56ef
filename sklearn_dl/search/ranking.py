"""Which of many proposals to train: what other tables taught, corrected by the scores seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.spatial.distance import cdist

from sklearn_dl.search.evidence import Trial
from sklearn_dl.search.experience import EFFECTS, SPREAD, Experience
from sklearn_dl.search.moves import place
from sklearn_dl.search.space import Space

__all__ = ["ranked_draws"]

Floats = NDArray[np.float64]

#: Scores further below the best than the median is, times this, count as that bad: a network that
#: was not trained at all says little about the others.
WORST = 3.0
#: Scores count by the logarithm of how far they lie behind the best, in that distance of the median
#: and with this added: differences among the good count for more than those among the bad, whose
#: losses have no end where labels are noisy.
NEAR = 0.5
#: Draws from the posterior are shrunk to its mean by this: of a few settings a round, most should
#: be good and some a surprise. Chosen on the tuning tables of benchmarks/search.py.
CURIOSITY = 0.5
#: Variance of scores about the effects, in the unit of `experience`, as it is of random settings.
#: Of good ones it is a larger part, but a search that trusts its scores finds better ones.
NOISE = 0.1
#: What is chosen by the likelihood of the scores seen: how far scores spread (in their standard
#: deviations, with a log-normal prior of this width), and how large and how far-reaching is what no
#: effect describes.
SCALES, WIDTH = (0.5, 0.7, 1.0, 1.4, 2.0), 0.4
REMAINDERS = (0.1, 1.0)
LENGTHS = (1.0, 3.0)
REST = 0.2  # variance
JITTER = 1e-6


def ranked_draws(
    trials: Sequence[Trial],
    proposals: Sequence[Mapping[str, Any]],
    space: Space,
    n: int,
    rng: np.random.RandomState,
    experience: Experience,
) -> Floats:
    """Plausible scores of proposals: draws from the posterior (Thompson 1933).

    A Gaussian process: effects of the hyperparameters whose means are those on other tables and
    which differ between tables (Perrone et al. 2018), and a Matern kernel on the places of the
    values in their ranges for the rest, so that a log-uniform rate counts by its logarithm (Snoek
    et al. 2012).

    Parameters
    ----------
    trials : sequence of Trial
        What was evaluated; without any the draws are those of other tables.
    proposals : sequence of mapping
        Settings.
    space : Space
        What is searched.
    n : int
        Draws.
    rng : RandomState
        Of the draws.
    experience : Experience
        What other tables taught.

    Returns
    -------
    ndarray of shape (n_proposals, n)
        Each column orders the proposals for one place of a round.
    """
    every = [*(trial.params for trial in trials), *proposals]
    scores = _standardised(np.array([trial.score for trial in trials]))
    effects = np.array([experience.effects(params) for params in every])
    places = np.array([_places(space, params) for params in every])
    learning = np.array([experience.how_much_it_learns(params) for params in every])
    kernels = _kernels(effects, learning, places)
    mean, covariance, scale = _posterior(scores, effects @ EFFECTS, kernels)
    root = cholesky(covariance + JITTER * np.eye(len(covariance)), lower=True)
    curiosity = CURIOSITY if trials else 1.0  # all kinds of tables are plausible
    draws = curiosity * (root @ rng.standard_normal((len(root), n)))
    ahead = mean + scale * np.array([experience.beyond_folds(params) for params in proposals])
    return np.asarray(ahead[:, None] + draws)


def _kernels(effects: Floats, learning: Floats, places: Floats) -> list[Floats]:
    """Covariances of what scores would be, by what is chosen between."""
    known = SPREAD**2 * effects @ effects.T + np.outer(learning, learning)
    distances = cdist(places, places)
    return [known + a * REST * _matern(distances / b) for a, b in product(REMAINDERS, LENGTHS)]


def _matern(distances: Floats) -> Floats:
    scaled = np.sqrt(5) * distances
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def _posterior(
    scores: Floats, expected: Floats, kernels: Sequence[Floats]
) -> tuple[Floats, Floats, float]:
    """Mean and covariance of what was not seen yet, under the likeliest scale and kernel."""
    k = len(scores)
    if k == 0:
        return expected, kernels[0], 1.0
    fits = [(*_fit(scores, expected[:k], kernel[:k, :k], scale), kernel, scale)
            for kernel, scale in product(kernels, SCALES)]  # fmt: skip
    _, centre, root, kernel, scale = max(fits, key=lambda fit: fit[0])
    rest = scores - centre - scale * expected[:k]
    across = solve_triangular(root, scale**2 * kernel[:k, k:], lower=True)
    mean = centre + scale * expected[k:] + across.T @ solve_triangular(root, rest, lower=True)
    return mean, scale**2 * kernel[k:, k:] - across.T @ across, scale


def _fit(
    scores: Floats, expected: Floats, kernel: Floats, scale: float
) -> tuple[float, float, Floats]:
    """Log of the likelihood, the scores' centre (generalised least squares), Cholesky's root."""
    ones = np.ones(len(scores))
    root = cholesky(scale**2 * (kernel + NOISE * np.diag(ones)), lower=True)
    rest = scores - scale * expected
    weights = cho_solve((root, True), ones)
    centre = float(weights @ rest / weights.sum())
    whitened = solve_triangular(root, rest - centre, lower=True)
    likelihood = -0.5 * float(whitened @ whitened) - float(np.log(np.diag(root)).sum())
    prior = -0.5 * (np.log(scale) / WIDTH) ** 2 - 0.5 * np.log(weights.sum())
    return likelihood + float(prior), centre, root


def _standardised(scores: Floats) -> Floats:
    """Mean zero and variance one, by the logarithm of the distance from the best."""
    known = scores[np.isfinite(scores)]
    usual = float(known.max() - np.median(known)) if len(known) else 0.0
    if not usual > 0:
        return np.zeros(len(scores))
    behind = np.where(np.isfinite(scores), (known.max() - scores) / usual, WORST)
    measured = -np.log(np.minimum(behind, WORST) + NEAR)
    return np.asarray((measured - measured.mean()) / measured.std())


def _places(space: Space, params: Mapping[str, Any]) -> list[float]:
    return [x for name, values in space.items() for x in place(values, params[name])]
