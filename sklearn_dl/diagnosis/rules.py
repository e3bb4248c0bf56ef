"""From measured gaps to a verdict: the course's two-step flow as pure functions.

    training loss large? -- yes --> model bias | optimization
            | no
    test loss large?     -- yes --> overfitting | mismatch
            | no
           good

Nothing is trained, drawn at random or read here; the tests go through the whole table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr

from sklearn_dl.diagnosis.gaps import Gap, shift_given

__all__ = [
    "Answer",
    "Decision",
    "Findings",
    "Verdict",
    "decide",
    "found",
    "margin",
    "settled",
    "test_answer",
    "training_answer",
]

# Thresholds, each with its source; beside what `gaps` believes of a shift they decide a verdict.
ALPHA = 0.05  # family-wise level of the three claims (Holm)
MARGIN_SHARE = 0.05  # a gap below 5 % of what can be learnt is not worth mending
MARGIN_FLOOR = 0.01  # nor one below 0.01 (nats, or a share of Var(y))
GOOD_FACTOR = 2.0  # `good` is earned when every upper limit lies below 2 m
HALF = 0.5  # a cause must explain half of a gap to be called its cause
LIKELY = 0.6  # a cause so likely is named though no gap is shown by itself (`good` is earned),
HINT = 0.25  # if one of its own tests has so small a p-value at least
CLOSED = 0.9  # no larger network is asked where the same one, trained better, closes so much
SURE = 0.01  # level of what is looked at beside the three gaps: brakes, temperature, probes
UNLIKELY = 1 / 3  # a mismatch above the margin that is not even half as likely as none
WIDE = 3.0  # in margins: an estimation gap so large is overfitting though no brake was found
NO_SIGNAL_SHARE = 0.05  # no reference can be more than 5 % of the prior's loss below the prior

# The stated probabilities: in SLIP of the cases something else was true than the flow on all
# plausible gaps says, and then the causes came up in these shares. Both are from the tuned tables
# of benchmarks/diagnosis.py (decisive cases, log loss; no table of its held-out third).
SLIP = 0.05
SHARES = {
    "good": 0.38,
    "optimization": 0.28,
    "overfitting": 0.14,
    "model_bias": 0.12,
    "mismatch": 0.06,
    "no_signal": 0.02,
}


class Verdict(StrEnum):
    """What is wrong, in the contract's words."""

    GOOD = "good"
    MODEL_BIAS = "model_bias"
    OPTIMIZATION = "optimization"
    OVERFITTING = "overfitting"
    MISMATCH = "mismatch"
    NO_SIGNAL = "no_signal"
    INCONCLUSIVE = "inconclusive"

    @property
    def meaning(self) -> str:
        """The verdict in one plain sentence."""
        return _MEANING[self]


_MEANING = {
    Verdict.GOOD: "no model tried does clearly better",
    Verdict.MODEL_BIAS: "the model is too simple to fit its training rows",
    Verdict.OPTIMIZATION: "good weights exist, but training did not find them",
    Verdict.OVERFITTING: "it fits its training rows, and predicts new rows worse than possible",
    Verdict.MISMATCH: "the test rows are not like the training rows",
    Verdict.NO_SIGNAL: "no model tried predicts better than the prior: nothing to learn was found",
    Verdict.INCONCLUSIVE: "the rows are too few to tell",
}


class Answer(StrEnum):
    """What is said to one of the flow's two questions."""

    YES = "Yes"
    PROBABLY = "Probably"
    CANNOT_TELL = "Cannot tell"
    NOT_ASKED = "Not asked yet"
    PROBABLY_NOT = "Probably not"
    NO = "No"


