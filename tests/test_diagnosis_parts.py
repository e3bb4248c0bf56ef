"""The parts of a diagnosis, each against an oracle or a case worked out by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse, stats
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import GridSearchCV, KFold, RepeatedKFold, TimeSeriesSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_dl import PLAIN, DLClassifier, DLRegressor
from sklearn_dl.datasets import make_rings
from sklearn_dl.diagnosis import brakes as brakes_module
from sklearn_dl.diagnosis import checks, ledger, reference_models, references, rules, words
from sklearn_dl.diagnosis.brakes import (
    FEW,
    Brake,
    Brakes,
    brake_settings,
    gain_on_held_out,
    try_brakes,
)
from sklearn_dl.diagnosis.fewer_rows import few_rows, half_of
from sklearn_dl.diagnosis.findings import find
from sklearn_dl.diagnosis.fold_fits import FoldFit, Job, by_row, fit_jobs, jobs_on
from sklearn_dl.diagnosis.gaps import Gap
from sklearn_dl.diagnosis.ledger import Split, build_ledger, measure
from sklearn_dl.diagnosis.probes import (
    ByHeart,
    Probes,
    _Bench,
    _split,
    run_probes,
    strong_params,
    wide_params,
)
from sklearn_dl.diagnosis.remedies import find_remedies, param_grid
from sklearn_dl.diagnosis.row_losses import LogLoss, SquaredError
from sklearn_dl.diagnosis.rules import Decision, Verdict, may_be_large
from sklearn_dl.diagnosis.statistics import (
    Estimate,
    holm,
    over_folds,
    paired_difference,
    row_mean,
    welch_difference,
)
from sklearn_dl.diagnosis.subcauses import cause
from sklearn_dl.diagnosis.subject import find_subject, seeded
from sklearn_dl.diagnosis.supersets import Reinitialised
from sklearn_dl.diagnosis.symptom_checks import symptom_checks
from sklearn_dl.diagnosis.symptoms import Symptoms, loss_rises, stability_limit, symptoms_of
from sklearn_dl.diagnosis.table import (
    check_test_table,
    check_training_table,
    make_folds,
    weigh_test_table,
)


def rng(seed=0):
    return np.random.RandomState(seed)


def table(X, y, task="classification", **options):
    return check_training_table(X, y, task=task, **({"groups": None} | options))


# --- statistics --------------------------------------------------------------------------------


def test_the_mean_of_rows_has_the_textbook_standard_error():
    half = rng().standard_normal(25)
    x = 1 + np.concatenate([half, -half])  # not skewed: the interval is Student's
    e = row_mean(x, np.ones(50))
    assert (e.value, e.stderr) == pytest.approx((x.mean(), stats.sem(x)))
    low, high = stats.t.interval(0.95, 49, x.mean(), stats.sem(x))
    assert e.interval() == pytest.approx((low, high))


def test_rows_without_a_loss_or_a_weight_do_not_count():
    x = np.array([1.0, np.nan, 3.0, 100.0])
    w = np.array([1.0, 1.0, 1.0, 0.0])
    assert row_mean(x, w) == row_mean(np.array([1.0, 3.0]), np.ones(2))
    assert math.isnan(row_mean(x[1:2], w[1:2]).value)
    assert row_mean(x[:1], w[:1]).stderr == math.inf


def test_a_paired_difference_is_scipys_paired_t_test():
    half = rng(1).uniform(size=15)
    a, b = 0.1 + np.concatenate([half, -half]), np.zeros(30)
    t = stats.ttest_rel(a, b, alternative="greater")
    assert paired_difference(a, b, np.ones(30)).p_positive() == pytest.approx(t.pvalue)


def test_a_difference_of_independent_means_is_scipys_welch_test():
    a, b = (
        x - np.concatenate([half, -half])
        for x, half in ((0.1, rng(1).uniform(size=15)), (0.0, 2 * rng(2).uniform(size=9)))
    )
    e = welch_difference(row_mean(a, np.ones(30)), row_mean(b, np.ones(18)))
    t = stats.ttest_ind(a, b, equal_var=False, alternative="greater")
    assert (e.p_positive(), e.df) == pytest.approx((t.pvalue, t.df))


def test_folds_get_nadeau_and_bengios_factor():
    # Five folds: (1/5 + 1/4) s^2 and not s^2 / 5.
    expected = 0.1 * math.sqrt((1 / 5 + 1 / 4) / (1 / 5))
    assert over_folds(Estimate(3.0, 0.1, 99), 1 / 4) == Estimate(3.0, pytest.approx(expected), 99)


def test_holm_adjusts_as_worked_out_by_hand():
    # Sorted .01 .03 .04 times 3, 2, 1, never falling: .03, .06, .06.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_certain_estimate_needs_no_test():
    assert Estimate(0.1, 0.0).p_positive() == 0
    assert Estimate(0.0, 0.0).p_positive() == 1


# --- losses ------------------------------------------------------------------------------------


def test_row_losses_average_to_scikit_learns_metrics(iris, diabetes):
    X, y = iris
    model = GaussianNB().fit(X, y)
    assert LogLoss()(model, X, y).mean() == pytest.approx(log_loss(y, model.predict_proba(X)))
    X, y = diabetes
    ridge = Ridge().fit(X, y)
    losses = SquaredError(float(np.var(y)))(ridge, X, y)
    assert 1 - losses.mean() == pytest.approx(r2_score(y, ridge.predict(X)))


def test_a_class_that_was_never_seen_costs_the_floor():
    model = GaussianNB().fit([[0.0], [1.0], [0.1], [1.1]], ["a", "b", "a", "b"])
    assert LogLoss()(model, [[0.0]], ["c"]) == pytest.approx([-np.log(1e-6)])


# --- the ledger --------------------------------------------------------------------------------


def measured(n=400, *, a=0.1, b=0.1, refs=None, c=None, noise=0.05, seed=0):
    """Measured losses of which the means are given."""
    g = rng(seed)

    def around(mean, rows=n):
        x = g.uniform(-1, 1, rows) * noise
        return mean + x - x.mean()

    refs = {"prior": 0.7, "linear": 0.1} if refs is None else refs
    return measure(
        around(a),
        around(b),
        {name: around(mean) for name, mean in refs.items()},
        np.ones(n),
        prior="prior",
        test_over_train=0.25,
        test=None if c is None else around(c, 200),
        test_weights=None if c is None else np.ones(200),
    )


@pytest.mark.parametrize(
    ("verdict", "answer"), [("good", "Probably not"), ("inconclusive", "Cannot")]
)
def test_the_answers_to_the_questions_agree_with_the_verdict_where_a_gap_is_open(verdict, answer):
    m = measured(20, a=0.1, b=0.12, noise=0.4)
    assert not rules.settled(m.claims["training"], m.margin)
    steps = words.flow(m, find(m, None, 0.0), decision(verdict), has_test=False)
    assert all(step.answer.startswith(answer) for step in steps[:2])


def test_rows_fitted_better_than_others_predict_them_are_not_said_to_be_fitted_worse():
    # A verdict by the probes: another model is better on new rows, and the own are fitted well.
    better, worse = measured(200, a=0.05, b=0.5, noise=0.01), measured(200, a=0.12, b=0.5, noise=1)
    answers = [
        words.flow(m, find(m, None, 0.0), decision("optimization"), has_test=True)[0].answer
        for m in (better, worse)
    ]
    assert answers[0].startswith("Probably, by the probes and the fits: the best reference")
    assert answers[1].startswith("Yes: the best reference")
    assert "has not fitted its own rows better either" in answers[1]


@pytest.mark.parametrize("c", [None, 0.9])
@pytest.mark.parametrize("b", [0.1, 0.4])
@pytest.mark.parametrize("a", [0.02, 0.3])
@pytest.mark.parametrize("split", [None, Split(0.7, 0.1)])
def test_the_ledger_adds_up(a, b, c, split):
    m = measured(a=a, b=b, c=c)
    book = build_ledger(m, split)
    last = m.held_out.value if m.test is None else m.test.value
    assert book["loss"].sum() == pytest.approx(last, abs=1e-12)
    assert tuple(book.index) == ledger.ROWS
    assert tuple(book.columns) == ledger.COLUMNS
    if np.isfinite(book["share"]).any():
        assert book["share"].sum() == pytest.approx(1)


def test_shares_are_not_named_where_there_is_nothing_to_share():
    assert build_ledger(measured(), None)["share"].isna().all()


def test_a_net_better_than_all_references_has_an_empty_ledger():
    book = build_ledger(measured(a=0.01, b=0.05), None)
    assert book.loc["reference", "loss"] == pytest.approx(0.05)
    assert (book.loc[["approximation", "optimization", "estimation"], "loss"] == 0).all()


def test_the_training_gap_is_divided_as_the_probes_say():
    book = build_ledger(measured(a=0.5, b=0.5), Split(0.75, 0.0))
    assert book.loc["optimization", "loss"] == pytest.approx(0.3)
    assert book.loc["approximation", "loss"] == pytest.approx(0.1)


def test_mismatch_is_not_applicable_without_test_rows():
    assert build_ledger(measured(), None).loc["mismatch"].isna().all()
    assert "mismatch" not in measured().claims


def test_parts_of_a_gap_that_cannot_be_negative_have_no_negative_interval():
    book = build_ledger(measured(a=0.09, b=0.1), None)
    assert (book.loc[["approximation", "optimization"], ["loss", "ci_low", "ci_high"]] >= 0).all(
        axis=None
    )


def test_good_is_earned_against_every_reference_and_not_against_the_luckiest():
    # The estimator is itself the best: B - F is zero, but a reference may still be better.
    m = measured(n=20, a=0.0, b=0.2, refs={"prior": 0.7, "linear": 0.21}, noise=0.5)
    assert m.estimation_gap.value == 0
    assert m.claims["estimation"].upper > 0.1


def test_folds_that_share_rows_widen_the_estimation_gap_by_half():
    m = measured(a=0.2, b=0.5)
    unpaired = math.hypot(m.training.stderr, m.held_out.stderr)
    assert m.claims["estimation"].stderr == pytest.approx(1.5 * unpaired, rel=0.15)


def test_a_single_hold_out_is_compared_without_pairs():
    n = 100
    fitted, held_out = np.full(n, np.nan), np.full(n, np.nan)
    fitted[:70], held_out[70:] = rng().uniform(0.4, 0.6, 70), rng(1).uniform(0.5, 0.7, 30)
    reference = np.where(np.isfinite(held_out), 0.1 + 0.01 * rng(2).uniform(size=n), np.nan)
    prior = np.where(np.isfinite(held_out), 0.7, np.nan)
    m = measure(
        fitted,
        held_out,
        {"prior": prior, "linear": reference},
        np.ones(n),
        prior="prior",
        test_over_train=30 / 70,
    )
    assert m.training.value == pytest.approx(np.nanmean(fitted))
    assert 0 < m.training_gap.stderr < 0.05
    assert math.isfinite(m.estimation_gap.stderr)


# --- the estimator's anatomy -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "prefix", "fit_prefix"),
    [
        (DLClassifier(), "", ""),
        (
            make_pipeline(StandardScaler(), DLClassifier()),
            "dlclassifier__",
            "dlclassifier__",
        ),
        (TransformedTargetRegressor(DLRegressor()), "regressor__", ""),
        (
            TransformedTargetRegressor(make_pipeline(StandardScaler(), DLRegressor())),
            "regressor__dlregressor__",
            "dlregressor__",
        ),
        (
            Pipeline([("a", StandardScaler()), ("b", make_pipeline(DLClassifier()))]),
            "b__dlclassifier__",
            "b__dlclassifier__",
        ),
    ],
)
def test_the_network_is_found_with_the_prefix_that_sets_its_parameters(
    estimator, prefix, fit_prefix
):
    subject = find_subject(estimator)
    assert (subject.prefix, subject.fit_prefix) == (prefix, fit_prefix)
    assert subject.is_network
    assert subject.takes_weights
    changed = find_subject(subject.with_params(learning_rate=0.5))
    assert changed.setting("learning_rate") == 0.5
    assert estimator.get_params()[prefix + "learning_rate"] != 0.5


def test_a_fitted_search_stands_for_its_best_estimator(iris):
    search = GridSearchCV(LogisticRegression(max_iter=500), {"C": [1e-5, 1.0]}, cv=3).fit(*iris)
    assert find_subject(search).estimator.C == 1.0


def test_a_stack_that_hides_its_probabilities_until_fitted_is_taken():
    stack = StackingClassifier([("a", LogisticRegression())])
    for model in (stack, make_pipeline(StandardScaler(), stack)):
        assert not hasattr(model, "predict_proba")
        found = find_subject(model)
        assert found.core.final_estimator is None
    with pytest.raises(TypeError, match="StackingClassifier has no predict_proba"):
        find_subject(StackingClassifier([("a", LogisticRegression())], RidgeClassifier()))


def test_only_open_random_states_are_seeded():
    pipe = make_pipeline(RandomForestClassifier(), MLPClassifier(random_state=5))
    params = seeded(pipe, 7).get_params()
    assert params["randomforestclassifier__random_state"] == 7
    assert params["mlpclassifier__random_state"] == 5


# --- tables and folds --------------------------------------------------------------------------


def test_an_integer_cv_is_shuffled_and_stratified_and_repeats():
    y = np.repeat([0, 1], [80, 20])
    X = np.arange(100.0)[:, None]
    a, b, c = (
        make_folds(table(X, y), 5, task="classification", random_state=rng(s)).splits
        for s in (0, 0, 1)
    )
    assert all(y[test].sum() == 4 for _, test in a)
    assert all(np.array_equal(p[1], q[1]) for p, q in zip(a, b, strict=True))
    assert not all(np.array_equal(p[1], q[1]) for p, q in zip(a, c, strict=True))
    assert any(np.diff(test).max() > 1 for _, test in a)


def test_a_rare_class_gives_unstratified_folds_and_is_named():
    y = np.array(["a"] * 20 + ["b"] * 3)
    folds = make_folds(table(np.zeros((23, 1)), y), 5, task="classification", random_state=rng())
    assert folds.notes == ("folds are not stratified: class b has 3 rows, fewer than the 5 folds",)


def test_grouped_rows_are_never_on_both_sides():
    groups = np.repeat(np.arange(10), 6)
    y = rng().randint(2, size=60)
    t = table(np.zeros((60, 1)), y, groups=groups)
    for train, test in make_folds(t, 5, task="classification", random_state=rng()).splits:
        assert not set(groups[train]) & set(groups[test])


@pytest.mark.parametrize("cv", [TimeSeriesSplit(3), RepeatedKFold(n_splits=3, n_repeats=2)])
def test_any_splitter_is_honoured(cv):
    t = table(np.zeros((30, 1)), np.arange(30.0), "regression")
    folds = make_folds(t, cv, task="regression", random_state=rng())
    assert len(folds) == cv.get_n_splits()
    pairs = [(np.arange(20), np.arange(20, 30))]
    assert len(make_folds(t, pairs, task="regression", random_state=rng())) == 1


BAD_TABLES = {
    "missing classes": (
        np.array([0, np.nan, 1, np.nan]),
        "classification",
        "2 missing values of 4",
    ),
    "missing labels": (np.array(["a", None, "b", "a"], object), "classification", "1 missing"),
    "infinite numbers": (np.array([0.0, np.inf, 1, 2]), "regression", "1 infinite"),
    "dates": (np.arange(4).astype("M8[D]"), "regression", r"y holds times .* such as days"),
    "text for a regressor": (np.array(list("abcd")), "regression", "must be numbers"),
    "one class": (np.zeros(4), "classification", "two different values"),
    "constant columns": (np.zeros((4, 2)), "regression", "two different values"),
    "columns that are constant each": (np.tile([0, 1], (4, 1)), "regression", "two different val"),
    "large": (np.array([0, 1, 2, 3]) * 1e200, "regression", "y from 0 to 3e\\+200 has squares"),
    "small": (np.array([0, 1, 2, 3]) * 1e-200, "regression", "beyond float64. Change its unit"),
    "three axes": (np.zeros((4, 2, 2)), "regression", r"got shape \(4, 2, 2\)"),
    "columns of classes": (np.arange(8).reshape(4, 2), "classification", r"got shape \(4, 2\)"),
    "another length": (np.arange(3), "classification", "inconsistent numbers of samples"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_target_that_cannot_be_learnt_is_refused_with_what_was_seen(name):
    y, task, message = BAD_TABLES[name]
    with pytest.raises(ValueError, match=message):
        table(np.zeros((4, 1)), y, task)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 1], "shape"),
        ([1, -1, 1, 1], "1 values are negative"),
        ([0] * 4, "sum is 0"),
    ],
)
def test_bad_weights_are_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        table(np.zeros((4, 1)), np.array([0, 1, 0, 1]), sample_weight=weight)


def test_numbers_that_do_not_vary_where_they_count_are_refused():
    with pytest.raises(ValueError, match=r"got 1\.0 in all 2 rows whose weight is not zero"):
        table(np.zeros((4, 1)), np.array([0, 1, 0, 1]), "regression", sample_weight=[0, 2, 0, 2])


def test_too_few_rows_or_groups_for_the_folds_are_refused():
    t = table(np.zeros((9, 1)), np.arange(9) % 2)
    with pytest.raises(ValueError, match="5 folds need at least 10 rows; got 9"):
        make_folds(t, 5, task="classification", random_state=rng())
    grouped = table(np.zeros((12, 1)), np.arange(12) % 2, groups=np.arange(12) // 4)
    with pytest.raises(ValueError, match=r"at least 5 groups; got 3\. Use cv=3"):
        make_folds(grouped, 5, task="classification", random_state=rng())


def test_test_rows_need_the_training_columns_and_labels():
    X = pd.DataFrame({"a": range(4), "b": range(4)})
    t = table(X, [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"lacks \['b'\], adds \['c'\]"):
        check_test_table(X.rename(columns={"b": "c"}), [0] * 4, t, task="classification")
    with pytest.raises(ValueError, match="has another order"):
        check_test_table(X[["b", "a"]], [0] * 4, t, task="classification")
    with pytest.raises(ValueError, match="y_test was given without X_test"):
        check_test_table(None, [0] * 4, t, task="classification")
    assert check_test_table(X, None, t, task="classification").y is None


def test_class_weights_and_sample_weights_both_count_in_the_losses():
    y = np.array([0, 0, 0, 1])
    t = table(np.zeros((4, 1)), y, sample_weight=[1, 2, 1, 1], class_weight={0: 1, 1: 3})
    assert t.loss_weight.tolist() == [1, 2, 1, 3]
    assert t.fit_weight.tolist() == [1, 2, 1, 1]


@pytest.mark.parametrize("weight", [None, [0, 2, 1, 0, 1], [1, 1, 1, 0, 0]])
@pytest.mark.parametrize("class_weight", [{0: 1, 1: 10}, "balanced"])
def test_test_rows_get_the_class_weights_whatever_the_training_rows_weigh(weight, class_weight):
    y = np.array([0, 0, 0, 1, 1])
    t = table(np.zeros((5, 1)), y, sample_weight=weight, class_weight=class_weight)
    new = check_test_table(np.zeros((3, 1)), [1, 0, 7], t, task="classification")
    expected = [10, 1, 1] if class_weight != "balanced" else [5 / 4, 5 / 6, 1]
    assert weigh_test_table(new, t, class_weight).loss_weight == pytest.approx(expected)


def test_a_forests_balanced_subsamples_are_judged_as_balanced():
    rows = np.zeros((4, 1)), np.array([0, 0, 0, 1])
    one, other = (table(*rows, class_weight=w) for w in ("balanced_subsample", "balanced"))
    assert one.loss_weight.tolist() == other.loss_weight.tolist()


# --- fits --------------------------------------------------------------------------------------


def test_losses_by_row_are_those_of_a_plain_loop(iris):
    X, y = iris
    t = table(X, y)
    folds = make_folds(t, KFold(3, shuffle=True, random_state=0), task="classification",
                       random_state=rng())  # fmt: skip
    rows = by_row(fit_jobs(jobs_on(folds, GaussianNB(), t), LogLoss()), len(t))
    expected = np.zeros((2, 150))
    for train, test in folds.splits:
        model = GaussianNB().fit(X[train], y[train])
        expected[0, train] += LogLoss()(model, X[train], y[train]) / 2
        expected[1, test] += LogLoss()(model, X[test], y[test])
    assert rows.fitted == pytest.approx(expected[0])
    assert rows.held_out == pytest.approx(expected[1])


def test_repeated_folds_are_averaged_and_unknown_rows_stay_unknown():
    part = np.array([0, 1])
    fits = [
        FoldFit(part, np.array([2]), np.array([1.0, np.nan]), np.array([k]), np.empty(0))
        for k in (1.0, 3.0)
    ]
    rows = by_row(fits, 4)
    np.testing.assert_array_equal(rows.fitted, [1.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(rows.held_out, [np.nan, np.nan, 2.0, np.nan])


# --- references --------------------------------------------------------------------------------


def pool_losses(models, t, folds, loss, **options):
    fits, notes = references.pool_fits(models, t, folds, loss, **options)
    return {name: by_row(f, len(t)).held_out for name, f in fits.items()}, notes


def raw_frame(n=120):
    g = rng(4)
    return pd.DataFrame(
        {
            "number": np.where(g.uniform(size=n) < 0.2, np.nan, g.standard_normal(n)),
            "nullable": pd.array(g.randint(5, size=n), dtype="Int64"),
            "flag": g.uniform(size=n) < 0.5,
            "text": np.where(g.uniform(size=n) < 0.2, None, g.choice(["u", "v"], n)),
            "category": pd.Categorical(g.choice(["x", "y", "z"], n)),
            "date": pd.to_datetime("2020-01-01") + pd.to_timedelta(g.randint(900, size=n), "D"),
        }
    )


@pytest.mark.parametrize("kind", ["frame", "polars", "object array", "sparse"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_reference_takes_every_kind_of_table(kind, task):
    frame = raw_frame()
    numbers = frame[["flag", "nullable"]].to_numpy(float)
    X = {
        "frame": frame,
        "polars": pl.from_dict({c: frame[c].to_list() for c in ("nullable", "flag", "category")}),
        "object array": frame[["number", "text"]].to_numpy(object),
        "sparse": sparse.csr_array(numbers),
    }[kind]
    y = frame["flag"].to_numpy().astype(int) if task == "classification" else numbers.sum(1)
    plain = references.plain_frame(X)
    models = reference_models.pool(plain, task, 96, 0)
    if kind != "sparse":
        assert len(models) == 6
    t = table(plain, y, task)
    folds = make_folds(t, 3, task=task, random_state=rng())
    loss = LogLoss() if task == "classification" else SquaredError(float(np.var(y)))
    quick = {name: m for name, m in models.items() if "network" not in name}
    losses, notes = pool_losses(quick, t, folds, loss, seed=0)
    assert set(losses) == set(quick)
    assert notes == []
    assert all(np.isfinite(v).all() for v in losses.values())


def test_boosting_of_weighted_rows_learns_what_it_learns_of_others():
    X = rng().standard_normal((400, 3))
    y = (X[:, 0] + X[:, 1] ** 2 > 1).astype(int)
    X[::7, 2] = np.nan
    t = table(references.plain_frame(X), y)
    folds = make_folds(t, 3, task="classification", random_state=rng())
    means = []
    for weighted in (False, True):
        models = reference_models.pool(t.X, "classification", 266, 0, weighted=weighted)
        chosen = {k: models[k] for k in ("prior", "gradient boosting")}
        learnt = replace(t, fit_weight=np.ones(400)) if weighted else t
        losses, notes = pool_losses(chosen, learnt, folds, LogLoss(), seed=0)
        assert notes == []
        means.append(losses["gradient boosting"].mean())
    assert means[1] == pytest.approx(means[0], abs=0.02)
    assert means[0] < 0.3  # of log 2


def test_references_never_use_the_rows_they_are_judged_on():
    y = np.arange(200) % 2
    t = table(references.plain_frame(rng().standard_normal((200, 3))), y)
    folds = make_folds(t, 5, task="classification", random_state=rng())
    models = reference_models.pool(t.X, "classification", 160, 0)
    losses, _ = pool_losses(models, t, folds, LogLoss(), seed=0)
    # Nothing can be learnt: whoever looked would be far below log 2.
    assert min(v.mean() for v in losses.values()) > np.log(2) - 0.02


def test_a_reference_that_cannot_be_fitted_leaves_the_pool_with_a_note():
    y = np.array([0] * 30 + [1] * 10)
    t = table(references.plain_frame(rng().standard_normal((40, 2))), y)
    pairs = [(np.arange(30), np.arange(30, 40)), (np.arange(10, 40), np.arange(10))]
    folds = make_folds(t, pairs, task="classification", random_state=rng())
    models = reference_models.pool(t.X, "classification", 30, 0)
    losses, notes = pool_losses(
        {k: models[k] for k in ("prior", "linear")}, t, folds, LogLoss(), seed=0
    )
    assert set(losses) == {"prior"}
    assert len(notes) == 1
    assert "reference linear left out" in notes[0]


def test_large_tables_are_referenced_on_a_subsample(monkeypatch):
    monkeypatch.setattr(references, "MAX_ROWS", 20)
    t = table(references.plain_frame(rng().standard_normal((90, 2))), np.arange(90) % 2)
    folds = make_folds(t, 3, task="classification", random_state=rng())
    models = reference_models.pool(t.X, "classification", 20, 0)
    losses, notes = pool_losses({"prior": models["prior"]}, t, folds, LogLoss(), seed=0)
    assert np.isfinite(losses["prior"]).sum() == 60
    assert notes == ["references use at most 20 random rows of a fold"]


# --- probes and remedies -----------------------------------------------------------------------

NET = {"hidden_layer_sizes": (8, 4), "learning_rate": 1e-6, "max_epochs": 3, "batch_size": 500}


def test_the_strong_probe_changes_the_way_and_not_the_network():
    net = DLClassifier(**NET, optimizer="sgd", loss="mse", dropout=0.2, weight_decay=0.1)
    params = strong_params(find_subject(net), 1000, 2e-3)
    assert params["loss"] == "cross_entropy"
    assert params["max_epochs"] * -(-1000 // params["batch_size"]) >= 1500
    kept = {
        "hidden_layer_sizes",
        "activation",
        "normalization",
        "module",
        "dropout",
        "weight_decay",
    }
    assert not kept & set(params)
    DLClassifier().set_params(**params)


def test_the_wide_probe_contains_the_network_with_its_regularisation_lifted():
    wide = wide_params(find_subject(DLClassifier(**NET, dropout=0.3)), 1000, 2e-3)
    assert wide["hidden_layer_sizes"] == (64, 64)
    assert (wide["dropout"], wide["weight_decay"]) == (0.0, 0.0)
    linear = DLRegressor(hidden_layer_sizes=(), activation="identity")
    bent = wide_params(find_subject(linear), 1000, 2e-3)
    assert (bent["hidden_layer_sizes"], bent["activation"]) == ((64,), "relu")
    DLRegressor().set_params(**bent)


def linear_module(n_features, n_outputs):
    layer = nn.Linear(n_features, n_outputs)
    nn.init.constant_(layer.weight, 100.0)
    return nn.Sequential(layer)


def test_a_users_module_is_drawn_anew_and_widened_by_a_network_beside_it():
    wide = wide_params(find_subject(DLClassifier(module=linear_module)), 1000, 2e-3)
    X = torch.randn(7, 3)
    fresh, both = Reinitialised(linear_module)(3, 2), wide["module"](3, 2)
    assert float(fresh[0].weight.detach().abs().max()) < 1
    for p in both.second[2].parameters():
        nn.init.zeros_(p)
    assert torch.equal(both(X), both.first(X))


def test_a_sigmoid_net_and_a_tanh_net_are_one_class_of_functions():
    params = strong_params(find_subject(DLClassifier(activation="sigmoid")), 1000, 2e-3)
    assert params["activation"] == "tanh"
    x = torch.linspace(-5, 5, 11, dtype=torch.float64)
    assert torch.allclose(torch.sigmoid(2 * x), (1 + torch.tanh(x)) / 2)


def bench_of(n, clusters=None):
    """Half of n rows are learnt."""
    t = replace(table(np.zeros((n, 1)), np.arange(n) % 2), clusters=clusters)
    subject = find_subject(DLClassifier(**NET))
    return _Bench(subject, t, np.arange(n // 2), np.arange(n // 2, n), LogLoss(), 0.7)


@pytest.mark.parametrize(
    ("strong", "wide", "reference", "share"),
    [
        (0.3, 0.0, 0.3, 1.0),  # the same class reaches what others do: the rest is memory
        (0.1, 0.0, 0.3, 1.0),
        (0.6, 0.0, 0.2, 0.0),  # only the wider one does
        (0.4, 0.2, 0.0, 0.5),
        (0.7, 0.7, 0.2, 0.0),  # neither fits better
    ],
)
def test_the_gap_is_divided_down_to_the_reference_and_no_further(strong, wide, reference, share):
    ones = np.ones(50)
    bench = bench_of(100)
    fits = [SimpleNamespace(train_losses=x * ones) for x in (0.6, strong, wide)]
    assert _split(bench, *fits, reference * ones).optimization_share == pytest.approx(share)


def test_the_error_of_the_share_is_that_of_a_bootstrap():
    g = rng(3)
    a, strong, wide = (g.exponential(s, 300) for s in (1.0, 0.5, 0.1))
    bench = bench_of(600)
    fits = [SimpleNamespace(train_losses=losses) for losses in (a, strong, wide)]
    split = _split(bench, *fits, np.zeros(300))  # the rest of the gap is the wider network's
    rows = g.randint(300, size=(2000, 300))
    u, s, w = (losses[rows].mean(1) for losses in (a, strong, wide))
    assert split.stderr == pytest.approx(np.std((u - s) / (u - w)), rel=0.1)


@pytest.mark.parametrize("failed", [(), (1, 2)])
def test_training_that_fails_on_other_folds_counts_though_the_first_was_lucky(failed):
    X = rng().standard_normal((120, 2))
    t = table(X, X[:, 0] > 0)
    small = PLAIN | {"hidden_layer_sizes": (8,), "max_epochs": 60, "learning_rate": 0.03}
    net = DLClassifier(**small, batch_size=40, random_state=0)
    folds = make_folds(t, 3, task="classification", random_state=rng())
    own = fit_jobs(jobs_on(folds, net, t), LogLoss())
    for k in failed:
        own[k] = replace(own[k], train_losses=np.full_like(own[k].train_losses, math.log(2)))
    options = {"budget": "quick", "prior_loss": math.log(2)}
    found = run_probes(
        find_subject(net), own, t, folds, LogLoss(), np.full(len(t), 0.05), **options
    )
    expected = by_row(own, len(t)).fitted[own[0].train].mean()
    assert found.training == pytest.approx(expected)
    assert (found.split.optimization_share > 0.5) is bool(failed)


def test_a_slow_net_as_good_as_the_pool_is_asked_whether_it_could_predict_better():
    p = make_rings(240, 2, flip=0.05, random_state=0)
    t = table(p.X, p.y)
    slow = PLAIN | {"hidden_layer_sizes": (8,), "max_epochs": 5, "learning_rate": 1e-5}
    net = DLClassifier(**slow, batch_size=64, random_state=0)
    folds = make_folds(t, 2, task="classification", random_state=rng())
    fits = fit_jobs(jobs_on(folds, net, t), LogLoss())
    reference = by_row(fits, len(t)).held_out  # nobody in the pool does better
    options = {"budget": "quick", "prior_loss": math.log(2), "large": False, "margin": 0.02}
    found = run_probes(find_subject(net), fits, t, folds, LogLoss(), reference, **options)
    assert found.elsewhere.value > 3 * found.elsewhere.stderr > 0
    assert found.split.optimization_share == 1
    assert found.best_gain is found.elsewhere


@pytest.mark.parametrize(
    ("net", "n_strong", "wider"),
    [
        ({"hidden_layer_sizes": (32,)}, 1, False),
        ({"hidden_layer_sizes": (4,)}, 2, False),  # the second closes it
        ({"hidden_layer_sizes": (4,), "activation": "identity"}, 2, True),
    ],
)
def test_other_networks_are_tried_only_where_a_strong_optimizer_leaves_the_gap_open(
    net, n_strong, wider
):
    p = make_rings(400, 3, random_state=0)
    t = table(p.X, p.y)
    slow = PLAIN | {"max_epochs": 5, "learning_rate": 1e-5, "batch_size": 32, "random_state": 0}
    net = DLClassifier(**slow | net)
    folds = make_folds(t, 2, task="classification", random_state=rng())
    fits = fit_jobs(jobs_on(folds, net, t), LogLoss())
    options = {"budget": "standard", "prior_loss": math.log(3), "margin": 0.02}
    found = run_probes(find_subject(net), fits, t, folds, LogLoss(), np.full(400, 0.3), **options)
    assert found.n_strong == n_strong + 1  # and one on a few rows
    assert (found.n_wide > 0) is wider


@pytest.mark.parametrize(
    ("gap", "room", "beaten", "asked"),
    [(0.3, 0.5, False, True), (-0.01, 0.5, False, True), (-0.3, 0.05, False, True),
     (-0.3, 0.5, False, False), (-0.1, 0.5, False, False), (-0.1, 0.5, True, True),
     (-0.3, 0.5, True, False)],
)  # fmt: skip
def test_training_is_probed_near_the_reference_or_without_a_gap_to_new_rows(
    gap, room, beaten, asked
):
    training = Gap(gap, 0.01, 0.5, gap)
    estimation = Gap(0.2, 0.01, 1e-9, 0.22) if beaten else Gap(0.0, 0.01, 0.5, 0.02)
    assert may_be_large(training, estimation, room, 0.05) is asked


def brakes(gain=0.2, **changes):
    tried = (
        Brake({"early_stopping": True}, "stop early", Estimate(gain, 0.01)),
        Brake({"dropout": 0.3}, "raise dropout", Estimate(-0.1, 0.01)),
    )
    return Brakes(tried, 4, 100)


def test_brakes_leave_the_optimizer_alone_and_are_only_those_there_is_room_for():
    net = DLClassifier(**NET, optimizer="sgd", dropout=0.5, early_stopping=True)
    names = [set(params) for params, _ in brake_settings(find_subject(net))]
    assert names == [{"weight_decay"}, {"hidden_layer_sizes"}]
    adam = brake_settings(find_subject(DLClassifier(**NET, optimizer="adam", weight_decay=0.2)))
    assert {"optimizer": "adamw", "weight_decay": 2.0} in [params for params, _ in adam]


PRIOR_LOSS = 0.7


def noise_by_heart():
    X = rng().standard_normal((160, 4))
    y = (X[:, 0] > 0) ^ (rng(1).uniform(size=160) < 0.2)
    return table(X, y)


def test_the_best_brake_goes_on_to_the_other_folds_and_lowers_the_held_out_loss():
    t = noise_by_heart()
    wild = {"hidden_layer_sizes": (64,), "max_epochs": 60, "batch_size": 40, "random_state": 0}
    net = DLClassifier(**PLAIN | wild | {"optimizer": "adam", "learning_rate": 1e-2})
    subject = find_subject(net)
    folds = make_folds(t, 2, task="classification", random_state=rng())
    fits = fit_jobs(jobs_on(folds, net, t), LogLoss())
    beaten, unbeaten = Gap(0.2, 0.01, 1e-9, 0.22), Gap(0.0, 0.01, 0.5, 0.02)
    found = try_brakes(subject, fits, t, folds, LogLoss(), beaten, 0.1, PRIOR_LOSS)
    assert found.n_fits == FEW + 1
    assert (found.n_looks, found.n_rows) == (1, len(folds.splits[1][1]))
    assert found.best.gain.value > 2 * found.best.gain.stderr > 0
    assert found.best.gain.df < len(t) / 2  # only of the fold that had no part in choosing it
    once = try_brakes(subject, fits, t, folds, LogLoss(), beaten, 0.02, PRIOR_LOSS)
    assert (once.n_fits, once.n_looks) == (FEW, FEW)
    assert once.half is not None
    small = try_brakes(subject, fits, t, folds, LogLoss(), unbeaten, 0.02, PRIOR_LOSS)
    assert small.half is None


def test_a_brake_that_diverges_on_a_fold_gains_no_more_there_than_the_prior():
    t = table(rng().standard_normal((4, 1)), np.array([0, 1, 0, 1]))
    rows = np.arange(4)
    halves = [(rows[2:], rows[:2]), (rows[:2], rows[2:])]
    none = np.full(2, np.nan)
    before = [FoldFit(a, b, none, np.array([0.3, 0.4]), np.empty(0)) for a, b in halves]
    (a, b), (c, d) = halves
    better = FoldFit(a, b, none, np.array([0.1, 0.2]), np.empty(0))
    diverged = FoldFit(c, d, none, none, np.empty(0), failure="it diverged")
    gain = gain_on_held_out(before, [better, diverged], t, PRIOR_LOSS)
    assert gain.value == pytest.approx((0.2 + 0.35 - PRIOR_LOSS) / 2)


UNBEATEN, UNKNOWN = Gap(0.0, 0.05, 0.5, 0.08), Gap(0.05, 0.2, 0.4, 0.4)
BEATEN, FAR = Gap(0.2, 0.02, 1e-9, 0.23), Gap(0.5, 0.02, 1e-9, 0.53)


@pytest.mark.parametrize(
    ("gain", "gap", "again"),
    [
        (Estimate(0.02, 0.1), UNKNOWN, True),  # it may gain more than the margin of 0.1
        (Estimate(0.02, 0.01), UNKNOWN, False),  # it does not
        (Estimate(-0.3, 0.1), UNKNOWN, False),
        (Estimate(math.nan, math.nan), UNKNOWN, True),
        (Estimate(0.02, 0.1), UNBEATEN, False),  # no hope
        (Estimate(0.08, 0.1), UNBEATEN, True),
        (Estimate(0.08, 0.001), UNBEATEN, False),
        (Estimate(math.nan, math.nan), UNBEATEN, False),
        (Estimate(-0.3, 0.1), BEATEN, True),  # its gain is what decides
        (Estimate(0.3, 0.1), FAR, False),  # overfitting in any case
    ],
)
def test_a_brake_goes_on_to_other_folds_where_the_first_leaves_its_gain_open(gain, gap, again):
    assert brakes_module._open(gain, gap, 0.1, few=False) is again


def test_a_fold_of_few_rows_never_says_for_the_others_that_no_brake_helps():
    no_gain = Estimate(-0.3, 0.1)
    assert brakes_module._open(no_gain, UNKNOWN, 0.1, few=True)
    assert not brakes_module._open(no_gain, UNBEATEN, 0.1, few=True)


@pytest.mark.parametrize(("rate", "can"), [(1e-2, True), (1e-7, False)])
def test_few_rows_are_learnt_by_heart_by_settings_that_work(rate, can):
    t = noise_by_heart()
    net = {"hidden_layer_sizes": (64,), "max_epochs": 60, "batch_size": 40, "random_state": 0}
    subject = find_subject(DLClassifier(**PLAIN | net, learning_rate=rate))
    folds = make_folds(t, 2, task="classification", random_state=rng())
    own = fit_jobs(jobs_on(folds, subject.estimator, t), LogLoss())
    found = run_probes(
        subject, own, t, folds, LogLoss(), np.zeros(len(t)), budget="quick", prior_loss=0.69
    )
    assert found.by_heart.n_rows == 20
    assert (found.by_heart.loss < checks.BY_HEART) is can


def test_half_of_the_rows_and_few_of_them_are_drawn_from_the_fold_and_get_as_many_steps():
    t = noise_by_heart()
    subject = find_subject(DLClassifier(**NET | {"batch_size": 20}))
    job = Job(subject.estimator, t, np.arange(100), np.arange(100, 160))
    half, few = half_of(job, subject, rng()), few_rows(job, subject, rng())
    n_steps = subject.setting("max_epochs") * math.ceil(100 / subject.setting("batch_size"))
    for part, size in ((half, 50), (few, 25)):
        assert len(part.train) == size
        assert set(part.train) < set(job.train)
        assert (part.test == job.test).all()
        epochs, batch = (part.estimator.get_params()[k] for k in ("max_epochs", "batch_size"))
        assert epochs * math.ceil(size / batch) >= n_steps
    tiny = replace(job, train=np.arange(12))
    assert half_of(tiny, subject, rng()) is None
    assert few_rows(tiny, subject, rng()) is None


def decision(verdict, **probabilities):
    p = dict.fromkeys(Verdict, 0.0) | {Verdict(k): v for k, v in probabilities.items()}
    return Decision(Verdict(verdict), p, (), None)


def probes(gain=0.3):
    subject = find_subject(DLClassifier(**NET))
    strong, wide = strong_params(subject, 100, 1e-2), wide_params(subject, 100, 1e-2)
    e = Estimate(gain, 0.01)
    return Probes(
        0.6, 0.05, 0.1, math.nan, 0.0, Split(0.8, 0.01), strong, {}, wide, e, e, e, 100, 2, 2
    )


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: make_pipeline(StandardScaler(), e)])
def test_every_remedy_can_be_set_and_says_what_and_why(verdict, wrap):
    estimator = wrap(DLClassifier(**NET))
    codes = ["DL201", "DL203", "DL301"]
    remedies = find_remedies(
        find_subject(estimator), decision(verdict, optimization=1.0), codes, 100,
        probes=probes(), brakes=brakes(),
    )  # fmt: skip
    assert bool(remedies) == (verdict is not Verdict.GOOD)
    for remedy in remedies:
        assert remedy.action
        assert remedy.why
        estimator.set_params(**remedy.params)


def test_measured_remedies_come_first_and_harmful_ones_are_left_out():
    subject = find_subject(DLClassifier(**NET))
    helpful, harmful = (
        find_remedies(subject, decision("optimization"), ["DL203"], 100, probes=probes(g))
        for g in (0.3, -0.1)
    )
    assert helpful[0].gain == 0.3
    assert all(math.isnan(r.gain) for r in helpful[1:])
    assert all(math.isnan(r.gain) for r in harmful)


def test_a_gain_that_may_be_luck_comes_after_one_that_is_shown_and_says_so():
    subject = find_subject(DLClassifier(**NET))
    lucky = Brake({"dropout": 0.3}, "raise dropout", Estimate(0.9, 0.8))
    seen = Brakes((lucky, *brakes(0.2).tried), 3, 100)
    given = find_remedies(subject, decision("overfitting"), [], 100, brakes=seen)
    assert [r.gain for r in given[:2]] == [0.2, 0.9]
    assert [r.is_shown for r in given] == [True, False, *[False] * (len(given) - 2)]
    assert words.remedy_line(given[0]).endswith("measured gain 0.2 +- 0.01")
    assert words.remedy_line(given[1]).endswith("0.9 +- 0.8, not shown to be above zero")
    assert words.remedy_line(given[-1]).endswith("expected, not measured")


def advised(codes, verdict="optimization", **params):
    subject = find_subject(DLClassifier(**NET | params))
    return find_remedies(subject, decision(verdict), codes, 100)


@pytest.mark.parametrize(
    ("codes", "params", "remedy"),
    [
        (["DL201"], {}, {"learning_rate": 1e-7, "max_grad_norm": 1.0}),
        (["DL212"], {}, {"learning_rate": 1e-7}),
        (["DL213"], {}, {"learning_rate": 1e-5}),
        (["DL211"], {}, {"max_epochs": 12}),
        (["DL204"], {"schedule": None}, {"warmup": 0.1, "schedule": "cosine"}),
        (["DL215", "DL213"], {"max_grad_norm": 1e-3}, {"max_grad_norm": None}),
        (["DL216", "DL213"], {"schedule": "exponential"}, {"schedule": "cosine"}),
        (["DL207"], {}, {"activation": "gelu"}),
        (["DL208"], {"activation": "tanh"}, {"activation": "relu"}),
        (["DL209"], {}, {"normalization": "batch"}),
        ([], {"loss": "mse"}, {"loss": "cross_entropy"}),
        ([], {"optimizer": "sgd", "momentum": 0.0}, {"momentum": 0.9}),
    ],
)
def test_each_symptom_of_training_has_its_remedy(codes, params, remedy):
    assert remedy in [r.params for r in advised(codes, **params)]


def test_momentum_is_not_advised_where_there_is_some():
    assert not [r for r in advised([], optimizer="sgd") if "momentum" in r.params]  # None is 0.9


def test_what_keeps_steps_short_is_advised_on_before_the_rate():
    cut = advised(["DL213", "DL215"], max_grad_norm=1e-3)
    assert [r.params for r in cut[:2]] == [{"max_grad_norm": None}, {"learning_rate": 1e-5}]


def test_a_users_module_is_not_told_to_change_what_only_ours_has():
    given = advised(["DL207", "DL208", "DL209"], module=linear_module)
    assert not any({"activation", "normalization", "module"} & set(r.params) for r in given)
    assert any("reset_parameters" in r.action for r in given)


def test_bias_is_met_by_less_regularisation_and_by_more_layers():
    given = [r.params for r in advised([], "model_bias", dropout=0.5, activation="identity")]
    assert {"dropout": 0.0} in given
    assert {"activation": "relu"} in given


@pytest.mark.parametrize(
    ("sizes", "deeper"),
    [((), (64, 64)), ((2,), (64, 64)), ((128, 8), (128, 64, 128)), ((96,), (96, 96))],
)
def test_a_layer_is_added_to_a_network_without_a_bottleneck(sizes, deeper):
    given = advised([], "model_bias", hidden_layer_sizes=sizes)
    remedy = next(r for r in given if "add a layer" in r.action)
    assert remedy.params == {"hidden_layer_sizes": deeper}
    assert ("under 64 units" in remedy.action) == (bool(sizes) and min(sizes) < 64)


@pytest.mark.parametrize(
    ("codes", "lifted", "advised_off"), [([], 0.4, False), (["DL303"], 0.1, True), ([], None, True)]
)
def test_regularisation_lifted_in_vain_is_not_advised_on(codes, lifted, advised_off):
    subject = find_subject(DLClassifier(**NET | {"dropout": 0.5}))
    seen = None if lifted is None else replace(probes(0.1), lifted=lifted)
    given = find_remedies(subject, decision("model_bias"), codes, 100, probes=seen)
    assert ({"dropout": 0.0} in [r.params for r in given]) == advised_off


def test_a_probe_that_went_on_to_learn_noise_is_advised_with_an_early_stop():
    subject = find_subject(DLClassifier(**NET))
    remedies = find_remedies(subject, decision("optimization"), ["DL203"], 100, probes=probes(-0.1))
    first = next(r for r in remedies if "strong optimizer" in r.action)
    assert first.params["early_stopping"] is True
    assert "learn noise" in first.why
    assert math.isnan(first.gain)


def test_a_probe_whose_loss_on_new_rows_is_open_is_not_said_to_have_learnt_noise():
    subject = find_subject(DLClassifier(**NET))
    seen = replace(probes(), strong_gain=Estimate(-0.18, 0.81))
    given = find_remedies(subject, decision("optimization"), ["DL203"], 100, probes=seen)
    first = next(r for r in given if "strong optimizer" in r.action)
    assert first.params["early_stopping"] is True
    assert first.why.endswith("cost 0.18 +- 0.81 more without a stop")
    assert "noise" not in first.why


def test_what_a_probe_gains_on_rows_of_few_groups_has_the_error_of_the_groups():
    groups = np.repeat(np.arange(8), 25)
    bench = bench_of(200, clusters=groups)
    train, test = bench.train, bench.test
    g = rng()
    rise = g.standard_normal(8)[groups] + 0.1 * g.standard_normal(200)
    before, after = (
        SimpleNamespace(train_losses=a[train], test_losses=a[test]) for a in (3 + rise, 3 - rise)
    )
    expected = row_mean(2 * rise[test], np.ones(100), groups[test])
    assert bench.gain(before, after).stderr == pytest.approx(expected.stderr)
    assert expected.stderr > 3 * row_mean(2 * rise[test], np.ones(100)).stderr
    opt, cap = (SimpleNamespace(train_losses=np.full(100, x)) for x in (2.0, 1.0))
    apart = _split(bench, before, opt, cap, np.zeros(100))
    bench.table = replace(bench.table, clusters=None)
    assert apart.stderr > 3 * _split(bench, before, opt, cap, np.zeros(100)).stderr > 0


@pytest.mark.parametrize("shift", [None, "label shift", "covariate shift", "concept shift"])
def test_a_shift_is_met_by_weights_only_where_weights_can_help(shift):
    subject = find_subject(LogisticRegression())
    given = find_remedies(subject, decision("mismatch"), [], 100, shift=shift, has_test=True)
    does = {r.does for r in given} - {""}
    expected = {"label shift": {"prior correction"}, "concept shift": set()}
    assert does == expected.get(shift, {"importance weights"})


def test_an_inconclusive_verdict_advises_on_the_likeliest_cause_too():
    subject = find_subject(DLClassifier(**NET))
    remedies = find_remedies(subject, decision("inconclusive", overfitting=0.7, good=0.3), [], 100)
    assert any("early_stopping" in r.params for r in remedies)
    assert sum(r.action == "collect more rows" for r in remedies) == 1


def test_the_grid_holds_the_present_value_and_each_remedy():
    pipe = make_pipeline(StandardScaler(), DLClassifier(**NET))
    subject = find_subject(pipe)
    codes = ["DL202", "DL203"]
    remedies = find_remedies(subject, decision("optimization"), codes, 100, probes=probes())
    grid = param_grid(subject, remedies)
    assert grid["dlclassifier__learning_rate"] == [1e-6, 1e-2, 1e-5]
    assert grid["dlclassifier__max_epochs"][0] == 3
    GridSearchCV(pipe, grid)


def test_a_foreign_estimator_gets_advice_without_parameters():
    remedies = find_remedies(find_subject(LinearRegression()), decision("model_bias"), [], 100)
    assert remedies
    assert all(r.params == {} for r in remedies)


# --- checks: fires, does not fire, not applicable ----------------------------------------------


def outcome(rows, code):
    return next(r.outcome for r in rows if r.code == code)


FALLING = np.exp(-0.05 * np.arange(50))
FLAT = 0.1 + 0.01 * np.sin(np.arange(50))
NONE = Estimate(0.0, 0.0)


def probed(strong, wide, share, lifted=math.nan):
    split = Split(share, 0.0)
    return Probes(0.6, 0.05, strong, lifted, wide, split, {}, {}, {}, NONE, NONE, NONE, 9, 2, 2)


def remembering(loss):
    return replace(STRONG, by_heart=ByHeart(loss, 40))


def halved(rise):
    return replace(brakes(), half=Estimate(rise, 0.01), n_first=20)


STRONG = probed(0.1, 0.0, 0.9)
WIDE = probed(0.55, 0.0, 0.1)
FREED = probed(0.55, 0.0, 0.1, lifted=0.1)


def flow(**means):
    return checks.flow_checks(measured(**means), n_test=200, fits=5)


def symptoms(**changes):
    calm = Symptoms(1.0, 0.0, 0.5, 0.1, 0.1, 5.0, 0.5, {0.1: 0.0, 1.0: 0.0, 3.0: 0.0}, 100, 1,
                    0.5, 0.0)  # fmt: skip
    return replace(calm, **changes)


CHECKS = {
    "DL101": (lambda: flow(a=0.5), lambda: flow(a=0.1), None),
    "DL102": (lambda: flow(b=0.5), lambda: flow(b=0.1), None),
    "DL103": (lambda: flow(c=0.5), lambda: flow(c=0.1), lambda: flow()),
    "DL104": (
        lambda: flow(b=0.7, refs={"prior": 0.7, "linear": 0.7}, noise=0.01),
        lambda: flow(),
        None,
    ),
    "DL105": (lambda: flow(a=0.0), lambda: flow(a=0.1), None),
    "DL201": (
        lambda: [checks.divergence_check(1, 5, 100)],
        lambda: [checks.divergence_check(0, 5, 100)],
        None,
    ),
    "DL202": (
        lambda: [checks.still_falling_check([FALLING], 9, needed=True)],
        lambda: [checks.still_falling_check([FLAT], 9, needed=True)],
        lambda: [checks.still_falling_check([np.empty(0)], 9, needed=True)],
    ),
    "DL203": (
        lambda: checks.probe_checks(STRONG, 0.05, needed=True),
        lambda: checks.probe_checks(WIDE, 0.05, needed=True),
        lambda: checks.probe_checks(None, 0.05, needed=True),
    ),
    "DL301": (
        lambda: checks.probe_checks(WIDE, 0.05, needed=True),
        lambda: checks.probe_checks(STRONG, 0.05, needed=True),
        lambda: checks.probe_checks(STRONG, 0.05, needed=False),
    ),
    "DL303": (
        lambda: checks.probe_checks(FREED, 0.05, needed=True),
        lambda: checks.probe_checks(probed(0.55, 0.0, 0.1, lifted=0.5), 0.05, needed=True),
        lambda: checks.probe_checks(WIDE, 0.05, needed=True),
    ),
    "DL304": (
        lambda: [checks.brake_check(brakes(0.2), 0.05)],
        lambda: [checks.brake_check(brakes(0.02), 0.05)],
        lambda: [checks.brake_check(None, 0.05)],
    ),
    "DL214": (
        lambda: checks.probe_checks(remembering(0.9), 0.05, needed=True),
        lambda: checks.probe_checks(remembering(0.01), 0.05, needed=True),
        lambda: checks.probe_checks(STRONG, 0.05, needed=True),
    ),
    "DL305": (
        lambda: [checks.half_check(halved(0.2), 0.05)],
        lambda: [checks.half_check(halved(0.02), 0.05)],
        lambda: [checks.half_check(brakes(), 0.05)],
    ),
    **{
        code: (
            lambda code=code, bad=bad: symptom_checks(symptoms(**bad)),
            lambda: symptom_checks(symptoms()),
            lambda: symptom_checks(None),
        )
        for code, bad in {
            "DL204": {"rises": 2.0},
            "DL205": {"first_loss": 9.0},
            "DL206": {"gradient_left": 1e-5},
            "DL207": {"dead": 0.9},
            "DL208": {"saturated": 0.9},
            "DL209": {"layer_ratio": 1e5},
            "DL210": {"sharpness": 3.0},
            "DL211": {"continued": {0.1: 0.01, 1.0: 0.2, 3.0: 0.25}},
            "DL212": {"continued": {0.1: 0.3, 1.0: -0.5, 3.0: -2.0}},
            "DL213": {"continued": {0.1: 0.01, 1.0: 0.1, 3.0: 0.4}},
            "DL215": {"clipped": 50.0},
            "DL216": {"decayed": 0.8},
        }.items()
    },
    "DL401": (
        lambda: checks.class_checks(np.array(["a", "b"]), np.array(["a", "c"])),
        lambda: checks.class_checks(np.array(["a", "b"]), np.array(["a", "b"])),
        lambda: checks.class_checks(np.array(["a", "b"]), None),
    ),
}


@pytest.mark.parametrize("code", CHECKS)
def test_a_check_fires_where_it_should(code):
    assert outcome(CHECKS[code][0](), code) == "found"


@pytest.mark.parametrize("code", CHECKS)
def test_a_check_is_silent_where_it_should_be(code):
    assert outcome(CHECKS[code][1](), code) == "not found"


@pytest.mark.parametrize("code", [c for c in CHECKS if CHECKS[c][2]])
def test_a_check_that_cannot_be_made_is_not_applicable(code):
    assert outcome(CHECKS[code][2](), code) == "not applicable"


def test_the_checks_that_always_apply_are_those_of_every_diagnosis():
    always = {c for c in CHECKS if CHECKS[c][2] is None}
    assert always == {"DL101", "DL102", "DL104", "DL105", "DL201"}


def test_a_net_that_fits_well_is_not_asked_whether_it_still_falls():
    row = checks.still_falling_check([FALLING], 9, needed=False)
    assert row.outcome == "not applicable"


def test_a_gap_of_no_test_is_not_applicable():
    row = checks.gap_check("DL103", "?", None, 0.1, 0, 0)
    assert row.outcome == "not applicable"
    assert checks.gap_check("DL1", "?", Gap(1, 0.1, 0.0, 1.2), 0.1, 9, 5).outcome == "found"


# --- symptoms of a fitted network --------------------------------------------------------------


def examined(**params):
    X = rng().standard_normal((120, 3))
    t = table(X, (X[:, 0] > 0).astype(int))
    net = DLClassifier(**PLAIN | {"hidden_layer_sizes": (8,), "max_epochs": 8, "batch_size": 30,
                                  "random_state": 0} | params)  # fmt: skip
    pipe = make_pipeline(StandardScaler(), net)
    return symptoms_of(find_subject(pipe), pipe.fit(t.X, t.y), t, math.log(2))


def dead_module(n_features, n_outputs):
    first = nn.Linear(n_features, 8)
    nn.init.constant_(first.bias, -100.0)
    return nn.Sequential(first, nn.ReLU(), nn.Linear(8, n_outputs))


def saturated_module(n_features, n_outputs):
    first = nn.Linear(n_features, 8)
    nn.init.constant_(first.bias, 50.0)
    return nn.Sequential(first, nn.Sigmoid(), nn.Linear(8, n_outputs))


def test_dead_and_saturated_units_are_counted():
    assert examined(module=dead_module, learning_rate=1e-4).dead == 1
    assert examined(module=saturated_module, learning_rate=1e-4).saturated == 1
    healthy = examined(optimizer="adam", learning_rate=1e-2)
    assert healthy.dead < 0.5
    assert math.isnan(healthy.saturated)


def test_going_on_says_whether_the_rate_is_too_low_or_too_high():
    low = examined(optimizer="adam", learning_rate=1e-4).continued
    assert low[3.0] > low[1.0] > low[0.1] > 0
    high = examined(optimizer="adam", learning_rate=3.0).continued
    assert high[0.1] > max(high[1.0], high[3.0])


@pytest.mark.parametrize(
    ("falls", "is_found"),
    [
        ((1e-6, 1e-5, 3e-5), True),  # a thousand times too low: in proportion to the rate
        ((-1e-6, 1e-5, 3e-5), False),  # noise
        ((1e-5, 1e-5, 3e-5), False),
        ((0.001, 0.02, 0.025), False),  # it slows down: near its end
        ((0.0, 0.1, 0.4), True),  # large falls need not be in proportion
        ((0.0, -0.1, 0.4), True),
        ((0.0, 0.1, -0.4), False),
    ],
)
def test_a_rate_is_too_low_where_falls_are_large_or_grow_with_it(falls, is_found):
    seen = symptoms(continued=dict(zip((0.1, 1.0, 3.0), falls, strict=True)))
    assert (outcome(symptom_checks(seen), "DL213") == "found") is is_found


def test_a_rate_far_too_low_is_named_although_dropout_makes_the_loss_jump():
    seen = examined(optimizer="adam", learning_rate=1e-6, dropout=0.4, max_epochs=20)
    codes = {row.code for row in symptom_checks(seen) if row.outcome == "found"}
    assert {"DL204", "DL213"} <= codes  # it jumps, by noise
    assert cause(Verdict.OPTIMIZATION, codes) == "the learning rate is too low"
    remedies = [r.params for r in advised(sorted(codes))]
    assert remedies[0] == {"learning_rate": 1e-5}
    assert not any("warmup" in params for params in remedies)


def test_the_history_tells_of_clipping_and_of_a_rate_that_decays_too_soon():
    cut = examined(optimizer="sgd", momentum=0.0, learning_rate=0.1, max_grad_norm=1e-3)
    assert cut.clipped > 10
    assert math.isnan(examined(optimizer="adam", max_grad_norm=1e-3).clipped)  # steps are the same
    assert math.isnan(examined(optimizer="sgd").clipped)
    soon = examined(schedule="exponential", decay_factor=0.1, max_epochs=20)
    assert soon.decayed > 0.5
    assert examined(schedule="cosine", max_epochs=20).decayed < 0.2


def test_the_rate_times_the_sharpness_is_compared_with_the_limit_of_gradient_descent():
    assert stability_limit("sgd", 0.0) == 2
    assert stability_limit("sgd", None) == pytest.approx(3.8)
    assert math.isnan(stability_limit("adam", None))
    small = examined(optimizer="sgd", momentum=0.0, learning_rate=1e-3).sharpness
    assert 0 < small < 1


def test_rises_are_those_of_the_last_half_over_the_whole_fall():
    assert loss_rises(np.array([1.0, 0.9, 0.8, 0.5, 0.7, 0.5, 0.7])) == pytest.approx(0.4 / 0.5)
    assert loss_rises(np.exp(-np.arange(20.0))) == 0
    assert math.isnan(loss_rises(np.ones(3)))
