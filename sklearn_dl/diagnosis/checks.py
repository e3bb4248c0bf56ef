"""Evidence: one row a question, with the number, the threshold and where the threshold is from.

Codes are stable. 1xx: the flow and its ledger; 2xx: optimization; 3xx: model bias; 4xx: the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from sklearn_dl.diagnosis import rules
from sklearn_dl.diagnosis.brakes import Brakes
from sklearn_dl.diagnosis.gaps import Gap
from sklearn_dl.diagnosis.ledger import Measured
from sklearn_dl.diagnosis.mismatch import shift_claim
from sklearn_dl.diagnosis.probes import Probes
from sklearn_dl.diagnosis.statistics import Estimate
from sklearn_dl.diagnosis.tails import HEAVY, MIN_ROWS, Tail

__all__ = ["Evidence", "evidence_frame"]

Floats = NDArray[np.float64]
Outcome = Literal["found", "not found", "not applicable"]

LEDGER = "Bottou and Bousquet 2008"
TAILS = "Huber 1964"
MIN_EPOCHS = 10  # a slope over the last fifth needs some points
TAIL = 0.2  # the last fifth of the epochs
BY_HEART = 0.05  # of the prior's loss: so much may be left of a few rows learnt alone
FEW = "Loss on a few rows learnt alone, over the prior's: can it learn them by heart?"
HALF_ROWS = "Viering and Loog 2023: learning curves"
HEART = "Zhang et al. 2017; Karpathy 2019: overfit one batch"
STILL_FALLING = 0.05  # the loss would fall by 5 % if training went on as long again


@dataclass(frozen=True)
class Evidence:
    """One check.

    Attributes
    ----------
    code : str
        Stable, ``DL101`` and so on.
    question : str
        Answered yes by ``found``: it is worded so that yes is what deserves a look.
    value, threshold : float
        What was measured and what it was compared with; NaN where not applicable.
    outcome : {"found", "not found", "not applicable"}
        The answer.
    n, fits : int
        Rows behind the value, and networks fitted for it alone (the models that they are compared
        with are not counted).
    source : str
        Where the threshold comes from.
    ci_low, ci_high : float
        95 % interval of the value, where it has one.
    """

    code: str
    question: str
    value: float
    threshold: float
    outcome: Outcome
    n: int
    fits: int
    source: str
    ci_low: float = math.nan
    ci_high: float = math.nan


def evidence_frame(rows: Sequence[Evidence]) -> pd.DataFrame:
    """The contract's evidence, in the order of the codes."""
    names = [f.name for f in fields(Evidence)]
    return pd.DataFrame([astuple(r) for r in sorted(rows, key=lambda r: r.code)], columns=names)


def not_applicable(code: str, question: str, source: str) -> Evidence:
    """A check that this estimator or these rows do not allow."""
    return Evidence(code, question, math.nan, math.nan, "not applicable", 0, 0, source)


def outcome(found: bool) -> Outcome:
    return "found" if found else "not found"


def gap_check(
    code: str, question: str, gap: Gap | None, margin: float, n: int, fits: int
) -> Evidence:
    """A gap of the ledger: found if above the margin and significant after Holm."""
    if gap is None:
        return not_applicable(code, question, LEDGER)
    found = rules.found(gap, margin)
    return Evidence(code, question, gap.value, margin, outcome(found), n, fits, LEDGER)


def flow_checks(measured: Measured, *, n_test: int, fits: int) -> list[Evidence]:
    """The course's two questions, in numbers (DL101 to DL105)."""
    claims, m, n = measured.claims, measured.margin, measured.n_rows
    limit = rules.no_signal_limit(measured.prior.value)
    signal = claims["signal"]
    harmless = measured.reference.value - measured.training.value
    return [
        gap_check(
            "DL101", "Training loss above the best held-out loss of any model (A - F)?",
            claims["training"], m, n, fits,
        ),
        gap_check(
            "DL102", "Out-of-fold loss above training and reference loss (B - max(A, F))?",
            claims["estimation"], m, n, 0,
        ),
        gap_check(
            "DL103", "Test loss above the out-of-fold loss (C - B)?", shift_claim(measured),
            m, n_test, 0,
        ),
        Evidence(
            "DL104", "Nothing to learn: no model better than the prior (L0 - F, upper limit)?",
            signal.upper, limit, outcome(signal.upper < limit), n, 0, LEDGER,
        ),
        Evidence(
            "DL105", "Own rows fitted better than anyone predicts them (F - A; harmless)?",
            harmless, m, outcome(harmless > m), n, 0, LEDGER,
        ),
    ]  # fmt: skip