@dataclass(frozen=True)
class Findings:
    """All that the verdict depends on.

    Attributes
    ----------
    margin : float
        Gaps up to this size do not matter.
    training : Gap
        A - F, training loss over the best held-out loss of any reference.
    estimation : Gap
        B - max(A, F), out-of-fold loss over it.
    mismatch : Gap or None
        C - B, None without labelled test rows.
    signal : Gap
        L0 - F of the best model that is not the prior.
    prior_loss : float
        L0.
    optimization_share, optimization_share_stderr : float or None
        Share of the training gap that a strong optimizer closes in the same network; None where
        it was not measured.
    diverged_share : float
        Share of the fits that diverged.
    n_rows : int
        Rows the gaps were measured on.
    braking : Gap or None
        How far the best brake (early stop, decay, dropout, narrower) lowers the held-out loss;
        None where none was tried.
    calibration : Gap or None
        How far one temperature lowers it; None where it was not asked.
    training_remedy : Gap or None
        How far the probe that closes the training gap (the strong optimizer, or the wider network)
        lowers the held-out loss of the first fold; None where no probe was trained.
    total : Gap or None
        B - F, what it loses to the best reference on rows that neither learnt; None where no
        reference is better.
    halving : Gap or None
        How far learning half of the rows, in as many steps, raises the held-out loss of the first
        fold; None where that was not asked.
    """

    margin: float
    training: Gap
    estimation: Gap
    mismatch: Gap | None
    signal: Gap
    prior_loss: float
    optimization_share: float | None
    optimization_share_stderr: float | None
    diverged_share: float
    n_rows: int
    braking: Gap | None = None
    calibration: Gap | None = None
    training_remedy: Gap | None = None
    total: Gap | None = None
    halving: Gap | None = None


@dataclass(frozen=True)
class Decision:
    """A verdict, how sure, what to look at next, and what would settle it.

    ``later`` names gaps that are found too and are to be looked at again once the verdict's
    cause is mended; ``rows_to_settle`` is None unless the verdict is inconclusive.
    """

    verdict: Verdict
    probabilities: dict[Verdict, float]
    later: tuple[Verdict, ...]
    rows_to_settle: int | None


def margin(prior_loss: float, reference_loss: float) -> float:
    """``m = max(5 % of (L0 - F), 0.01)``: the smallest gap that matters."""
    return max(MARGIN_SHARE * (prior_loss - reference_loss), MARGIN_FLOOR)


def found(gap: Gap | None, m: float) -> bool:
    """Whether a gap exceeds the margin and passes its test."""
    return gap is not None and gap.value > m and gap.p < ALPHA


def surely(gap: Gap | None, m: float) -> bool:
    """The same at the stricter level of what is looked at in passing."""
    return gap is not None and gap.value > m and gap.p < SURE


def may_be_large(training: Gap, estimation: Gap, room: float, m: float) -> bool:
    """Whether to probe the training loss: it is near the best held-out one, or nearly B.

    A network that does no better on its own rows than on others (``room`` is B - A) has not
    overfitted them, so there may be something left to fit; and one that another model clearly beats
    on new rows though it fits its own hardly better than that model predicts new ones.
    """
    near = WIDE if found(estimation, m) else 1.0
    return training.value > -near * m or room < GOOD_FACTOR * m


def settled(gap: Gap | None, m: float) -> bool:
    """Whether a gap is shown to be small: its upper limit lies below twice the margin."""
    return gap is None or gap.upper < GOOD_FACTOR * m


def no_signal_limit(prior_loss: float) -> float:
    """The gain over the prior below which nothing was learnt."""
    return max(NO_SIGNAL_SHARE * prior_loss, GOOD_FACTOR * MARGIN_FLOOR)


def decide(f: Findings) -> Decision:
    """Apply the flow.

    Parameters
    ----------
    f : Findings
        The measured gaps.

    Returns
    -------
    Decision
    """
    verdict, probabilities = _verdict(f), _probabilities(f)
    if verdict is Verdict.INCONCLUSIVE:
        likeliest = max(probabilities, key=lambda v: probabilities[v])
        if probabilities[likeliest] >= LIKELY and _hinted(f, likeliest):
            verdict = likeliest
    rows = _rows_to_settle(f) if verdict is Verdict.INCONCLUSIVE else None
    return Decision(verdict, probabilities, _later(f, verdict), rows)


