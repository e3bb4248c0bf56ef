"""The flow from measured gaps to a verdict, over its whole table and without any training."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sklearn_dl.diagnosis.gaps import SHIFT_SCALE, SHIFTED, Gap, shift_given
from sklearn_dl.diagnosis.rules import (
    ALPHA,
    LIKELY,
    Findings,
    Verdict,
    decide,
    found,
    margin,
    no_signal_limit,
    settled,
)
from sklearn_dl.diagnosis.subcauses import cause

M = 0.05
SIGNAL = Gap(0.5, 0.01, 0.0, 0.52)
NO_SIGNAL = Gap(0.0, 0.005, 0.5, 0.008)
# What a gap can look like: shown to be large, shown to be small, or open.
LARGE = Gap(0.5, 0.01, 1e-9, 0.52)
LARGER = Gap(0.8, 0.01, 1e-9, 0.82)
SMALL = Gap(0.0, 0.01, 0.5, 0.02)
OPEN = Gap(0.06, 0.05, 0.12, 0.14)
UNCLEAR = Gap(0.1, 0.05, 0.06, 0.18)  # of test rows, of which most are held out at random


def findings(**changes):
    base = Findings(
        margin=M,
        training=SMALL,
        estimation=SMALL,
        mismatch=None,
        signal=SIGNAL,
        prior_loss=0.69,
        optimization_share=None,
        optimization_share_stderr=None,
        diverged_share=0.0,
        n_rows=500,
    )
    return replace(base, **changes)


def expected(f):
    """The flow restated as the course draws it, independently of the code's order of cases."""
    if f.diverged_share >= 0.5:
        unhelped = f.training in (LARGE, LARGER, OPEN) and f.optimization_share == 0.1
        return "model_bias" if unhelped else "optimization"
    large = {name: g in (LARGE, LARGER) for name, g in gaps(f).items()}
    size = {name: g.value for name, g in gaps(f).items()}
    if large["training"] and not (large["mismatch"] and size["mismatch"] > size["training"]):
        share = f.optimization_share
        return "optimization" if share is not None and share >= 0.5 else "model_bias"
    if large["training"]:
        return "mismatch"
    if f.signal == NO_SIGNAL and not large["mismatch"]:
        return "no_signal"
    named = {"estimation": "overfitting", "mismatch": "mismatch"}
    if large["mismatch"] and size["mismatch"] > size["estimation"]:
        return "mismatch"
    for name, verdict in named.items():
        if large[name]:
            return verdict
    return "inconclusive" if {OPEN, UNCLEAR} & set(gaps(f).values()) else "good"


def gaps(f):
    none = Gap(0.0, 0.0, 1.0, 0.0)
    return {
        "training": f.training,
        "estimation": f.estimation,
        "mismatch": none if f.mismatch is None else f.mismatch,
    }


LOOKS = (SMALL, OPEN, LARGE, LARGER)
TABLE = list(
    itertools.product(
        LOOKS,
        LOOKS,
        (None, SMALL, UNCLEAR, LARGE, LARGER),
        (SIGNAL, NO_SIGNAL),
        (None, 0.1, 0.9),
        (0.0, 0.2, 0.5, 1.0),
    )
)


def case(row):
    training, estimation, mismatch, signal, share, diverged = row
    return findings(
        training=training,
        estimation=estimation,
        mismatch=mismatch,
        signal=signal,
        optimization_share=share,
        optimization_share_stderr=None if share is None else 0.05,
        diverged_share=diverged,
    )


def test_every_row_of_the_table_gets_the_verdict_of_the_flow():
    wrong = [row for row in TABLE if decide(case(row)).verdict != expected(case(row))]
    assert len(TABLE) == 4 * 4 * 5 * 2 * 3 * 4
    assert wrong == []


def expected_with_probes(f):
    """The same, where brakes, a temperature and the probes' held-out gains are known as well."""
    large = f.training is LARGE
    if f.training_remedy is LARGE:  # near what others predict, and the probe predicts better
        large = large or f.braking not in (LARGE, LARGER)  # by more than a brake
    shifted = f.mismatch is LARGE
    if large:
        if shifted and LARGE.value > f.training.value:
            return "mismatch"
        return "model_bias"
    if shifted and LARGE.value > f.estimation.value:
        return "mismatch"
    helped = f.braking in (LARGE, LARGER) or f.calibration is LARGE
    found_gap = f.estimation in (LARGE, ABOVE)
    if helped or (found_gap and (f.braking is None or f.estimation is LARGE)):
        return "overfitting"
    if shifted:
        return "mismatch"
    if found_gap or f.training is OPEN:
        return "inconclusive"
    if f.estimation is OPEN and f.braking is not SMALL:  # no brake was shown to be no help
        return "inconclusive"
    return "good"