def divergence_check(n_diverged: int, n_fits: int, n: int) -> Evidence:
    """DL201: a loss or a prediction that became non-finite."""
    return Evidence(
        "DL201", "Did fits diverge (share of the folds)?", n_diverged / n_fits, 0.0,
        outcome(n_diverged > 0), n, 0, "Goodfellow et al. 2016, ch. 8",
    )  # fmt: skip


def still_falling_check(loss_curves: Sequence[Floats], n: int, *, needed: bool) -> Evidence:
    """DL202: the training loss still falls at the end: too few epochs or too low a rate.

    Theil-Sen slope of the log loss over the last fifth of the epochs; the median over the folds
    of the relative fall that as many epochs again would bring at that slope. Only asked where the
    training loss may be large: a net that fits its rows well may go on falling for ever.
    """
    code, question = "DL202", "Does the training loss still fall at the last epoch?"
    source = "Sen 1968"
    falls = [_projected_fall(curve) for curve in loss_curves]
    falls = [fall for fall in falls if math.isfinite(fall)]
    if not falls or not needed:
        return not_applicable(code, question, source)
    value = float(np.median(falls))
    return Evidence(
        code, question, value, STILL_FALLING, outcome(value > STILL_FALLING), n, 0, source
    )


def _projected_fall(curve: Floats) -> float:
    """Relative fall over as many epochs again; 0 where the slope is not clearly negative."""
    tail = curve[-max(5, math.ceil(TAIL * len(curve))) :]
    if len(curve) < MIN_EPOCHS or not (np.isfinite(tail).all() and (tail > 0).all()):
        return math.nan
    slope = stats.theilslopes(np.log(tail), np.arange(len(tail)), 0.95)
    if slope.high_slope >= 0:
        return 0.0
    return 1 - math.exp(float(slope.slope) * len(curve))


def probe_checks(probes: Probes | None, margin: float, *, needed: bool) -> list[Evidence]:
    """Does a strong optimizer (DL203), a wider (DL301) or freer net (DL303) fit them better?

    And do the settings fit a few rows at least (DL214)?
    """
    strong = "Lower training loss by a strong optimizer in the same network (A - A_opt)?"
    wide = "Lower training loss yet by a wider network that contains it (A_opt - A_cap)?"
    free = "Over-regularised: share of what a wider network gains that lifting it gains already?"
    source = "Bottou and Bousquet 2008: optimization and approximation error"
    if probes is None or not needed:
        codes = {"DL203": strong, "DL301": wide, "DL303": free}
        rows = [not_applicable(code, question, source) for code, question in codes.items()]
        return [*rows, not_applicable("DL214", FEW, HEART)]
    optimization = probes.training - max(probes.strong, probes.reference)
    capacity = min(probes.training, probes.strong) - max(probes.wide, probes.reference)
    share = probes.split.optimization_share
    rows = [
        Evidence(
            "DL203", strong, optimization, margin,
            outcome(optimization > margin and share >= rules.HALF), probes.n_rows,
            probes.n_strong, source,
        ),
        by_heart_check(probes),
    ]  # fmt: skip
    if not probes.n_wide:
        return [*rows, not_applicable("DL301", wide, source), not_applicable("DL303", free, source)]
    rows.append(
        Evidence(
            "DL301", wide, capacity, margin,
            outcome(capacity > margin and share < rules.HALF), probes.n_rows,
            probes.n_wide, source,
        )
    )  # fmt: skip
    if math.isnan(probes.lifted):
        return [*rows, not_applicable("DL303", free, source)]
    held = probes.strong - max(probes.lifted, probes.reference)
    part = held / capacity if capacity > 0 else 0.0
    over = held > margin and share < rules.HALF and part >= rules.HALF
    return [
        *rows,
        Evidence("DL303", free, part, rules.HALF, outcome(over), probes.n_rows, 0, source),
    ]


