"""What moved between training and test rows: the test has its size, and the shares their names."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeRegressor

from sklearn_dl import diagnose
from sklearn_dl.datasets import make_noisy_numbers, make_shifted
from sklearn_dl.diagnosis.shift import explain, importance_weights, two_sample_test


def rng(seed=0):
    return np.random.RandomState(seed)


def tables(g, n=60, move=0.0):
    X = g.standard_normal((2 * n, 4))
    X[n:, 0] += move
    return pd.DataFrame(X), np.arange(2 * n) >= n


def test_the_two_sample_test_has_its_size():
    g, draws = rng(3), 100
    found = sum(two_sample_test(*tables(g), g).p_value <= 0.05 for _ in range(draws))
    low, high = stats.binom.interval(0.999, draws, 0.05)
    assert low <= found <= high


def test_the_two_sample_test_sees_a_move_and_stops_early_where_there_is_none():
    g = rng(1)
    moved = two_sample_test(*tables(g, move=1.5), g)
    assert moved.p_value <= 0.01
    assert moved.auc > 0.7
    still = [two_sample_test(*tables(g), g).n_permutations for _ in range(10)]
    assert np.median(still) < 100


def test_a_change_of_spread_is_seen_too():
    g = rng(2)
    frame, is_test = tables(g, n=150)
    frame.loc[is_test] *= 2
    assert two_sample_test(frame, is_test, g).p_value <= 0.05


def test_rows_drawn_again_and_again_are_no_shift():
    g, found = rng(4), 0
    for _ in range(30):
        pool = g.standard_normal((60, 4))
        frame = pd.DataFrame(np.vstack([g.standard_normal((60, 4)), pool[g.randint(60, size=400)]]))
        found += two_sample_test(frame, np.arange(460) >= 60, g).p_value <= 0.05
    assert found <= stats.binom.ppf(0.999, 30, 0.05)


def test_rows_of_a_group_are_no_independent_evidence():
    g, found = rng(5), 0
    for _ in range(30):
        centre = np.repeat(g.standard_normal((24, 4)), 10, axis=0)
        frame = pd.DataFrame(centre + 0.01 * g.standard_normal((240, 4)))
        groups = np.arange(240) // 10
        found += two_sample_test(frame, np.arange(240) >= 120, g, groups).p_value <= 0.05
    assert found <= stats.binom.ppf(0.999, 30, 0.05)


def test_copies_of_training_rows_are_counted():
    g = rng(6)
    X = g.standard_normal((100, 3))
    frame = pd.DataFrame(np.vstack([X, X[:25], g.standard_normal((25, 3))]))
    assert two_sample_test(frame, np.arange(150) >= 100, g).copies == 0.5


def test_columns_of_text_and_sparse_tables_are_compared():
    g = rng(7)
    is_test = np.arange(200) >= 100
    text = pd.DataFrame({"a": np.where(is_test & (g.uniform(size=200) < 0.6), "u", "v")})
    assert two_sample_test(text.astype(object), is_test, g).p_value <= 0.05
    dense = g.binomial(1, 0.3, (200, 20)).astype(float)
    dense[is_test, :5] = 1
    assert two_sample_test(sparse.csr_array(dense), is_test, g).p_value <= 0.05


def test_weights_of_a_moved_table_reach_its_mean():
    g = rng(8)
    frame, is_test = tables(g, n=1500, move=0.5)
    w = importance_weights(frame, is_test, 0)
    x = frame[0].to_numpy()
    assert np.average(x[~is_test], weights=w) == pytest.approx(x[is_test].mean(), abs=0.12)
    assert w.mean() == pytest.approx(1, abs=0.1)


def test_a_pure_label_shift_is_explained_wholly_by_the_classes():
    g = rng(9)
    y, y_test = g.randint(2, size=3000), (g.uniform(size=3000) < 0.9).astype(int)
    by_class = np.array([0.1, 0.5])
    b, c = (by_class[v] + 0.05 * g.standard_normal(3000) for v in (y, y_test))
    ones = np.ones(3000)
    e = explain(b, c, (ones, ones), ones, (y, y_test), g)
    assert e.name == "label shift"
    assert e.label.low < 1 < e.label.high
    assert e.concept.value == pytest.approx(0, abs=0.1)


NAMES = {"covariate": "DL404", "label": "DL403", "concept": "DL405"}
SHARES = set(NAMES.values())


def quick(model, X, y, **options):
    return diagnose(model, X, y, **{"cv": 3, "budget": "quick", "random_state": 0} | options)


def outcomes(d):
    return d.evidence.set_index("code")["outcome"]


@pytest.mark.parametrize(
    ("kind", "seed"),
    [("covariate", 1), ("concept", 1), ("label", 1)]
    + [
        pytest.param(k, s, marks=pytest.mark.slow) for k in ("covariate", "concept") for s in (2, 3)
    ],
)
def test_each_shift_is_named_by_its_share(kind, seed):
    p = make_shifted(kind, 800, 3, n_test=800, random_state=seed)
    # Features that bend, so that the model is right on both sides of the shift.
    X, X_test = (np.c_[x, x[:, 0] * x[:, 1], np.sign(x[:, :2])] for x in (p.X, p.X_test))
    d = quick(LogisticRegression(), X, p.y, X_test=X_test, y_test=p.y_test)
    assert d.verdict == "mismatch"
    values = d.evidence.set_index("code")["value"]
    assert max(SHARES, key=lambda code: values[code]) == NAMES[kind]
    assert "Of C - B" in str(d)


def test_the_shares_have_intervals_and_the_rows_they_rest_on_are_counted():
    p = make_shifted("covariate", 800, 3, n_test=800, random_state=1)
    d = quick(LogisticRegression(), p.X, p.y, X_test=p.X_test, y_test=p.y_test)
    rows = d.evidence.set_index("code")
    known = [code for code in sorted(SHARES) if rows["outcome"][code] != "not applicable"]
    inside = rows.loc[known]
    assert (inside["ci_low"] <= inside["value"]).all()
    assert (inside["value"] <= inside["ci_high"]).all()
    assert rows["outcome"]["DL407"] == "not found"
    assert "95 % interval" in str(d)
    assert "count as" in str(d)


@pytest.mark.parametrize("move", [3, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_test_inputs_that_training_hardly_met_are_unsupported(move, seed):
    g = rng(seed)
    X, X_test = g.standard_normal((300, 3)), g.standard_normal((300, 3)) + np.array([move, 0, 0])
    y, y_test = (1.5 * np.abs(x[:, 0]) + 0.3 * g.standard_normal(300) for x in (X, X_test))
    d = quick(DecisionTreeRegressor(min_samples_leaf=5), X, y, X_test=X_test, y_test=y_test, cv=2)
    o = outcomes(d)
    assert (o["DL407"], o["DL403"]) == ("found", "not applicable")
    assert "hardly met in training" in str(d)
    assert o["DL405"] == "not found"  # nobody knows the relation out there
    assert [r.action for r in d.remedies] == ["collect rows like the test rows"]


def test_test_rows_that_are_training_rows_are_found():
    p = make_shifted("none", 300, 4, n_test=300, random_state=1)
    copied = np.vstack([p.X[:60], p.X_test[:60]])
    labels = np.concatenate([p.y[:60], p.y_test[:60]])
    o = outcomes(quick(LogisticRegression(), p.X, p.y, X_test=copied, y_test=labels))
    assert o["DL406"] == "found"


def test_what_needs_test_rows_is_not_applicable_without_them():
    p = make_shifted("none", 200, 4, n_test=10, random_state=1)
    o = outcomes(quick(LogisticRegression(), p.X, p.y))
    assert {o[f"DL40{k}"] for k in range(1, 8)} == {"not applicable"}


@pytest.mark.parametrize("seed", range(4))
def test_a_harmful_label_shift_is_named(seed):
    g = rng(seed)  # one class is hard, and the test rows are mostly of it
    y = (g.uniform(size=900) < 0.2).astype(int)
    y_test = (g.uniform(size=900) < 0.8).astype(int)
    X, X_test = (
        np.c_[np.where(v == 1, 0.5 * g.standard_normal(900), 2 + 0.3 * g.standard_normal(900)),
              g.standard_normal(900)]
        for v in (y, y_test)
    )  # fmt: skip
    wrong, wrong_test = (g.uniform(size=900) < np.where(v == 1, 0.3, 0.0) for v in (y, y_test))
    three, three_test = np.where(wrong, 2, y), np.where(wrong_test, 2, y_test)
    d = quick(LogisticRegression(), X, three, X_test=X_test, y_test=three_test)
    rows = d.evidence.set_index("code")
    assert d.verdict == "mismatch"
    assert (rows["outcome"]["DL403"], rows["outcome"]["DL405"]) == ("found", "not found")
    assert rows["ci_low"]["DL403"] < 1 < rows["ci_high"]["DL403"] + 0.3


def test_without_a_gap_nothing_is_explained():
    p = make_shifted("none", 400, 4, n_test=600, random_state=1)
    o = outcomes(quick(LogisticRegression(), p.X, p.y, X_test=p.X_test, y_test=p.y_test))
    assert o["DL402"] == o["DL406"] == "not found"
    assert {o[c] for c in SHARES} == {"not applicable"}


def test_test_rows_without_labels_tell_of_x_alone():
    p = make_shifted("covariate", 300, 3, n_test=300, random_state=1)
    d = quick(LogisticRegression(), p.X, p.y, X_test=p.X_test)
    o = outcomes(d)
    assert o["DL402"] == "found"
    assert o["DL103"] == "not applicable"
    assert "cannot be certified" in str(d)
    assert np.isnan(d.ledger.loc["mismatch", "loss"])
    assert outcomes(quick(LogisticRegression(), p.X, p.y))["DL402"] == "not applicable"


def test_numbers_shift_too_and_have_no_class_frequencies():
    p = make_noisy_numbers(300, 3, noise=0.1, random_state=0)
    d = quick(Ridge(), p.X[:150], p.y[:150], X_test=p.X[150:], y_test=p.y[150:] + 3)
    assert d.verdict == "mismatch"
    assert outcomes(d)["DL405"] == "found"