def _hinted(f: Findings, verdict: Verdict) -> bool:
    """Whether a test of its own speaks for a cause; none can for `good`, no signal needs none."""
    tests = {
        Verdict.GOOD: (),
        Verdict.OVERFITTING: (f.estimation, f.braking, f.calibration, f.halving),
        Verdict.MISMATCH: (f.mismatch,),
    }.get(verdict, (f.training, f.total, f.training_remedy))
    hinted = any(gap is not None and gap.p < HINT for gap in tests)
    return hinted or verdict is Verdict.NO_SIGNAL


def _verdict(f: Findings) -> Verdict:
    m = f.margin
    if f.diverged_share >= HALF:
        return _diverged_cause(f)
    shifted = f.mismatch if f.mismatch is not None and found(f.mismatch, m) else None
    if large(f):
        if shifted is not None and shifted.value > f.training.value:
            return Verdict.MISMATCH
        return _training_cause(f.optimization_share)
    if shifted is None and _no_signal(f):
        return Verdict.NO_SIGNAL
    if shifted is not None and shifted.value > f.estimation.value:
        return Verdict.MISMATCH
    if overfits(f):
        return Verdict.OVERFITTING
    if shifted is not None:
        return Verdict.MISMATCH
    if not_large(f) and not_mismatched(f.mismatch, m) and not_overfitting(f):
        return Verdict.GOOD
    return Verdict.INCONCLUSIVE


def large(f: Findings) -> bool:
    """Whether the training loss is large.

    It is above what others predict held out; or all that is lost to another model is shown, and
    none of it by overfitting; or a probe that fits these rows better predicts other rows better
    too, by more than any brake does.
    """
    m, remedy = f.margin, f.training_remedy
    if found(f.training, m) or unfitted(f):
        return True
    if remedy is None or not surely(remedy, m):
        return False
    return f.braking is None or f.braking.value < remedy.value


def unfitted(f: Findings) -> bool:
    """Whether it is shown to lose to another model, without having fitted its own rows better.

    Training losses differ much from fold to fold where training fails, so that A - F alone may not
    be shown to be above zero while B - F is. To overfit, a network must fit its rows better than
    others predict them, or gain by a brake.
    """
    if f.total is None or f.training.value <= 0 or not_large(f) or surely(f.braking, f.margin):
        return False
    return f.total.value > GOOD_FACTOR * f.margin and f.total.p < ALPHA


def not_large(f: Findings) -> bool:
    """Whether it is shown that the training loss need not be lower.

    Either it is settled; or it may be a little above what others predict held out, and a better
    trained or freer network is shown not to predict better.
    """
    m, remedy = f.margin, f.training_remedy
    if settled(f.training, m):
        return True
    open_still = f.training.value <= m and f.training.upper < WIDE * m
    return open_still and remedy is not None and settled(remedy, m)


def helped(f: Findings) -> bool:
    """Whether a brake or a temperature lowers the held-out loss by what matters."""
    return surely(f.braking, f.margin) or surely(f.calibration, f.margin)


def overfits(f: Findings) -> bool:
    """Whether the loss on new rows is larger than it need be.

    A brake helps; or another model does far better; or it does better and no brake was asked for.
    """
    if helped(f):
        return True
    if not found(f.estimation, f.margin):
        return False
    return f.braking is None or f.estimation.value > WIDE * f.margin


def not_overfitting(f: Findings) -> bool:
    """Whether it is shown that the loss on new rows need not be larger.

    Either no other model is far better; or none is by the estimate, and no brake is: its gain too
    lies below twice the margin.
    """
    m = f.margin
    if settled(f.estimation, m):
        return True
    if f.braking is None or f.estimation.value >= GOOD_FACTOR * m:
        return False
    z = float(stats.norm.ppf(1 - ALPHA))
    return f.braking.value + z * f.braking.stderr < GOOD_FACTOR * m


