"""Many fits of one network with other settings and seeds, trained together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.parallel import Parallel, delayed

from sklearn_dl.batching import batched_fits
from sklearn_dl.curvature import training_loss
from sklearn_dl.estimators import DLClassifier, DLRegressor
from sklearn_dl.fitting import recipe_of
from sklearn_dl.training.model import steps_per_epoch

__all__ = [
    "Run",
    "Subject",
    "fit_runs",
    "initial",
    "mean_interval",
    "network_of",
    "seeds_from",
    "subject_of",
]

Floats = NDArray[np.float64]

#: A rate so small that a step leaves every weight where it was drawn.
NO_STEP = 1e-30


@dataclass(frozen=True)
class Subject:
    """The network under study and its rows as it takes them.

    Attributes
    ----------
    network : DLClassifier or DLRegressor
        Unfitted.
    X, y : array-like
        Training rows, after the steps of the pipeline before the network.
    before : Pipeline or None
        These steps, fitted.
    """

    network: Any
    X: Any
    y: Any
    before: Any = None

    def transformed(self, X: Any) -> Any:
        """Other rows as the network takes them."""
        return X if self.before is None else self.before.transform(X)

    @property
    def n_rows(self) -> int:
        """Training rows."""
        return len(self.y)

    def batch_size(self) -> int:
        """Rows a batch as the network is set."""
        return recipe_of(self.network, self.n_rows, incremental=False, watched=False).batch_size

    def max_epochs(self) -> int:
        """Epochs as the network is set."""
        return recipe_of(self.network, self.n_rows, incremental=False, watched=False).max_epochs

    def steps(self, batch_size: int) -> int:
        """Updates of an epoch."""
        return steps_per_epoch(self.n_rows, batch_size)


def network_of(estimator: Any) -> Any:
    """The network itself, or the one at the end of a pipeline.

    Raises
    ------
    TypeError
        There is none of ours.
    """
    network = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    if not isinstance(network, DLClassifier | DLRegressor):
        raise TypeError(
            "a study trains a DLClassifier or DLRegressor, or a Pipeline that ends in one; got "
            f"{type(network).__name__}."
        )
    return network


def subject_of(estimator: Any, X: Any, y: Any) -> Subject:
    """Look into a pipeline; fit and apply what comes before its network.

    Raises
    ------
    TypeError
        There is no network of ours at its end.
    """
    network = network_of(estimator)
    before = None
    if network is not estimator and len(estimator.steps) > 1:
        before = clone(estimator[:-1]).fit(X, y)
        X = before.transform(X)
    plain = {"callbacks": None, "warm_start": False, "verbose": False}
    return Subject(clone(network).set_params(**plain), X, np.asarray(y), before)


@dataclass(frozen=True)
class Run:
    """One fit.

    Attributes
    ----------
    params : dict
        What was set.
    seed : int
    fitted : estimator
        With the weights of the last good epoch where it diverged.
    loss : float
        Mean training loss at the end, in evaluation mode; inf where it diverged.
    diverged : bool
    """

    params: dict[str, Any]
    seed: int
    fitted: Any = field(repr=False)
    loss: float
    diverged: bool


def fit_runs(
    subject: Subject, settings: Sequence[dict[str, Any]], seeds: Sequence[int]
) -> list[Run]:
    """Fit the network with every setting from every seed; seeds vary fastest."""
    tasks = [(params, seed) for params in settings for seed in seeds]

    def run(params: dict[str, Any], seed: int) -> Run:
        network = clone(subject.network).set_params(**params, random_state=seed)
        diverged = False
        try:
            network.fit(subject.X, subject.y)
        except FloatingPointError:  # the weights of the last good epoch are kept
            diverged = True
        loss = np.inf if diverged else training_loss(network, subject.X, subject.y)
        return Run(params, seed, network, loss, diverged)

    with warnings.catch_warnings(), batched_fits():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        runs: list[Run] = Parallel()(delayed(run)(*task) for task in tasks)
    return runs


def initial(subject: Subject, seeds: Sequence[int]) -> list[Run]:
    """The network as each seed draws it: an epoch at a rate that moves nothing."""
    still = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "weight_decay": 0.0,
        "learning_rate": NO_STEP,
        "max_epochs": 1,
        "schedule": None,
        "warmup": 0.0,
        "max_grad_norm": None,
        "early_stopping": False,  # no row is held out, of which the encoder would not know
    }
    return fit_runs(subject, [still], seeds)


def seeds_from(rng: np.random.Generator, n: int) -> list[int]:
    """Seeds of fits."""
    return [int(s) for s in rng.integers(2**31 - 1, size=n)]


def mean_interval(values: Any, level: float = 0.95) -> tuple[float, float, float]:
    """Mean with its t interval over seeds; a single value, or an infinite one, has none."""
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2 or not np.isfinite(values).all():
        return mean, np.nan, np.nan
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return mean, mean - float(half), mean + float(half)
