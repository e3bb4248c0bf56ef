"""Checks of the folds: groups, time, rare classes and the order of the rows (DL5xx)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold

from sklearn_dl.diagnosis import rules, splits
from sklearn_dl.diagnosis.checks import LEDGER, Evidence, gap_check, not_applicable, outcome
from sklearn_dl.diagnosis.gaps import Gap
from sklearn_dl.diagnosis.ledger import Measured
from sklearn_dl.diagnosis.statistics import Estimate
from sklearn_dl.diagnosis.table import Folds, Table

__all__ = ["contiguous_folds", "order_check", "split_checks"]

FLOOR = "scored at the floored probability"
SPLITS = "Roberts et al. 2017"  # cross-validation of structured rows


def contiguous_folds(y: NDArray[Any], k: int, *, stratify: bool) -> Folds:
    """Folds in the order of the rows; each class in its own order where that is possible."""
    stratify = stratify and np.unique(y, return_counts=True)[1].min() >= k
    splitter = StratifiedKFold(k) if stratify else KFold(k)
    return Folds(tuple((a, b) for a, b in splitter.split(np.zeros((len(y), 1)), y)))


def as_gap(e: Estimate | None) -> Gap | None:
    """A gap of its own, outside the family of the three claims."""
    return None if e is None else Gap(e.value, e.stderr, e.p_positive(), e.upper())


def split_checks(
    folds: Folds, table: Table, measured: Measured, *, classify: bool
) -> list[Evidence]:
    """DL501 to DL504 and DL506."""
    n = len(table)
    return [
        transfer_check(measured, folds.kind),
        leak_check(folds, table),
        *rare_class_checks(folds, table, classify=classify),
        Evidence(
            "DL506", "Rows that no fold predicts (share)?", unpredicted(folds, n), 0.0,
            outcome(unpredicted(folds, n) > 0), n, 0, "the ledger uses the others",
        ),
    ]  # fmt: skip


def transfer_check(measured: Measured, kind: splits.Kind) -> Evidence:
    """DL501: do new groups or later times cost more than rows of those learnt?"""
    what = {"grouped": "New groups cost", "ordered": "Later times cost"}.get(
        kind, "New groups or later times cost"
    )
    question = f"{what} more than held-out rows of those learnt (B - B_in)?"
    return gap_check(
        "DL501", question, as_gap(measured.transfer_gap), measured.margin, measured.n_rows, 0
    )


def leak_check(folds: Folds, table: Table) -> Evidence:
    """DL502: folds that ignore the groups they were given."""
    code, question = "DL502", "Rows judged whose group was learnt (share of the rows judged)?"
    if table.groups is None:
        return not_applicable(code, question, SPLITS)
    pairs = folds.splits
    judged = sum(len(test) for _, test in pairs)
    share = splits.leaked_rows(pairs, table.groups) / judged
    return Evidence(code, question, share, 0.0, outcome(share > 0), judged, 0, SPLITS)


def rare_class_checks(folds: Folds, table: Table, *, classify: bool) -> list[Evidence]:
    """DL503: a class too rare to be stratified; DL504: rows of a class their fold never saw."""
    rare = "A class with fewer rows than folds (its rows)?"
    unseen = "Rows of a class that their fold never saw?"
    if not classify:
        return [not_applicable("DL503", rare, SPLITS), not_applicable("DL504", unseen, FLOOR)]
    least = int(np.unique(table.y, return_counts=True)[1].min())
    lost = splits.unseen_classes(folds.splits, table.y)
    n, k = len(table), len(folds)
    return [
        Evidence("DL503", rare, least, k, outcome(least < k), n, 0, "folds are not stratified"),
        Evidence("DL504", unseen, lost, 0.0, outcome(lost > 0), n, 0, FLOOR),
    ]


def unpredicted(folds: Folds, n: int) -> float:
    """Share of the rows that are in no fold's held-out part."""
    predicted = np.zeros(n, dtype=bool)
    for _, test in folds.splits:
        predicted[test] = True
    return 1 - float(predicted.mean())


def order_check(ordered: Estimate | None, margin: float, n: int) -> Evidence:
    """DL505: contiguous folds are harder than shuffled ones: time, or rows of one origin."""
    code = "DL505"
    question = "Contiguous folds harder than shuffled ones (extra trees): do neighbours know more?"
    if ordered is None or not math.isfinite(ordered.value):
        return not_applicable(code, question, SPLITS)
    found = rules.found(as_gap(ordered), margin)
    return Evidence(code, question, ordered.value, margin, outcome(found), n, 0, LEDGER)