def not_mismatched(gap: Gap | None, m: float) -> bool:
    """Whether the test rows are as good as shown to be like the others.

    A few hundred test rows seldom settle C - B; good is not withheld for that where a mismatch that
    matters is unlikely.
    """
    if settled(gap, m):
        return True
    assert gap is not None
    if not (math.isfinite(gap.stderr) and gap.stderr > 0):
        return False
    return shift_given(gap, m).above(m) < UNLIKELY


def training_answer(f: Findings, verdict: Verdict) -> Answer:
    """Is the training loss large?"""
    if found(f.training, f.margin):
        return Answer.YES
    if verdict in (Verdict.MODEL_BIAS, Verdict.OPTIMIZATION):
        return Answer.YES if unfitted(f) else Answer.PROBABLY
    return Answer.NO if settled(f.training, f.margin) else _open(verdict)


def test_answer(f: Findings, verdict: Verdict) -> Answer:
    """Is the loss on new rows large? Not asked where the training loss is and nothing is shown."""
    if found(f.estimation, f.margin) or found(f.mismatch, f.margin):
        return Answer.YES
    if verdict in (Verdict.MODEL_BIAS, Verdict.OPTIMIZATION):
        return Answer.NOT_ASKED
    if verdict in (Verdict.OVERFITTING, Verdict.MISMATCH):
        return Answer.PROBABLY
    small = settled(f.estimation, f.margin) and not_mismatched(f.mismatch, f.margin)
    return Answer.NO if small else _open(verdict)


def _open(verdict: Verdict) -> Answer:
    """Where a gap is neither found nor shown to be small."""
    return Answer.PROBABLY_NOT if verdict is Verdict.GOOD else Answer.CANNOT_TELL


def _training_cause(optimization_share: float | None) -> Verdict:
    """Without a probe the gap is called bias: nothing shows that better weights exist."""
    if optimization_share is not None and optimization_share >= HALF:
        return Verdict.OPTIMIZATION
    return Verdict.MODEL_BIAS


def _diverged_cause(f: Findings) -> Verdict:
    """Optimization, unless a strong optimizer closed little: then it is held back as well."""
    measured = f.optimization_share is not None and f.training.value > f.margin
    return _training_cause(f.optimization_share) if measured else Verdict.OPTIMIZATION


def _no_signal(f: Findings) -> bool:
    """Whether nobody predicts better than the prior, nor the network once it is held back.

    A network that learnt noise by heart gains by every brake, up to the prior.
    """
    limit = no_signal_limit(f.prior_loss)
    if f.signal.upper >= limit:
        return False
    gains = [g.value for g in (f.braking, f.calibration) if g is not None and surely(g, f.margin)]
    beyond = f.signal.value - max(f.estimation.value, 0.0) + max(gains, default=0.0)
    return not gains or beyond < limit


def _later(f: Findings, verdict: Verdict) -> tuple[Verdict, ...]:
    named = {
        _training_cause(f.optimization_share): f.training,
        Verdict.OVERFITTING: f.estimation,
        Verdict.MISMATCH: f.mismatch,
    }
    return tuple(v for v, gap in named.items() if v is not verdict and found(gap, f.margin))


def _rows_to_settle(f: Findings) -> int | None:
    """About how many rows would decide every undecided gap; errors shrink as 1/sqrt(n).

    A gap below the margin is settled when its limit falls below 2 m, one above it when the
    interval leaves zero. None where no number of rows can be named.
    """
    z = float(stats.norm.ppf(1 - ALPHA))
    factor = 1.0
    moved = None if not_mismatched(f.mismatch, f.margin) else f.mismatch
    large = None if not_large(f) else f.training
    for gap in (large, None if not_overfitting(f) else f.estimation, moved):
        if gap is None or settled(gap, f.margin) or found(gap, f.margin):
            continue
        room = gap.value if gap.value > f.margin else GOOD_FACTOR * f.margin - gap.value
        # gap.upper may belong to another reference than gap.value: take the wider of the two.
        spread = max(z * gap.stderr, gap.upper - gap.value)
        if not (math.isfinite(spread) and room > 0):
            return None
        factor = max(factor, (spread / room) ** 2)
    return math.ceil(f.n_rows * factor) if factor > 1 else None


