"""The next stack of candidates: steps from the best ones, in the directions the diagnosis asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from sklearn_dl.diagnosis.rules import Verdict
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.search.evidence import Trial, asked, findings_of
from sklearn_dl.search.experience import Experience
from sklearn_dl.search.history import History
from sklearn_dl.search.moves import moved, numbered, redrawn
from sklearn_dl.search.ranking import ranked_draws
from sklearn_dl.search.space import Space, param_space

__all__ = ["Proposal", "Proposer", "key_of"]

Params = dict[str, Any]

FIRST_STEP = 0.5  # share of a range; halved when a round brought nothing (Hooke and Jeeves 1961)
LEAST_STEP = 0.1
MOST_MOVES = 4  # hyperparameters that a candidate changes
#: Share of a round that is what the diagnosis asks for; the rest is drawn anywhere, since scores of
#: a few folds mislead and no direction is right for ever. Chosen by searches on the tuning tables
#: of benchmarks/search.py.
ASKED = 0.6
STEPS, DRAWS = 120, 180  # proposals of either, of which the most promising are trained
CROSSED = 0.25  # of the former take their values from two of the best
PARENTS = 4  # trials that are crossed
BASES = 3  # best trials from which steps begin
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
        for name in ("dropout", "label_smoothing"):
            now[self.prefix + name] = subject.setting(name)  # a number for "auto"
        # "auto" epochs would be others for all rows than for a fold's, and overfit beyond what the
        # folds show: by 0.3 to 1.0 of the lead over the prior on five of eleven tuning tables.
        self.start = {name: numbered(values, now[name]) for name, values in space.items()}
        self.experience = Experience(param_space(subject.estimator), subject.prefix)

    def propose(self, history: History, n: int) -> list[Proposal]:
        """At most ``n`` new candidates; fewer where the space has no more."""
        r = history.n_rounds
        rng = np.random.RandomState((self.seed + r) % 2**32)
        known = {key_of(params) for params in history.params}
        if not history.params:
            return self._opening(n, known, rng)
        references = dict(history.references or {})
        prior = references.pop("prior", np.full(1, np.nan))
        trials = history.trials()
        shares = asked(findings_of(trials, references, prior, history.test_over_train, self.prefix))
        history.shares[r] = shares
        ranked = sorted(trials, key=lambda t: -t.score)  # stable: the first of equals
        step = step_after(history.best_by_round())
        steps = self._fill(STEPS, known, lambda _: self._next(ranked, shares, step, rng), rng)
        fresh = self._fill(DRAWS, known, lambda _: self._anywhere(rng), rng)
        chosen = self._most_promising(trials, steps, max(round(ASKED * n), 1), rng)
        left = n - len(chosen)
        if len(fresh) < left:  # the space is as good as used up
            fresh += [step for step in steps if step not in chosen]
        return chosen + self._most_promising(trials, fresh, left, rng)

    def _opening(self, n: int, known: set[str], rng: np.random.RandomState) -> list[Proposal]:
        """The setting as it is, and what would be best on each of some plausible tables."""
        first = self._fill(1, known, lambda _: Proposal(self.start, "as it is"), rng)
        fresh = self._fill(DRAWS, known, lambda _: self._anywhere(rng), rng)
        return first + self._most_promising([], fresh, n - len(first), rng)

    def _most_promising(
        self, trials: Sequence[Trial], pool: list[Proposal], n: int, rng: np.random.RandomState
    ) -> list[Proposal]:
        if len(pool) <= n or n == 0:
            return pool[:n]
        settings = [proposal.params for proposal in pool]
        draws = ranked_draws(trials, settings, self.space, n, rng, self.experience)
        chosen: list[int] = []
        for column in draws.T:  # each place to the best of a draw that has none yet
            chosen.append(next(int(k) for k in np.argsort(-column) if int(k) not in chosen))
        return [pool[k] for k in chosen]

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
            else:  # the space is used up, or as good as
                break
        return found

    def _anywhere(self, rng: np.random.RandomState) -> Proposal:
        fresh = {name: redrawn(values, rng) for name, values in self.space.items()}
        return Proposal(fresh, "anywhere")

    def _next(
        self,
        ranked: Sequence[Trial],
        shares: Mapping[Verdict, float],
        step: float,
        rng: np.random.RandomState,
    ) -> Proposal:
        better = ranked[: max(len(ranked) // 2, 2)]  # of a first round not all are worth a step
        if rng.uniform() < CROSSED and len(better) > 1:
            return Proposal(_crossed(better[:PARENTS], rng), "crossed")
        cause = list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]
        base = better[rng.randint(min(BASES, len(better)))].params
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
