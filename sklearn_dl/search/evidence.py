"""From the scores of a search to the diagnosis of its best candidate, without a further fit.

Training and held-out scores by fold take the place of the ledger's losses: the prior's score counts
1 and the best held-out score known counts 0, so that the margins of the diagnosis hold for any
metric. The other candidates are the probes: one of the same kind of network that fits its rows
better shows that better weights exist.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sklearn_dl.diagnosis import rules
from sklearn_dl.diagnosis.gaps import Gap
from sklearn_dl.diagnosis.rules import Findings, Verdict

__all__ = ["CAUSES", "Trial", "asked", "best_of", "findings_of"]

Floats = NDArray[np.float64]

#: What a candidate can be proposed for.
CAUSES = (Verdict.MODEL_BIAS, Verdict.OPTIMIZATION, Verdict.OVERFITTING)
#: What decides the class of functions; the rest is the way to its weights, or holds it back.
SHAPE = ("module", "hidden_layer_sizes", "activation", "normalization")
#: Each cause keeps this share of the proposals: as often the diagnosis slips (`rules.SLIP`) or
#: the scores of three folds mislead.
LEAST = 0.1


@dataclass(frozen=True)
class Trial:
    """A setting that was evaluated: scores by fold, greater is better, NaN where a fit failed."""

    params: dict[str, Any]
    train: Floats
    test: Floats

    @property
    def score(self) -> float:
        """Mean held-out score, the worst there is where a fold failed."""
        mean = float(self.test.mean())
        return mean if math.isfinite(mean) else -math.inf


def best_of(trials: Sequence[Trial]) -> Trial:
    """The first of the highest mean held-out score."""
    return max(trials, key=lambda trial: trial.score)


def findings_of(
    trials: Sequence[Trial],
    references: Mapping[str, Floats],
    prior: Floats,
    test_over_train: float,
    prefix: str = "",
) -> Findings | None:
    """What the rules of the diagnosis need, of the best trial.

    Parameters
    ----------
    trials : sequence of Trial
        All so far.
    references : mapping of str to ndarray of shape (n_folds,)
        Held-out scores of the reference models; may be empty.
    prior : ndarray of shape (n_folds,)
        Of the prior; NaN where it is not known.
    test_over_train : float
        Rows held out over rows learnt, of a fold.
    prefix : str
        Of the network's parameters.

    Returns
    -------
    Findings or None
        None where the best does no better than the prior: then there is no scale.
    """
    best = best_of(trials)
    pool = [best.test, *(r for r in references.values() if np.isfinite(r).all())]
    reference = max(pool, key=lambda scores: float(scores.mean()))
    span = float((reference - prior).mean())
    if not (math.isfinite(span) and span > 0 and np.isfinite(best.train).all()):
        return None

    def gap(difference: Floats) -> Gap:
        return _gap(difference / span, test_over_train)

    least = np.minimum(reference, best.train)
    failed = [not np.isfinite(t.test).all() for t in trials]
    return Findings(
        margin=rules.margin(1.0, 0.0),
        training=gap(reference - best.train),
        estimation=gap(least - best.test),
        mismatch=None,
        signal=gap(reference - prior),
        prior_loss=1.0,
        optimization_share=_optimization_share(trials, best, prefix),
        optimization_share_stderr=None,
        diverged_share=1.0 if failed[trials.index(best)] else 0.0,
        n_rows=0,
    )


def _gap(difference: Floats, test_over_train: float) -> Gap:
    """Mean over folds; its error by Nadeau and Bengio (2003): folds share training rows."""
    k = len(difference)
    value = float(difference.mean())
    if k < 2:
        return Gap(value, math.inf, 1.0, math.inf)
    error = math.sqrt((1 / k + test_over_train) * float(difference.var(ddof=1)))
    if not error > 0:
        return Gap(value, 0.0, 0.0 if value > 0 else 1.0, value)
    t = stats.t(k - 1)
    return Gap(value, error, float(t.sf(value / error)), value + float(t.ppf(0.95)) * error)


def _optimization_share(trials: Sequence[Trial], best: Trial, prefix: str) -> float | None:
    """How much of what any trial fits better the same kind of network fits better too."""
    own = float(best.train.mean())
    gains = [(float(t.train.mean()) - own, _shape(t, prefix) == _shape(best, prefix))
             for t in trials if np.isfinite(t.train).all()]  # fmt: skip
    most = max((gain for gain, _ in gains), default=0.0)
    if most <= 0:
        return None
    return max((gain for gain, same in gains if same), default=0.0) / most


def _shape(trial: Trial, prefix: str) -> list[Any]:
    return [trial.params.get(prefix + name) for name in SHAPE]


def asked(findings: Findings | None) -> dict[Verdict, float]:
    """Share of the next candidates that goes to each cause.

    The diagnosis' probabilities. Where it sees nothing wrong (the best so far is as good as any
    model known), what can still be gained is on the side where there is room: more fit where the
    training score is hardly above the held-out one, less where it is far above.
    """
    if findings is None:
        return dict.fromkeys(CAUSES, 1 / len(CAUSES))
    said = rules.decide(findings).probabilities
    shares = {cause: said[cause] for cause in CAUSES}
    rest = 1 - sum(shares.values())
    room = findings.estimation.value + max(-findings.training.value, 0.0)  # B - A
    if rules.may_be_large(findings.training, findings.estimation, room, findings.margin):
        shares[Verdict.MODEL_BIAS] += rest / 2
        shares[Verdict.OPTIMIZATION] += rest / 2
    else:
        shares[Verdict.OVERFITTING] += rest
    kept = {cause: max(share, LEAST) for cause, share in shares.items()}
    total = sum(kept.values())
    return {cause: share / total for cause, share in kept.items()}