ABOVE = Gap(2 * M, 0.01, 1e-9, 2 * M + 0.02)  # found, but not so large that nothing is asked


def test_brakes_and_probes_decide_where_the_gaps_alone_do_not():
    rows = itertools.product(
        (SMALL, OPEN, LARGE), (SMALL, OPEN, ABOVE, LARGE), (None, LARGE),
        (None, SMALL, LARGE, LARGER), (None, LARGE), (None, SMALL, LARGE),
    )  # fmt: skip
    wrong = []
    for training, estimation, mismatch, braking, calibration, remedy in rows:
        f = findings(
            training=training, estimation=estimation, mismatch=mismatch, braking=braking,
            calibration=calibration, training_remedy=remedy,
        )  # fmt: skip
        if decide(f).verdict != expected_with_probes(f):
            wrong.append(f)
    assert wrong == []


def test_probabilities_sum_to_one_over_all_verdicts_in_every_row():
    for row in TABLE[::7]:
        p = decide(case(row)).probabilities
        assert set(p) == set(Verdict)
        assert math.isclose(sum(p.values()), 1, abs_tol=1e-9)
        assert all(0 <= v <= 1 for v in p.values())


def test_a_verdict_that_was_earned_is_also_the_most_probable():
    for row in TABLE:
        decision = decide(case(row))
        if (
            {OPEN, UNCLEAR} & set(row[:3])
            or row[3] is NO_SIGNAL
            or decision.verdict is Verdict.INCONCLUSIVE
        ):
            continue
        # Two equal gaps share the probability evenly, whichever of them is named.
        top = max(decision.probabilities.values())
        assert decision.probabilities[decision.verdict] > top - 0.05, row


def test_gaps_beside_the_verdict_are_named_for_later():
    f = findings(training=LARGE, estimation=LARGE, mismatch=LARGE, optimization_share=0.9)
    decision = decide(f)
    assert decision.verdict == "optimization"
    assert decision.later == (Verdict.OVERFITTING, Verdict.MISMATCH)
    assert decide(findings()).later == ()


@pytest.mark.parametrize(
    ("gap", "is_found", "is_settled"),
    [
        (Gap(M + 1e-9, 0.0, ALPHA - 1e-9, M), True, True),
        (Gap(M, 0.0, 0.0, M), False, True),  # at the margin is not above it
        (Gap(1.0, 0.9, ALPHA, 2.5), False, False),  # large but not significant
        (Gap(0.0, 0.1, 0.5, 2 * M), False, False),  # at the limit is not below it
        (None, False, True),  # not applicable: nothing is wrong and nothing is open
    ],
)
def test_a_gap_is_found_above_the_margin_and_settled_below_twice_it(gap, is_found, is_settled):
    assert (found(gap, M), settled(gap, M)) == (is_found, is_settled)


def test_the_margin_is_a_twentieth_of_what_can_be_learnt_and_at_least_a_hundredth():
    assert margin(1.0, 0.2) == pytest.approx(0.04)
    assert margin(0.69, 0.65) == 0.01
    assert no_signal_limit(0.1) == 0.02


def test_good_must_be_earned_by_the_interval_and_not_by_the_estimate():
    exact = decide(findings(training=Gap(0.0, 0.01, 0.5, 0.02)))
    vague = decide(findings(training=Gap(0.0, 0.2, 0.5, 0.33)))
    assert exact.verdict == "good"
    assert vague.verdict == "inconclusive"


def test_an_inconclusive_verdict_says_how_many_rows_would_settle_it():
    # 1.645 * 0.05 = 0.08225 must shrink to below the 0.06 that it is from zero.
    few = decide(findings(estimation=Gap(0.06, 0.05, 0.12, 0.14225)))
    assert few.rows_to_settle == pytest.approx(500 * (0.08225 / 0.06) ** 2, rel=0.01)
    assert decide(findings()).rows_to_settle is None
    endless = findings(estimation=Gap(0.06, math.inf, 0.5, math.inf))
    assert decide(endless).verdict == "inconclusive"
    assert decide(endless).rows_to_settle is None


def test_more_rows_than_that_do_settle_it():
    gap = Gap(0.02, 0.06, 0.4, 0.02 + 1.645 * 0.06)
    rows = decide(findings(estimation=gap)).rows_to_settle
    shrunk = 0.06 * math.sqrt(500 / (1.01 * rows))
    after = Gap(0.02, shrunk, 0.4, 0.02 + 1.645 * shrunk)
    assert decide(findings(estimation=after, n_rows=rows)).verdict == "good"


