"""What a search has evaluated, in its order: all that its next proposals depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pickle import PicklingError
from typing import Any, Self

import joblib
import numpy as np
from numpy.typing import NDArray

from sklearn_dl.fitting import new_seed
from sklearn_dl.search.evidence import CAUSES, Trial

__all__ = ["History"]

Floats = NDArray[np.float64]


@dataclass
class History:
    """Candidates and their scores; a search that goes on begins with it.

    Attributes
    ----------
    seed : int
        Of everything drawn.
    n_references : int
        Reference models that are part of the budget.
    params : list of dict
        Candidates.
    out : list of dict
        What scikit-learn's ``_fit_and_score`` gave, a fold after another of each candidate.
    round, cause : list
        Of each candidate.
    shares : dict of int to dict
        What the diagnosis asked for, by round.
    references : dict of str to ndarray or None
        Scores by fold; None before they are known.
    metric : str
        The score that is diagnosed.
    test_over_train : float
        Rows held out over rows learnt, of a fold.
    """

    seed: int
    n_references: int
    params: list[dict[str, Any]] = field(default_factory=list)
    out: list[dict[str, Any]] = field(default_factory=list)
    round: list[int] = field(default_factory=list)
    cause: list[str] = field(default_factory=list)
    shares: dict[int, Mapping[Any, float]] = field(default_factory=dict)
    references: dict[str, Floats] | None = None
    metric: str = "score"
    test_over_train: float = 0.0
    _seen: dict[str, Any] = field(default_factory=dict)
    _n_splits: int = 0
    _n_earlier: int = 0

    @classmethod
    def new(cls, random_state: Any, n_references: int) -> Self:
        """An empty one."""
        return cls(new_seed(random_state), n_references)

    @property
    def n_settings(self) -> int:
        """Settings' worth of fits that are spent, or set aside for references."""
        return len(self.params) + self.n_references

    @property
    def n_rounds(self) -> int:
        """Whole rounds so far."""
        return self.round[-1] + 1 if self.round else 0

    def meet(
        self, rows: Any, splits: Sequence[tuple[Any, Any]], scoring: Any, estimator: Any
    ) -> None:
        """Take note of what candidates are judged by.

        Raises
        ------
        ValueError
            If there are candidates that were judged otherwise.
        """
        seen = {
            "the rows": _digest(rows),
            "the folds": _digest(splits),
            "scoring": scoring,
            "the estimator": _digest(estimator),
        }
        others = [name for name, value in seen.items() if self.params and value != self._seen[name]]
        if others:
            raise ValueError(
                "warm_start=True goes on with the candidates of the last fit, and what this one "
                f"gives is not what they met: {' and '.join(others)}. Give the same rows, "
                "estimator and scoring and a splitter whose random_state is an int, or set "
                "warm_start=False."
            )
        self._seen, self._n_splits, self._n_earlier = seen, len(splits), len(self.params)
        ratios = [len(test) / max(len(train), 1) for train, test in splits]
        self.test_over_train = float(np.mean(ratios)) if ratios else 0.0

    def check_names(self, space: Mapping[str, Any]) -> None:
        """See that candidates so far have a value of each hyperparameter.

        Raises
        ------
        ValueError
            If they have values of others.
        """
        if self.params and set(self.params[0]) != set(space):
            names = sorted(set(self.params[0]) ^ set(space))
            raise ValueError(
                "warm_start=True goes on with the candidates of the last fit, which was a search "
                f"over other hyperparameters than this one: {', '.join(names)}. Name the same ones "
                "in param_distributions, or set warm_start=False."
            )

    def last(self) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """The last candidate with its round and cause, for `extended` to give its scores anew."""
        self._n_earlier = len(self.params) - 1
        return self.params[-1], {"round": self.round[-1:], "cause": self.cause[-1:]}

    def extended(
        self, params: Sequence[dict[str, Any]], out: Sequence[dict[str, Any]], more: Any
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, list[Any]]]:
        """All candidates, where ``params`` and the others are all since `meet`."""
        k = self._n_earlier
        self.params = self.params[:k] + list(params)
        self.out = self.out[: k * self._n_splits] + list(out)
        self.round = self.round[:k] + list(more["round"])
        self.cause = self.cause[:k] + list(more["cause"])
        return self.params, self.out, {"round": self.round, "cause": self.cause}

    def choose_metric(self, refit: Any) -> str:
        """The metric to refit by; of several without one the first."""
        scores = self.out[0]["test_scores"]
        if isinstance(scores, dict):
            self.metric = (
                refit if isinstance(refit, str) and refit in scores else next(iter(scores))
            )
        return self.metric

    def trials(self) -> list[Trial]:
        """Each candidate with its scores by fold."""

        def of(k: int, which: str) -> Floats:
            fits = self.out[k * self._n_splits : (k + 1) * self._n_splits]
            scores = [fit[which] for fit in fits]
            return np.array(
                [s[self.metric] if isinstance(s, dict) else s for s in scores], dtype=np.float64
            )

        return [
            Trial(p, of(k, "train_scores"), of(k, "test_scores")) for k, p in enumerate(self.params)
        ]

    def best_by_round(self) -> list[float]:
        """Highest mean held-out score after each round."""
        scores = np.maximum.accumulate([trial.score for trial in self.trials()])
        ends = [self.round.index(r + 1) if r + 1 in self.round else len(self.round)
                for r in range(self.n_rounds)]  # fmt: skip
        return [float(scores[end - 1]) for end in ends]

    def rounds(self) -> list[dict[str, Any]]:
        """A row a round: how many candidates, the best score after it, what was asked for."""
        return [
            {
                "candidates": self.round.count(r),
                "best_score": best,
                **{c.value: self.shares.get(r, {}).get(c, np.nan) for c in CAUSES},
            }
            for r, best in enumerate(self.best_by_round())
        ]

    def line(self) -> str:
        """The last round in words."""
        last = self.rounds()[-1]
        asked = ", ".join(f"{c.value} {last[c.value]:.0%}" for c in CAUSES)
        asked = "the estimator as it is, and its probes" if "nan" in asked else asked
        return f"round {self.n_rounds}: {asked}; best so far {last['best_score']:.4g}"


def _digest(value: Any) -> str | None:
    """Equal for equal values; None for what cannot be told from another."""
    try:
        return str(joblib.hash(value))
    except (PicklingError, AttributeError, TypeError):  # such as a function without a name
        return None