@cache
def _normal_scores(n: int, axis: int) -> NDArray[np.float64]:
    """A fixed, even sample of the normal distribution; the axes are shuffled against each other."""
    z = stats.norm.ppf((np.arange(n) + 0.5) / n)
    return np.asarray(np.random.RandomState(axis).permutation(z), dtype=float)


def _draws(gap: Gap | None, axis: int, n: int) -> NDArray[np.float64]:
    if gap is None:
        return np.full(n, -np.inf)
    spread = gap.stderr if math.isfinite(gap.stderr) else abs(gap.value) + 1.0
    return gap.value + spread * _normal_scores(n, axis)


def _probabilities(f: Findings, n: int = 4001) -> dict[Verdict, float]:
    """Share of plausible true gaps (normal around the estimates) on which the flow ends at each.

    Mixed with what was true in a benchmark where the flow slipped. ``inconclusive`` is a decision
    to abstain and no state of the world, so it has no probability of its own: what is said there
    is how the causes stand.
    """
    zero = dict.fromkeys(Verdict, 0.0)
    slips = {Verdict(name): SLIP * share for name, share in SHARES.items()}
    if f.diverged_share >= HALF:
        likeliest = _diverged_cause(f)
        return zero | slips | {likeliest: 1 - SLIP + slips[likeliest]}
    training, estimation, mismatch, signal, braking, calibration, remedy, total, halving = (
        _draws(gap, axis, n)
        for axis, gap in enumerate(
            (f.training, f.estimation, f.mismatch, f.signal, f.braking, f.calibration,
             f.training_remedy, f.total, f.halving)
        )
    )  # fmt: skip
    share = np.full(n, f.optimization_share if f.optimization_share is not None else 0.0)
    share = share + (f.optimization_share_stderr or 0.0) * _normal_scores(n, 9)
    m = f.margin
    if f.mismatch is not None and math.isfinite(f.mismatch.stderr) and f.mismatch.stderr > 0:
        levels = ndtr(_normal_scores(n, 2))
        mismatch = shift_given(f.mismatch, f.margin).quantiles(levels)
    unfit = (training > 0) & (total > GOOD_FACTOR * m) & (braking <= m) & (not not_large(f))
    large = (training > m) | unfit | (remedy > np.maximum(m, braking))
    shifted = (mismatch > m) & (mismatch > np.where(large, training, estimation))
    gains = (braking > m) | (calibration > m)
    limit = no_signal_limit(f.prior_loss)
    held_back = signal - np.maximum(estimation, 0) + np.maximum(braking, calibration)
    nothing = ~large & ~shifted & (signal < limit) & ~(gains & (held_back > limit))
    # where half of the rows would cost much, more of them close a gap that no brake does
    wide = m if f.braking is None else np.where(halving > WIDE * m, GOOD_FACTOR, WIDE) * m
    over = ~large & ~shifted & ~nothing & (gains | (estimation > wide))
    cases = {
        Verdict.MISMATCH: shifted,
        Verdict.OPTIMIZATION: large & ~shifted & (share >= HALF),
        Verdict.MODEL_BIAS: large & ~shifted & (share < HALF),
        Verdict.NO_SIGNAL: nothing,
        Verdict.OVERFITTING: over,
        Verdict.GOOD: ~large & ~shifted & ~nothing & ~over,
    }
    return zero | {v: (1 - SLIP) * float(case.mean()) + slips[v] for v, case in cases.items()}