@pytest.mark.parametrize(
    ("training", "remedy", "verdict"),
    [
        (Gap(0.04, 0.04, 0.2, 2.2 * M), SMALL, "good"),  # a better trained network is no better
        (Gap(0.04, 0.04, 0.2, 2.2 * M), Gap(0.03, 0.05, 0.3, 0.11), "inconclusive"),  # it might be
        (Gap(0.04, 0.04, 0.2, 2.2 * M), None, "inconclusive"),  # nobody asked
        (Gap(0.04, 0.09, 0.4, 3.8 * M), SMALL, "inconclusive"),  # the gap may be anything
        (Gap(0.052, 0.03, 0.1, 2.2 * M), SMALL, "inconclusive"),  # it is above the margin
    ],
)
def test_a_training_loss_near_the_reference_is_settled_by_the_probes(training, remedy, verdict):
    assert decide(findings(training=training, training_remedy=remedy)).verdict == verdict


VAGUE = Gap(0.5 * M, 2 * M, 0.4, 4 * M)  # training failed on some folds: A - F may be anything


@pytest.mark.parametrize(
    ("training", "total", "changes", "verdict"),
    [
        (VAGUE, LARGE, {"optimization_share": 0.9}, "optimization"),
        (VAGUE, LARGE, {"optimization_share": 0.1}, "model_bias"),
        (VAGUE, LARGE, {"optimization_share": 0.9, "braking": LARGE}, "overfitting"),
        (VAGUE, LARGE, {"optimization_share": 0.9, "mismatch": LARGE}, "mismatch"),  # the larger
        (VAGUE, Gap(2 * M, 0.01, 1e-9, 3 * M), {"optimization_share": 0.9}, "inconclusive"),
        (VAGUE, Gap(0.5, 0.4, ALPHA, 1.2), {"optimization_share": 0.9}, "inconclusive"),
        (VAGUE, None, {"optimization_share": 0.9}, "inconclusive"),
        (SMALL, LARGE, {"optimization_share": 0.9}, "good"),  # it fits its own rows as well
        (replace(VAGUE, value=-M), LARGE, {"optimization_share": 0.9}, "inconclusive"),
    ],
)
def test_what_loses_to_another_model_and_did_not_fit_its_rows_has_a_large_training_loss(
    training, total, changes, verdict
):
    share_error = {"optimization_share_stderr": 0.05}
    f = findings(training=training, total=total, **share_error, **changes)
    decision = decide(f)
    assert decision.verdict == verdict
    if verdict == "optimization":
        assert max(decision.probabilities, key=decision.probabilities.get) == verdict


@pytest.mark.parametrize(
    ("training", "verdict"),
    [
        (Gap(3 * M, 1.2 * M, 0.06, 6 * M), "optimization"),  # 0.06 is no proof, but hardly a doubt
        (Gap(1.5 * M, M, 0.1, 4 * M), "optimization"),  # likelier than all else together
        (Gap(1.2 * M, M, 0.1, 4 * M), "inconclusive"),  # 0.56 is no more than a guess
        (Gap(0.0, 0.8 * M, 0.5, 2.1 * M), "inconclusive"),  # good at 0.9: that must be earned
    ],
)
def test_a_cause_that_is_likely_enough_is_named_and_good_is_earned(training, verdict):
    f = findings(training=training, optimization_share=0.95, optimization_share_stderr=0.01)
    decision = decide(f)
    assert decision.verdict == verdict
    assert (decision.rows_to_settle is None) == (verdict == "optimization")
    p = decision.probabilities
    assert (max(p.values()) >= LIKELY) == (training.value != 1.2 * M)


@pytest.mark.parametrize(
    ("estimation", "braking", "verdict"),
    [
        (LARGE, LARGE, "no_signal"),  # held back, a network that learnt noise by heart is the prior
        (LARGE, LARGER, "overfitting"),  # held back, it beats the prior
        (LARGE, None, "no_signal"),
    ],
)
def test_brakes_that_only_lead_back_to_the_prior_reveal_no_signal(estimation, braking, verdict):
    f = findings(signal=NO_SIGNAL, estimation=estimation, braking=braking)
    assert decide(f).verdict == verdict


@pytest.mark.parametrize("gap", [UNCLEAR, OPEN, LARGE, Gap(-0.1, 0.05, 1.0, 0.0)])
def test_what_is_believed_of_a_shift_is_bayes_rule_on_a_grid(gap):
    shift = shift_given(gap, M)
    size = np.linspace(0, 8 * SHIFT_SCALE * M, 200_001)
    prior = 2 * stats.norm.pdf(size, 0, SHIFT_SCALE * M)
    weight = SHIFTED * prior * stats.norm.pdf(gap.value, size, gap.stderr)
    density = np.trapezoid(weight, size)
    none = (1 - SHIFTED) * stats.norm.pdf(gap.value, 0, gap.stderr)
    assert shift.probability == pytest.approx(density / (density + none), rel=1e-5)
    tail = np.trapezoid(np.where(size > M, weight, 0), size)
    assert shift.above(M) == pytest.approx(tail / (density + none), rel=1e-3)
    level = np.array([0.01, 0.6, 0.99])
    at = shift.quantiles(level)
    below = [none + np.trapezoid(np.where(size <= x, weight, 0), size) for x in at]
    reached = np.array(below) / (density + none)
    assert reached[at > 0] == pytest.approx(level[at > 0], abs=1e-3)
    assert (reached[at == 0] >= level[at == 0]).all()


