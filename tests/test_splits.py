"""Folds of groups and of time: nothing leaks, and what is held out beside them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, TimeSeriesSplit

from sklearn_dl import diagnose
from sklearn_dl.diagnosis import references, split_checks, splits
from sklearn_dl.diagnosis.statistics import row_mean
from sklearn_dl.diagnosis.table import Folds, check_training_table, make_folds


def rng(seed=0):
    return np.random.RandomState(seed)


GROUPS = np.repeat(np.arange(12), 10)


def table(groups=None, n=120):
    X = rng().standard_normal((n, 2))
    return check_training_table(X, np.arange(n) % 2, task="classification", groups=groups)


def folds_of(cv, groups=None):
    return make_folds(table(groups), cv, task="classification", random_state=rng())


@pytest.mark.parametrize(
    ("cv", "groups", "kind"),
    [
        (3, None, "independent"),
        (3, GROUPS, "grouped"),
        (GroupKFold(3), GROUPS, "grouped"),
        (LeaveOneGroupOut(), GROUPS, "grouped"),
        (KFold(3, shuffle=True, random_state=0), GROUPS, "independent"),  # leaks: said by DL502
        (TimeSeriesSplit(3), None, "ordered"),
    ],
)
def test_what_folds_keep_apart_is_read_from_the_folds(cv, groups, kind):
    folds = folds_of(cv, groups)
    assert folds.kind == kind
    assert bool(folds.inside) == (kind != "independent")


@pytest.mark.parametrize("groups", [GROUPS, np.array([f"g{k}" for k in GROUPS])])
def test_inside_rows_are_of_learnt_groups_and_of_no_other(groups):
    folds = folds_of(4, groups)
    for (train, test), inside in zip(folds.splits, folds.inside, strict=True):
        assert not set(groups[train]) & set(groups[test])
        assert set(groups[inside]) <= set(groups[train])
        assert not set(inside) & set(train)
        assert len(train) + len(test) + len(inside) == 120


def test_inside_rows_are_of_the_period_that_was_learnt():
    folds = folds_of(TimeSeriesSplit(3))
    for (train, test), inside in zip(folds.splits, folds.inside, strict=True):
        assert max(train.max(), inside.max()) < test.min()


def test_rows_that_were_not_yet_inside_come_first():
    folds = folds_of(4, GROUPS)
    times = np.bincount(np.concatenate(folds.inside), minlength=120)
    assert times.max() == 1


def test_groups_of_one_row_have_nothing_inside():
    folds = folds_of(3, np.arange(120))
    assert (folds.kind, folds.inside) == ("grouped", ())


def test_clustered_errors_are_those_of_cluster_means():
    x, clusters = rng(1).standard_normal(60), np.repeat(np.arange(12), 5)
    means = x.reshape(12, 5).mean(axis=1)
    e = row_mean(x, np.ones(60), clusters)
    assert e.stderr == pytest.approx(means.std(ddof=1) / np.sqrt(12))
    assert e.df == pytest.approx(11)


def test_rows_repeated_within_a_cluster_do_not_sharpen_the_error():
    x = rng(2).standard_normal(20)
    once = row_mean(x, np.ones(20), np.arange(20))
    often = row_mean(np.repeat(x, 7), np.ones(140), np.repeat(np.arange(20), 7))
    assert (often.value, often.stderr) == pytest.approx((once.value, once.stderr))
    assert (often.df, often.skewness) == pytest.approx((19, once.skewness))


def test_time_is_clustered_in_blocks_of_neighbours():
    blocks = splits.clusters_of("ordered", None, 100)
    assert np.bincount(blocks).tolist() == [10] * 10
    assert splits.clusters_of("independent", None, 100) is None
    assert splits.clusters_of("independent", GROUPS, 120) is GROUPS


def test_a_subsample_keeps_groups_whole_and_classes_at_their_share():
    rows = np.arange(120)
    part = splits.subsample(rows, 55, rng(), groups=GROUPS)
    assert set(np.bincount(GROUPS[part], minlength=12)) == {0, 10}
    assert len(part) == 50
    y = np.repeat(["a", "b", "c"], [89, 30, 1])
    counts = pd.Series(y[splits.subsample(rows, 40, rng(), y=y)]).value_counts()
    assert counts["c"] == 1
    assert counts["b"] == pytest.approx(10, abs=1)
    assert splits.subsample(rows, 200, rng()) is rows


def test_large_grouped_tables_are_referenced_on_whole_groups(monkeypatch):
    monkeypatch.setattr(references, "MAX_ROWS", 25)
    t = table(GROUPS)
    capped, notes = references.capped_folds(folds_of(3, GROUPS), t, 0)
    for train, test in capped.splits:
        assert max(len(train), len(test)) <= 25
        assert not set(GROUPS[train]) & set(GROUPS[test])
    assert "in whole groups" in notes[0]


class Spy(ClassifierMixin, BaseEstimator):
    """Remembers which groups each fit saw, through a column that names them."""

    seen: list = []  # noqa: RUF012  shared by clones on purpose

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        Spy.seen.append(set(X[:, 0]))
        return self

    def predict_proba(self, X):
        assert not self.seen[-1] & set(X[:, 0]) or set(X[:, 0]) <= self.seen[-1]
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_no_judged_set_mixes_learnt_and_new_groups():
    Spy.seen.clear()
    X = np.c_[GROUPS, rng().standard_normal(120)].astype(float)
    y = rng(1).randint(2, size=120)
    diagnose(Spy(), X, y, groups=GROUPS, cv=3, budget="quick", random_state=0)
    assert len(Spy.seen) == 3


# --- checks: fires, does not fire, not applicable ----------------------------------------------


def outcomes(d):
    return d.evidence.set_index("code")["outcome"]


def quick(model, X, y, **options):
    return diagnose(model, X, y, **{"cv": 3, "budget": "quick", "random_state": 0} | options)


@pytest.fixture(scope="module")
def ungrouped():
    t = table()
    return quick(LogisticRegression(), t.X, t.y)


def test_checks_of_the_folds_are_silent_or_not_applicable_without_groups(ungrouped):
    o = outcomes(ungrouped)
    assert o["DL501"] == o["DL502"] == "not applicable"
    assert o["DL503"] == o["DL504"] == o["DL506"] == "not found"
    assert o["DL505"] == "not applicable"  # the quick budget makes no further fits


def test_numbers_have_no_rare_classes():
    t = table()
    o = outcomes(quick(Ridge(), t.X, t.X[:, 0] + rng().standard_normal(120)))
    assert o["DL503"] == o["DL504"] == "not applicable"


def test_folds_that_ignore_groups_are_found_out():
    t = table(GROUPS)
    ignoring = folds_of(KFold(3, shuffle=True, random_state=0), GROUPS)
    assert split_checks.leak_check(ignoring, t).outcome == "found"
    assert split_checks.leak_check(folds_of(3, GROUPS), t).outcome == "not found"
    assert split_checks.leak_check(folds_of(3), table()).outcome == "not applicable"


def test_rare_classes_and_classes_a_fold_never_saw_are_found():
    y = np.array(["a"] * 60 + ["b"] * 59 + ["c"])
    X = np.c_[y == "a", np.arange(120) % 7].astype(float)
    d = quick(LogisticRegression(), X, y)
    o = outcomes(d)
    assert o["DL503"] == o["DL504"] == "found"
    assert any("not stratified" in note for note in d.to_dict()["notes"])


def test_an_order_of_the_rows_is_found_by_contiguous_folds():
    g = rng(3)
    walk = np.cumsum(g.standard_normal(200))
    X = np.c_[np.arange(200.0), g.standard_normal(200)]
    found = diagnose(Ridge(), X, walk, cv=3, random_state=0)
    assert outcomes(found)["DL505"] == "found"
    mixed = g.permutation(200)
    silent = diagnose(Ridge(), X[mixed], walk[mixed], cv=3, random_state=0)
    assert outcomes(silent)["DL505"] == "not found"


def test_groups_that_do_not_matter_are_no_mismatch():
    g = rng(5)
    X = g.standard_normal((400, 2))
    d = quick(Ridge(), X, X[:, 0] + g.standard_normal(400), groups=np.arange(400) // 8, cv=5)
    assert outcomes(d)["DL501"] == "not found"
    assert d.verdict != "mismatch"
    assert Folds(()).kind == "independent"
