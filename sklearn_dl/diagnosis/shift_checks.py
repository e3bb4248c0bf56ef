"""Checks of the test rows against the training rows: DL402 to DL407."""

from __future__ import annotations

import math

from sklearn_dl.diagnosis import rules
from sklearn_dl.diagnosis.checks import Evidence, not_applicable, outcome
from sklearn_dl.diagnosis.mismatch import Mismatch
from sklearn_dl.diagnosis.shift import UNSUPPORTED, Explained, Share

__all__ = ["shift_checks"]

TWO_SAMPLE = "Lopez-Paz and Oquab 2017; Besag and Clifford 1991"
EXPLAINED = "Cai, Namkoong and Yadlowsky 2023"
COPIES = "a copy tells nothing new"
SIZE = "Kong 1992"  # effective sample size of importance weights


def shift_checks(moved: Mismatch | None, n_test: int) -> list[Evidence]:
    """Did X move, are test rows copies, what explains C - B, and on how much does that rest?"""
    explained = None if moved is None else moved.explained
    return [
        two_sample_check(moved),
        copies_check(moved),
        *share_checks(explained, n_test),
        support_check(explained, n_test),
    ]


def two_sample_check(moved: Mismatch | None) -> Evidence:
    """DL402."""
    code = "DL402"
    question = "Inputs of the test rows distributed otherwise (p-value of the two-sample test)?"
    if moved is None or not math.isfinite(moved.test.p_value):
        return not_applicable(code, question, TWO_SAMPLE)
    p, n = moved.test.p_value, moved.test.n_rows
    return Evidence(code, question, p, rules.ALPHA, outcome(p <= rules.ALPHA), n, 0, TWO_SAMPLE)


def share_checks(explained: Explained | None, n_test: int) -> list[Evidence]:
    """DL403 to DL405: parts of C - B, with their bootstrap intervals."""
    questions = {
        "DL403": "Share of C - B that the changed class frequencies explain?",
        "DL404": "Share of C - B that the changed inputs explain?",
        "DL405": "Share of C - B that is left to a changed relation of target and inputs?",
    }
    if explained is None:
        return [not_applicable(code, question, EXPLAINED) for code, question in questions.items()]
    met = explained.effective_share >= UNSUPPORTED  # else nobody knows the relation out there
    shares = ((explained.label, True), (explained.covariate, True), (explained.concept, met))
    return [
        _share(code, question, share, n_test, known=known)
        for (code, question), (share, known) in zip(questions.items(), shares, strict=True)
    ]


def _share(code: str, question: str, share: Share, n: int, *, known: bool) -> Evidence:
    if math.isnan(share.value):  # numbers have no class frequencies
        return not_applicable(code, question, EXPLAINED)
    found = outcome(known and share.value >= rules.HALF)
    return Evidence(
        code, question, share.value, rules.HALF, found, n, 0, EXPLAINED, share.low, share.high
    )


def copies_check(moved: Mismatch | None) -> Evidence:
    """DL406."""
    code, question = "DL406", "Test rows that are copies of training rows (share)?"
    if moved is None:
        return not_applicable(code, question, COPIES)
    share, n = moved.test.copies, moved.test.n_rows
    return Evidence(code, question, share, 0.01, outcome(share > 0.01), n, 0, COPIES)


def support_check(explained: Explained | None, n_test: int) -> Evidence:
    """DL407: test inputs where hardly any training row is."""
    code = "DL407"
    question = "Test inputs hardly met in training (effective share of the training rows there)?"
    if explained is None:
        return not_applicable(code, question, SIZE)
    share = explained.effective_share
    return Evidence(
        code, question, share, UNSUPPORTED, outcome(share < UNSUPPORTED), n_test, 0, SIZE
    )