def test_brakes_that_do_not_help_settle_a_gap_that_is_small_by_its_estimate_only():
    near, far = (Gap(k * M, 1.2 * M, 0.1, (k + 2) * M) for k in (1.2, 2.5))
    assert decide(findings(estimation=near, braking=SMALL)).verdict == "good"
    assert decide(findings(estimation=far, braking=SMALL)).verdict == "inconclusive"
    assert decide(findings(estimation=near)).verdict == "inconclusive"
    shown = {k: Gap(k * M, 0.1 * M, 1e-9, (k + 0.2) * M) for k in (1.5, 2.5)}
    assert decide(findings(estimation=shown[1.5], braking=SMALL)).verdict == "good"
    assert decide(findings(estimation=shown[2.5], braking=SMALL)).verdict == "inconclusive"


def test_a_likely_cause_is_not_named_where_none_of_its_own_tests_hints_at_it():
    hinted, not_hinted = (findings(estimation=Gap(2 * M, M, p, 5 * M)) for p in (0.2, 0.3))
    assert decide(hinted).verdict == "overfitting"
    assert decide(not_hinted).verdict == "inconclusive"
    assert decide(hinted).probabilities == decide(not_hinted).probabilities
    costly = replace(not_hinted, halving=Gap(M, M, 0.2, 3 * M))  # half of the rows
    assert decide(costly).verdict == "overfitting"


def test_half_of_the_rows_that_cost_much_make_overfitting_likelier_and_name_it():
    gap = Gap(2.5 * M, M, 0.1, 4.5 * M)  # no brake helps: too little to be called overfitting
    open_still = findings(estimation=gap, braking=SMALL)
    assert decide(open_still).verdict == "inconclusive"
    assert decide(replace(open_still, halving=SMALL)).verdict == "inconclusive"
    assert decide(replace(open_still, halving=LARGE)).verdict == "overfitting"
    alike = findings(estimation=SMALL, braking=SMALL)
    assert decide(replace(alike, halving=LARGE)) == decide(alike)  # nobody does better


def test_test_rows_held_out_at_random_seldom_keep_good_from_being_said():
    said = [decide(findings(mismatch=Gap(z * M, M, 0.1, 1.0))).verdict for z in (-2, 0, 1, 1.25, 2)]
    assert said == ["good"] * 4 + ["inconclusive"]


def test_test_rows_that_can_tell_nothing_do_not_make_a_network_good():
    vague = Gap(0.0, 100 * M, 0.5, 160 * M)
    assert decide(findings(mismatch=vague)).verdict == "inconclusive"


def test_a_verdict_is_a_plain_string_with_a_meaning():
    assert Verdict.GOOD == "good"
    assert f"{Verdict.NO_SIGNAL}" == "no_signal"
    assert all(v.meaning for v in Verdict)


@pytest.mark.parametrize(
    ("verdict", "codes", "options", "words"),
    [
        ("optimization", {"DL201", "DL207"}, {}, "too high"),
        ("optimization", {"DL207", "DL213"}, {}, "dead"),
        ("optimization", {"DL208"}, {}, "saturated"),
        ("optimization", {"DL212", "DL211"}, {}, "too high"),
        ("optimization", {"DL213", "DL202"}, {}, "too low"),
        ("optimization", {"DL211"}, {}, "too early"),
        ("optimization", {"DL204"}, {}, "too high"),
        ("optimization", {"DL209"}, {}, "plateau"),
        ("optimization", set(), {"mse_on_classes": True}, "squared error"),
        ("optimization", set(), {}, None),
        ("model_bias", {"DL303", "DL301"}, {}, "over-regularised"),
        ("model_bias", {"DL301"}, {"linear": True}, "too shallow"),
        ("model_bias", {"DL301"}, {}, "too narrow"),
        ("model_bias", set(), {}, "features are missing"),
        ("good", {"DL207"}, {}, None),
        ("overfitting", {"DL201"}, {}, None),
    ],
)
def test_the_cause_behind_a_large_training_loss_is_named(verdict, codes, options, words):
    named = cause(Verdict(verdict), codes, **options)
    assert named is None if words is None else words in named
