"""The next stack of candidates: steps from the best ones, in the directions the diagnosis asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from sklearn_dl.diagnosis.rules import Verdict
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.search.evidence import CAUSES, Trial, asked, findings_of
from sklearn_dl.search.history import History
from sklearn_dl.search.moves import moved, redrawn
from sklearn_dl.search.space import Space

__all__ = ["Proposal", "Proposer", "key_of"]

Params = dict[str, Any]

FIRST_STEP = 0.5  # share of a range; halved when a round brought nothing (Hooke and Jeeves 1961)
LEAST_STEP = 0.1
PROBE_MOVES = 4  # hyperparameters that a probe of the first round changes
MOST_MOVES = 3  # and later candidates
FRESH = 0.15  # of the candidates are drawn anywhere: no direction is right for ever
PARENTS = 4  # best trials that are crossed
FROM_BEST = 0.75  # steps begin at the best, the others at the second best
TRIES = 50  # at a candidate that is not known already


@dataclass(frozen=True)
class Proposal:
    """A candidate and what it is proposed for."""

    params: Params
    cause: str


def key_of(params: Mapping[str, Any]) -> str:
    """Equal for equal settings."""
    return repr(sorted(params.items(), key=lambda item: item[0]))


class Proposer:
    """Proposes the next stack from all that was evaluated."""

    def __init__(self, space: Space, subject: Subject, seed: int) -> None:
        self.space, self.prefix, self.seed = space, subject.prefix, seed
        now = subject.estimator.get_params(deep=True)
        self.start = {name: now[name] for name in space}

    def propose(self, history: History, n: int) -> list[Proposal]:
        """At most ``n`` new candidates; fewer where the space has no more."""
        r = history.n_rounds
        rng = np.random.RandomState((self.seed + r) % 2**32)
        known = {key_of(params) for params in history.params}
        if not history.params:
            return self._fill(n, known, lambda k: self._first(k, rng), rng)
        references = dict(history.references or {})
        prior = references.pop("prior", np.full(1, np.nan))
        trials = history.trials()
        shares = asked(findings_of(trials, references, prior, history.test_over_train, self.prefix))
        history.shares[r] = shares
        ranked = sorted(trials, key=lambda t: -t.score)  # stable: the first of equals
        step = step_after(history.best_by_round())
        return self._fill(n, known, lambda k: self._next(k, ranked, shares, step, rng), rng)

    def _fill(
        self,
        n: int,
        known: set[str],
        make: Callable[[int], Proposal],
        rng: np.random.RandomState,
    ) -> list[Proposal]:
        """One proposal a place, drawn again where it is known, and in the end from anywhere."""
        found: list[Proposal] = []
        for k in range(n):
            for attempt in range(2 * TRIES):
                proposal = make(k) if attempt < TRIES else self._anywhere(rng)
                if key_of(proposal.params) not in known:
                    known.add(key_of(proposal.params))
                    found.append(proposal)
                    break
        return found

    def _anywhere(self, rng: np.random.RandomState) -> Proposal:
        fresh = {name: redrawn(values, rng) for name, values in self.space.items()}
        return Proposal(fresh, "anywhere")

    def _first(self, k: int, rng: np.random.RandomState) -> Proposal:
        """The setting as it is, and large steps towards each cause: they are its probes."""
        if k == 0:
            return Proposal(self.start, "as it is")
        cause = CAUSES[(k - 1) % len(CAUSES)]
        return self._step(self.start, cause, FIRST_STEP, PROBE_MOVES, rng)

    def _next(
        self,
        k: int,
        ranked: Sequence[Trial],
        shares: Mapping[Verdict, float],
        step: float,
        rng: np.random.RandomState,
    ) -> Proposal:
        if k == 0 and len(ranked) > 1:
            return Proposal(_crossed(ranked[:PARENTS], rng), "crossed")
        if rng.uniform() < FRESH:
            return self._anywhere(rng)
        cause = list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]
        from_best = rng.uniform() < FROM_BEST or len(ranked) < 2
        base = ranked[0 if from_best else 1].params
        return self._step(base, cause, step, 1 + rng.randint(MOST_MOVES), rng)

    def _step(
        self, base: Params, cause: Verdict, step: float, n: int, rng: np.random.RandomState
    ) -> Proposal:
        params = moved(base, self.space, self.prefix, cause, step, n, rng)
        return Proposal(params, cause.value)


def step_after(best: Sequence[float]) -> float:
    """The largest step of the next round: halved after each round that brought nothing."""
    step = FIRST_STEP
    for before, after in pairwise(best):
        if not after > before:
            step = max(step / 2, LEAST_STEP)
    return step


def _crossed(parents: Sequence[Trial], rng: np.random.RandomState) -> Params:
    """Each value from the best or from one of those behind it."""
    first, other = parents[0].params, parents[1 + rng.randint(len(parents) - 1)].params
    return {name: (first if rng.uniform() < 0.5 else other)[name] for name in first}
