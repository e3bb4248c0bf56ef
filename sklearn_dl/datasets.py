"""Small problems whose pathology and noise floor are known, and the embedded default table.

The floor is the loss of the best possible predictor, in the units of the diagnosis: log loss in
nats for classes, squared error over Var(y) for numbers. A model at its floor has nothing to mend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.utils import check_random_state

__all__ = [
    "Problem",
    "default_table",
    "make_noisy_classes",
    "make_noisy_numbers",
    "make_parity",
    "make_pure_noise",
    "make_rings",
    "make_shifted",
    "make_wavy_numbers",
]

Seed = int | np.random.RandomState | None
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """A generated table with its known floor.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
        Inputs.
    y : ndarray of shape (n_samples,)
        Classes (int) or numbers (float).
    floor : float
        Loss of the best possible predictor on rows like ``X``: nats, or a share of Var(y).
    X_test, y_test : ndarray or None
        Rows of another distribution, where the problem has one.
    """

    X: Floats
    y: NDArray[np.int64] | NDArray[np.float64]
    floor: float
    X_test: Floats | None = None
    y_test: NDArray[np.int64] | None = None


def default_table() -> pd.DataFrame:
    """Wisconsin breast cancer as a raw frame: 569 rows, 30 numbers, the class in column ``target``.

    Returns
    -------
    DataFrame of shape (569, 31)
        ``target`` is ``"malignant"`` or ``"benign"``.

    References
    ----------
    Street, Wolberg, Mangasarian (1993), Nuclear feature extraction for breast tumor diagnosis;
    shipped with scikit-learn.
    """
    bunch = load_breast_cancer(as_frame=True)
    frame: pd.DataFrame = bunch.frame
    return frame.assign(target=np.asarray(bunch.target_names)[bunch.target])


def entropy(p: float) -> float:
    """Entropy of a coin, ``-p log p - (1-p) log(1-p)``, in nats."""
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def _clear_of_zero(scores: Floats, gap: float) -> Floats:
    """Move scores away from zero by ``gap``, so that finitely many rows can learn their sign."""
    return scores + gap * np.where(scores >= 0, 1.0, -1.0)


def make_noisy_classes(
    n_samples: int = 400,
    n_features: int = 6,
    *,
    flip: float = 0.2,
    gap: float = 0.5,
    random_state: Seed = None,
) -> Problem:
    """Two classes on the two sides of a plane, each label flipped with probability ``flip``.

    The plane is easy to learn, the flips nobody can predict: the floor is the entropy of ``flip``.

    Parameters
    ----------
    n_samples, n_features : int
        Shape of ``X``.
    flip : float in [0, 0.5]
        Probability that a label is wrong.
    gap : float
        Rows keep this distance from the plane, in standard deviations.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    Problem
        Floor ``entropy(flip)`` nats.
    """
    rng = check_random_state(random_state)
    X = rng.standard_normal((n_samples, n_features))
    X[:, 0] = _clear_of_zero(X[:, 0], gap)
    flipped = rng.uniform(size=n_samples) < flip
    y = (X[:, 0] > 0).astype(np.int64) ^ flipped
    return Problem(X, y, entropy(flip))


def make_parity(
    n_samples: int = 400, n_features: int = 2, *, gap: float = 0.2, random_state: Seed = None
) -> Problem:
    """The class is the parity of the signs of all features (two features: exclusive or).

    No linear model does better than the prior, log 2, in expectation, yet the floor is 0: a linear
    network has model bias whatever its optimizer (Minsky and Papert 1969).

    Parameters
    ----------
    n_samples, n_features : int
        Shape of ``X``.
    gap : float
        Rows keep this distance from every axis.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    Problem
        Floor 0 nats.
    """
    rng = check_random_state(random_state)
    X = _clear_of_zero(rng.uniform(-1, 1, size=(n_samples, n_features)), gap)
    return Problem(X, ((X < 0).sum(axis=1) % 2).astype(np.int64), 0.0)


def make_noisy_numbers(
    n_samples: int = 400, n_features: int = 6, *, noise: float = 0.2, random_state: Seed = None
) -> Problem:
    """A smooth function of the features plus normal noise that is ``noise`` of the target variance.

    Parameters
    ----------
    n_samples, n_features : int
        Shape of ``X``.
    noise : float in [0, 1)
        Share of Var(y) that nobody can predict; also the floor.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    Problem
        Floor ``noise`` as a share of Var(y).
    """
    rng = check_random_state(random_state)
    X = rng.standard_normal((n_samples, n_features))
    # Var(x) = 1 and Var(sin x) = (1 - exp(-2)) / 2 for a standard normal x, and both are
    # independent: the signal has variance 1 when divided by the root of the sum.
    signal = (X[:, 0] + np.sin(X[:, 1 % n_features])) / math.sqrt(1 + (1 - math.exp(-2)) / 2)
    scale = math.sqrt(noise / (1 - noise))
    return Problem(X, signal + scale * rng.standard_normal(n_samples), float(noise))


def make_rings(
    n_samples: int = 400,
    n_features: int = 4,
    *,
    flip: float = 0.1,
    gap: float = 0.25,
    random_state: Seed = None,
) -> Problem:
    """Inside or outside a circle of the first two features, labels flipped as with a coin.

    A linear model knows nothing of it, a hidden layer of a few units all of it; the other features
    are noise.

    Parameters
    ----------
    n_samples, n_features : int
        Shape of ``X``; at least two features.
    flip : float in [0, 0.5]
        Probability that a label is wrong.
    gap : float
        Rows keep this distance from the circle of radius 1.2, which holds about half of them.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    Problem
        Floor ``entropy(flip)`` nats.
    """
    rng = check_random_state(random_state)
    X = rng.standard_normal((n_samples, n_features))
    radius = np.hypot(X[:, 0], X[:, 1])
    moved = np.abs(1.2 + _clear_of_zero(radius - 1.2, gap))
    X[:, :2] *= (moved / radius)[:, None]
    flipped = rng.uniform(size=n_samples) < flip
    return Problem(X, (radius > 1.2).astype(np.int64) ^ flipped, entropy(flip))


def make_wavy_numbers(
    n_samples: int = 400,
    n_features: int = 4,
    *,
    noise: float = 0.1,
    waves: float = 1.5,
    random_state: Seed = None,
) -> Problem:
    """``sin(waves pi x0) x1`` of uniform features, plus normal noise.

    The features act only together and not on a straight line, so a linear model has bias, and the
    more waves the more hidden units are needed.

    Parameters
    ----------
    n_samples, n_features : int
        Shape of ``X``; at least two features.
    noise : float in [0, 1)
        Share of Var(y) that nobody can predict; also the floor.
    waves : float
        Half periods of the sine on either side of zero.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    Problem
        Floor ``noise`` as a share of Var(y).
    """
    rng = check_random_state(random_state)
    X = rng.uniform(-1, 1, size=(n_samples, n_features))
    # Var(x1) = 1/3, and E sin^2 over a symmetric interval is (1 - sin(2 a) / 2 a) / 2.
    angle = waves * math.pi
    variance = (1 - math.sin(2 * angle) / (2 * angle)) / 6
    signal = np.sin(angle * X[:, 0]) * X[:, 1] / math.sqrt(variance)
    scale = math.sqrt(noise / (1 - noise))
    return Problem(X, signal + scale * rng.standard_normal(n_samples), float(noise))


def make_pure_noise(
    n_samples: int = 400, n_features: int = 6, *, n_classes: int = 2, random_state: Seed = None
) -> Problem:
    """Balanced classes drawn without looking at the features.

    Parameters
    ----------
    n_samples, n_features : int
        Shape of ``X``.
    n_classes : int
        Equally likely classes.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    Problem
        Floor ``log(n_classes)`` nats, which is the prior's loss.
    """
    rng = check_random_state(random_state)
    X = rng.standard_normal((n_samples, n_features))
    y = rng.permutation(np.arange(n_samples) % n_classes).astype(np.int64)
    return Problem(X, y, math.log(n_classes))


def make_shifted(
    kind: Literal["covariate", "label", "concept", "none"],
    n_samples: int = 400,
    n_features: int = 6,
    *,
    n_test: int = 400,
    random_state: Seed = None,
) -> Problem:
    """Training rows of one distribution and test rows of another.

    ``covariate``: p(x) moves to where the (known) labels are noisier, p(y|x) stays.
    ``label``: p(y) moves from half to nine tenths of the class that is harder, p(x|y) stays.
    ``concept``: p(x) stays and the labels of the test rows are turned round.
    ``none``: test rows of the training distribution.

    Parameters
    ----------
    kind : {"covariate", "label", "concept", "none"}
        What differs between training and test rows.
    n_samples, n_features, n_test : int
        Training rows, features, test rows.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    Problem
        ``floor`` is the floor of the *training* distribution, in nats.
    """
    if kind not in ("covariate", "label", "concept", "none"):
        raise ValueError(
            f"kind must be 'covariate', 'label', 'concept' or 'none'; got {kind!r}. Choose one."
        )
    rng = check_random_state(random_state)
    draw = _draw_by_class if kind == "label" else _draw_by_region
    before = 0.5 if kind == "label" else 0.1
    after = 0.9 if kind in ("label", "covariate") else before
    X, y = draw(rng, n_samples, n_features, before)
    X_test, y_test = draw(rng, n_test, n_features, after)
    if kind == "concept":
        y_test = 1 - y_test
    if kind == "label":  # only the left half is uncertain, and half of class 1 lies there
        left = 0.5 + 0.5 * _MIXED
        floor = left * entropy(0.5 / left)
    else:
        floor = before * entropy(_HARD) + (1 - before) * entropy(_EASY)
    return Problem(X, y, floor, X_test, y_test)


# Label noise in the two halves of the plane of feature 1, and the hard share of class 1 rows.
_EASY, _HARD, _MIXED = 0.02, 0.4, 0.5


def _draw_by_region(
    rng: np.random.RandomState, n: int, n_features: int, hard: float
) -> tuple[Floats, NDArray[np.int64]]:
    """Class = sign of feature 0; a share ``hard`` of the rows, feature 1 > 0, is noisy."""
    X = rng.standard_normal((n, n_features))
    X[:, 0] = _clear_of_zero(X[:, 0], 0.5)
    in_hard = rng.uniform(size=n) < hard
    X[:, 1] = np.abs(X[:, 1]) * np.where(in_hard, 1, -1) + np.where(in_hard, 0.5, -0.5)
    flipped = rng.uniform(size=n) < np.where(in_hard, _HARD, _EASY)
    return X, (X[:, 0] > 0).astype(np.int64) ^ flipped


def _draw_by_class(
    rng: np.random.RandomState, n: int, n_features: int, positive: float
) -> tuple[Floats, NDArray[np.int64]]:
    """Class 0 always left; class 1 right or, for a share _MIXED of its rows, left as class 0."""
    y = (rng.uniform(size=n) < positive).astype(np.int64)
    X = rng.standard_normal((n, n_features))
    right = (y == 1) & (rng.uniform(size=n) > _MIXED)
    X[:, 0] = (np.abs(X[:, 0]) + 0.5) * np.where(right, 1, -1)
    return X, y
