"""Standard errors and intervals of the ledger: skewed losses, unequal clusters, refitted folds."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import KFold

from sklearn_dl.diagnosis.fold_fits import by_row, fit_one, jobs_on, training_by_fold
from sklearn_dl.diagnosis.ledger import Refits, build_ledger, measure
from sklearn_dl.diagnosis.row_losses import SquaredError
from sklearn_dl.diagnosis.statistics import (
    Estimate,
    over_folds,
    row_mean,
    welch_difference,
    with_refits,
)
from sklearn_dl.diagnosis.table import Folds, check_training_table


def rng(seed=0):
    return np.random.RandomState(seed)


# --- skewness ----------------------------------------------------------------------------------


def test_the_skewness_of_a_mean_is_that_of_its_rows_over_root_n():
    x = rng().exponential(size=80)
    e = row_mean(x, np.ones(80))
    assert e.skewness == pytest.approx(stats.skew(x, bias=False) / np.sqrt(80))


def test_limits_and_p_value_are_two_sides_of_one_test():
    e = Estimate(0.3, 0.2, 20, 0.4)
    for level in (0.05, 0.5, 0.9, 0.99):
        shifted = Estimate(e.value - e.upper(level), e.stderr, e.df, e.skewness)
        assert shifted.p_positive() == pytest.approx(level)


@pytest.mark.parametrize("a", [-0.9, -0.1, 0.0, 0.1, 0.9])
def test_limits_rise_with_their_level(a):
    limits = [Estimate(0.0, 1.0, 9, a).upper(q) for q in (0.001, 0.025, 0.5, 0.975, 0.999)]
    assert (np.diff(limits) > 0).all()


def test_intervals_of_skewed_means_cover_evenly_on_both_sides():
    draws = rng(1).exponential(size=(2000, 30))
    below = above = 0
    for x in draws:
        low, high = row_mean(x, np.ones(30)).interval()
        below += low > 1
        above += high < 1
    # Student's interval is above the mean in 0.2 % of the draws and below it in 7 %.
    assert 0.01 <= below / 2000 <= 0.045
    assert 0.01 <= above / 2000 <= 0.055


def test_third_cumulants_of_independent_means_subtract():
    a, b = Estimate(1.0, 0.3, 50, 0.2), Estimate(0.4, 0.1, 50, -0.3)
    e = welch_difference(a, b)
    third = 0.2 * 0.3**3 + 0.3 * 0.1**3
    assert e.skewness * e.stderr**3 == pytest.approx(third)
    inflated = over_folds(a, 0.25)
    assert inflated.skewness * inflated.stderr**3 == pytest.approx(a.skewness * a.stderr**3)


# --- clusters ----------------------------------------------------------------------------------


def test_unequal_clusters_have_the_jackknifes_error():
    g = rng(2)
    sizes = g.randint(1, 12, size=15)
    label, x = np.repeat(np.arange(15), sizes), g.standard_normal(sizes.sum())
    e = row_mean(x, np.ones(len(x)), label)
    without = np.array([x[label != c].mean() for c in range(15)])
    assert e.stderr == pytest.approx(np.sqrt(14 / 15 * np.square(without - x.mean()).sum()))
    assert e.df < 14


@pytest.mark.parametrize("big", [1, 40])
def test_intervals_over_unequal_groups_cover_the_mean(big):
    hits, g = 0, rng(3)
    sizes = np.r_[np.full(3, big), np.full(17, 4)]
    label = np.repeat(np.arange(20), sizes)
    for _ in range(800):
        x = g.standard_normal(20)[label] + 0.5 * g.standard_normal(len(label))
        low, high = row_mean(x, np.ones(len(x)), label).interval()
        hits += low <= 0 <= high
    assert 0.92 <= hits / 800 <= 0.985


# --- refits ------------------------------------------------------------------------------------


def test_refits_that_say_what_the_rows_say_change_nothing():
    rows = Estimate(0.2, 0.05, 100, 0.1)
    by_fold = np.array([0.1, 0.4, 0.2, 0.3, 0.0])
    e = with_refits(rows, by_fold, by_fold + 7)
    assert (e.stderr, e.df, e.skewness) == pytest.approx((0.05, 100, 0.1))
    assert with_refits(rows, by_fold[:4], 2 * by_fold[:4]) == rows  # too few folds to say


def test_refits_that_move_half_as_far_as_the_rows_halve_the_error():
    by_fold = np.array([0.1, 0.4, 0.2, 0.3, 0.0])
    assert with_refits(Estimate(0.2, 0.05, 100), by_fold, by_fold / 2).stderr == pytest.approx(
        0.025
    )


def test_the_training_gap_of_a_penalised_fit_varies_less_than_its_rows():
    values, errors, plain = [], [], []
    for seed in range(60):
        g = rng(seed)
        X = g.standard_normal((200, 5))
        y = X[:, 0] + 0.5 * X[:, 1] + g.standard_normal(200)
        table = check_training_table(X, y, task="regression", groups=None)
        folds = Folds(tuple(KFold(5, shuffle=True, random_state=g).split(X)))
        fits, other = (
            [fit_one(job, SquaredError(1.0)) for job in jobs_on(folds, model, table)]
            for model in (Ridge(200.0), LinearRegression())
        )
        own, best = by_row(fits, 200), by_row(other, 200)
        arguments = (own.fitted, own.held_out, {"linear": best.held_out}, np.ones(200))
        options = {"prior": "linear", "test_over_train": 0.25}
        refits = Refits(*training_by_fold(fits, np.ones(200)))
        gap = measure(*arguments, **options, refits=refits).training_gap
        values.append(gap.value)
        errors.append(gap.stderr)
        plain.append(measure(*arguments, **options).training_gap.stderr)
    spread = np.std(values, ddof=1)
    assert 0.75 <= np.sqrt(np.mean(np.square(errors))) / spread <= 1.3
    assert np.sqrt(np.mean(np.square(plain))) / spread >= 1.4


def test_folds_that_do_not_part_the_rows_give_no_refits():
    X = rng().standard_normal((40, 2))
    table = check_training_table(X, X[:, 0], task="regression", groups=None)
    parts = list(KFold(5).split(X))
    whole = [fit_one(j, SquaredError(1.0)) for j in jobs_on(Folds(tuple(parts)), Ridge(), table)]
    fold, training = training_by_fold(whole, np.ones(40))
    assert np.bincount(fold).tolist() == [8] * 5
    assert training == pytest.approx([f.train_losses.mean() for f in whole])
    assert training_by_fold(whole[:4], np.ones(40)) is None
    assert training_by_fold([*whole, whole[0]], np.ones(40)) is None


# --- the choice of the best reference ----------------------------------------------------------


def test_intervals_reach_as_far_as_those_against_any_reference():
    g = rng(4)
    noise = g.exponential(size=100)
    own, fitted = noise + 0.3, noise + 0.1
    others = {"prior": noise + 1, "near": own + 0.2 * g.standard_normal(100) + 0.01}
    others["other"] = own + 0.5 * g.standard_normal(100) + 0.02
    book = build_ledger(
        measure(fitted, own, others, np.ones(100), prior="prior", test_over_train=0.25), None
    )
    gaps = [row_mean(own - others[name], np.ones(100)).interval() for name in ("near", "other")]
    assert book.loc["estimation", "loss"] == 0  # own is the best of the pool here
    assert book.loc["estimation", "ci_high"] == pytest.approx(max(high for _, high in gaps))
    assert book.loc["estimation", "ci_high"] > 0
    lows = [row_mean(x, np.ones(100)).interval()[0] for x in (own, *others.values())]
    assert book.loc["reference", "ci_low"] == pytest.approx(min(lows))


def test_the_luckiest_of_several_equal_references_seldom_beats_the_estimator():
    """All are equally good on average; F is the one that was lucky on these rows."""
    n, n_references, draws = 100, 6, 600
    called = plain = 0
    for seed in range(draws):
        r = np.random.RandomState(seed)
        pool = {f"reference {k}": r.normal(0.5, 0.3, n) for k in range(n_references)}
        m = measure(
            np.full(n, 0.1), r.normal(0.5, 0.3, n), {"prior": np.full(n, 2.0), **pool},
            np.ones(n), prior="prior", test_over_train=0.25,
        )  # fmt: skip
        called += m.claims["estimation"].p < 0.05
        plain += m.estimation_gap.p_positive() < 0.05
    # one gap of two is Holm's; 600 draws put the rate within two points
    assert called / draws < 0.05
    assert plain / draws > 0.1