def by_heart_check(probes: Probes) -> Evidence:
    """DL214: can the settings fit a few rows, as many steps as ever?"""
    seen = probes.by_heart
    if seen is None:
        return not_applicable("DL214", FEW, HEART)
    found = outcome(seen.loss > BY_HEART)
    return Evidence("DL214", FEW, seen.loss, BY_HEART, found, seen.n_rows, 0, HEART)


def half_check(brakes: Brakes | None, margin: float) -> Evidence:
    """DL305: does the network predict worse after learning half of the rows?"""
    question = "Rise of the held-out loss by learning half the rows, in as many steps?"
    rise = None if brakes is None else brakes.half
    if rise is None or not math.isfinite(rise.value):
        return not_applicable("DL305", question, HALF_ROWS)
    assert brakes is not None
    found = outcome(rise.value > margin and rise.p_positive() < rules.ALPHA)
    return Evidence("DL305", question, rise.value, margin, found, brakes.n_first, 1, HALF_ROWS)


def brake_check(brakes: Brakes | None, margin: float) -> Evidence:
    """DL304: does an early stop, decay, dropout or a narrower network lower the held-out loss?"""
    code, source = "DL304", "Belkin et al. 2019: interpolation alone is no harm"
    question = "Lower held-out loss by a brake (early stop, decay, dropout, narrower)?"
    if brakes is None or not math.isfinite(brakes.best.gain.value):
        return not_applicable(code, question, source)
    gain = brakes.best.gain
    found = gain.value > margin and brakes.n_looks * gain.p_positive() < rules.ALPHA
    return Evidence(
        code, question, gain.value, margin, outcome(found), brakes.n_rows, brakes.n_fits, source
    )


def class_checks(y: NDArray[np.generic], y_test: NDArray[np.generic] | None) -> list[Evidence]:
    """DL401: classes among the test rows that training never saw."""
    code, question = "DL401", "Classes among the test rows that training never saw (rows)?"
    if y_test is None:
        return [not_applicable(code, question, "scored at the floored probability")]
    unseen = int((~np.isin(y_test, np.unique(y))).sum())
    return [
        Evidence(
            code, question, unseen, 0.0, outcome(unseen > 0), len(y_test), 0,
            "scored at the floored probability",
        )
    ]  # fmt: skip


def tail_checks(tail: Tail | None) -> list[Evidence]:
    """DL106: a hundredth carries a quarter of the loss; DL107, DL108: is it decisive?"""
    heavy = "Share of the loss on the hundredth of the rows that costs most?"
    if tail is None or tail.n_rows < MIN_ROWS:
        first = not_applicable("DL106", heavy, TAILS)
    else:
        found = outcome(tail.heavy)
        first = Evidence("DL106", heavy, tail.share, HEAVY, found, tail.n_rows, 0, TAILS)
    n = 0 if tail is None else tail.n_rows
    holds = None if tail is None else tail.holds
    on_logs = None if tail is None else tail.log_holds
    return [
        first,
        _changed("DL107", "Another verdict on absolute errors (1: yes)?", holds, n),
        _changed("DL108", "Another verdict on the log of the target (1: yes)?", on_logs, n),
    ]


def _changed(code: str, question: str, holds: bool | None, n: int) -> Evidence:
    if holds is None:
        return not_applicable(code, question, TAILS)
    changed = float(not holds)
    return Evidence(code, question, changed, 0.0, outcome(changed > 0), n, 0, TAILS)


def overconfidence_check(gain: Estimate | None, measured: Measured) -> Evidence:
    """DL302: does one temperature close half of the estimation gap?"""
    code, source = "DL302", "Guo et al. 2017"
    question = "Overconfident: share of B - max(A, F) that a temperature takes away?"
    gap = measured.estimation_gap
    if gain is None or not gap.value > measured.margin or not math.isfinite(gain.value):
        return not_applicable(code, question, source)
    share = gain.value / gap.value
    sure = gain.p_positive() < rules.ALPHA
    return Evidence(
        code, question, share, rules.HALF, outcome(share >= rules.HALF and sure), measured.n_rows,
        0, source,
    )  # fmt: skip
