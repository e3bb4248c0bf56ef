"""Everybody is judged by the estimator's own loss, and what carries or inflates it is said."""

import doctest
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, PoissonRegressor, QuantileRegressor, Ridge
from sklearn.metrics import (
    mean_absolute_error,
    mean_pinball_loss,
    mean_poisson_deviance,
    mean_squared_error,
)
from sklearn.tree import DecisionTreeClassifier

from sklearn_dl import DLClassifier, DLRegressor, diagnose
from sklearn_dl.datasets import make_noisy_classes, make_noisy_numbers
from sklearn_dl.diagnosis.checks import tail_checks
from sklearn_dl.diagnosis.findings import with_probes_of
from sklearn_dl.diagnosis.gaps import Gap
from sklearn_dl.diagnosis.own_loss import Aim, find_aim, row_loss
from sklearn_dl.diagnosis.quantiles import (
    LeafQuantileTrees,
    NeighbourQuantile,
    _quantile_by_leaf,
)
from sklearn_dl.diagnosis.reference_models import not_of
from sklearn_dl.diagnosis.rules import Findings, Verdict
from sklearn_dl.diagnosis.run import Run
from sklearn_dl.diagnosis.study import run_diagnosis
from sklearn_dl.diagnosis.subject import find_subject
from sklearn_dl.diagnosis.table import check_training_table, make_folds
from sklearn_dl.diagnosis.tails import Tail, heavy_tail
from sklearn_dl.diagnosis.temperature import tempered_losses

Y = np.random.RandomState(0).gamma(2.0, size=200)
X = np.c_[Y + 0.3 * np.random.RandomState(1).standard_normal(200), np.ones(200)]


@pytest.mark.parametrize(
    ("estimator", "kind", "quantile"),
    [
        (DLRegressor(), "squared", 0.5),
        (DLRegressor(loss="mae"), "absolute", 0.5),
        (DLRegressor(loss="huber"), "huber", 0.5),
        (DLRegressor(loss="pinball", quantile=0.9), "pinball", 0.9),
        (QuantileRegressor(quantile=0.2), "pinball", 0.2),
        (HistGradientBoostingRegressor(loss="quantile", quantile=0.3), "pinball", 0.3),
        (GradientBoostingRegressor(loss="quantile", alpha=0.7), "pinball", 0.7),
        (PoissonRegressor(), "poisson", 0.5),
        (Ridge(), "squared", 0.5),
        (DLClassifier(loss="mse"), "log", 0.5),
    ],
)
def test_the_loss_is_the_estimators_own(estimator, kind, quantile):
    aim = find_aim(find_subject(estimator), Y)
    assert (aim.kind, aim.quantile) == (kind, quantile)


def test_a_loss_that_cannot_be_used_is_said():
    assert "negative" in find_aim(find_subject(PoissonRegressor()), Y - 5).note
    assert "no likelihood" in find_aim(find_subject(DLClassifier(loss="mse")), Y).note
    assert "function" in find_aim(find_subject(DLRegressor(loss=lambda o, t: o - t)), Y).note


METRICS = {
    "absolute": mean_absolute_error,
    "pinball": lambda a, b: mean_pinball_loss(a, b, alpha=0.8),
    "poisson": mean_poisson_deviance,
}


@pytest.mark.parametrize("kind", METRICS)
def test_losses_are_scikit_learns_in_units_of_the_best_constant(kind):
    table = check_training_table(X, Y, task="regression", groups=None)
    loss = row_loss(Aim(kind, 0.8), table)
    constants = [*np.quantile(Y, np.linspace(0.01, 0.99, 99)).tolist(), Y.mean()]
    best = min(METRICS[kind](Y, np.full(200, c)) for c in constants)
    prediction = np.abs(X[:, 0]) + 0.01
    expected = METRICS[kind](Y, prediction) / best
    assert loss.of(prediction, Y).mean() == pytest.approx(expected, rel=0.01)


SLOW = [pytest.param(loss, marks=pytest.mark.slow) for loss in ("huber", "pinball")]


@pytest.mark.parametrize("loss", ["mae", *SLOW])
def test_a_net_is_compared_with_references_that_minimise_its_loss(loss):
    net = DLRegressor(loss=loss, quantile=0.9, max_epochs=5, random_state=0)
    d = diagnose(net, X, Y, cv=2, budget="quick", random_state=0)
    losses = d.to_dict()["losses"]
    assert losses["prior"] == pytest.approx(1, abs=0.1)
    assert losses["reference"] < 0.6


def test_a_metric_stands_beside_every_entry_and_adds_up():
    p = make_noisy_classes(200, 3, random_state=0)
    d = diagnose(LogisticRegression(), p.X, p.y, cv=3, scoring="accuracy", budget="quick")
    costs = d.ledger["score"].drop("mismatch")
    assert costs["reference"] - costs[1:].sum() == pytest.approx(
        d.to_dict()["scores"]["out_of_fold"]
    )


# --- temperature: fires, does not fire, not applicable -----------------------------------------


def folds_of(logits, y, k=4):
    p = np.exp(log_softmax(logits, axis=1))
    parts = np.arange(len(y)) % k
    return [(np.flatnonzero(parts == j), p[parts == j], np.array([0, 1])) for j in range(k)]


@pytest.mark.parametrize(("inflated", "gains"), [(5.0, True), (1.0, False)])
def test_a_temperature_takes_overconfidence_away_and_nothing_else(inflated, gains):
    g = np.random.RandomState(0)
    z = g.standard_normal(4000)
    y = (g.uniform(size=4000) < 1 / (1 + np.exp(-2 * z))).astype(int)
    logits = inflated * np.c_[-z, z]
    parts = folds_of(logits, y)
    after = tempered_losses(parts, y, np.ones(4000)).mean()
    before = -log_softmax(logits, axis=1)[np.arange(4000), y].mean()
    honest = -log_softmax(np.c_[-z, z], axis=1)[np.arange(4000), y].mean()
    assert after == pytest.approx(honest, abs=2e-3)
    assert (before - after > 0.1) == gains
    assert tempered_losses(parts[:1], y, np.ones(4000)) is None


def test_a_network_that_is_not_sure_enough_is_not_overconfident():
    g = np.random.RandomState(0)
    z = g.standard_normal(4000)
    y = (g.uniform(size=4000) < 1 / (1 + np.exp(-2 * z))).astype(int)
    logits = 0.2 * np.c_[-z, z]
    before = -log_softmax(logits, axis=1)[np.arange(4000), y]
    after = tempered_losses(folds_of(logits, y), y, np.ones(4000))
    assert after == pytest.approx(before, abs=1e-4)


def outcome(d, code):
    return d.evidence.set_index("code").loc[code, "outcome"]


def test_overconfidence_is_not_asked_of_numbers_or_where_there_is_no_gap():
    p = make_noisy_numbers(120, 3, random_state=0)
    assert outcome(diagnose(Ridge(), p.X, p.y, cv=2, budget="quick"), "DL302") == "not applicable"


# --- heavy tails -------------------------------------------------------------------------------


def test_the_share_of_the_largest_hundredth_is_counted():
    losses = np.ones(1000)
    losses[:10] = 99.0
    tail = heavy_tail(losses, np.ones(1000))
    assert tail.share == pytest.approx(0.5)
    assert tail.heavy
    assert not heavy_tail(np.ones(1000), np.ones(1000)).heavy
    assert heavy_tail(np.ones(50), np.ones(50)).n_rows == 0


def test_heavy_tails_are_found_and_the_verdict_is_asked_again():
    g = np.random.RandomState(0)
    x = g.standard_normal((400, 2))
    heavy = diagnose(Ridge(), x, np.exp(2.5 * x[:, 0] + g.standard_normal(400)), cv=2,
                     budget="quick", random_state=0)  # fmt: skip
    assert outcome(heavy, "DL106") == "found"
    assert outcome(heavy, "DL107") != "not applicable"
    light = diagnose(Ridge(), x, x[:, 0] + g.standard_normal(400), cv=2, budget="quick")
    assert (outcome(light, "DL106"), outcome(light, "DL107")) == ("not found", "not applicable")


def test_gains_of_probes_keep_their_size_in_margins_under_another_loss():
    gap, braking = Gap(0.0, 0.1, 0.5, 0.2), Gap(3.0, 1.0, 0.01, 5.0)
    squared = Findings(1.0, gap, gap, None, gap, 9.0, 0.8, 0.1, 0.0, 99, braking=braking)
    absolute = Findings(0.1, gap, gap, None, gap, 1.0, None, None, 0.0, 99)
    both = with_probes_of(squared, absolute)
    assert both.braking == Gap(pytest.approx(0.3), pytest.approx(0.1), 0.01, pytest.approx(0.5))
    assert (both.margin, both.optimization_share, both.calibration) == (0.1, 0.8, None)


# --- Ctrl-C ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["fitting the references", "comparing the tables", "probing"])
def test_ctrl_c_gives_what_is_known_so_far(at):
    seen = []

    def impatient(what, done, total):
        seen.append(what)
        if what == at and (at != "fitting the references" or seen.count(at) == 2):
            raise KeyboardInterrupt

    p = make_noisy_classes(100, 3, random_state=0)
    d = run_diagnosis(
        LogisticRegression(C=1e-4), p.X, p.y, X_test=p.X[:50], y_test=p.y[:50], sample_weight=None,
        groups=None, cv=2, scoring=None, budget="quick", random_state=0, listener=impatient,
    )  # fmt: skip
    assert d.verdict in set(Verdict)
    assert "interrupted" in str(d)
    assert outcome(d, "DL402") == "not applicable"


def test_ctrl_c_during_the_first_fits_gives_the_folds_that_are_done():
    seen = []

    def impatient(what, done, total):
        seen.append(what)
        if seen.count("fitting the folds") == 2:
            raise KeyboardInterrupt

    p = make_noisy_classes(150, 3, random_state=0)
    d = run_diagnosis(
        DecisionTreeClassifier(random_state=0), p.X, p.y, X_test=None, y_test=None,
        sample_weight=None, groups=None, cv=5, scoring="accuracy", budget="standard",
        random_state=0, listener=impatient,
    )  # fmt: skip
    assert "of 5 folds were fitted" in str(d)
    assert "references are only" in str(d)
    assert d.ledger["loss"].notna()["estimation"]
    assert outcome(d, "DL506") == "found"


def test_ctrl_c_before_anything_is_known_ends_the_diagnosis():
    class Impatient(DecisionTreeClassifier):
        def fit(self, X, y, sample_weight=None):
            raise KeyboardInterrupt

    p = make_noisy_classes(60, 3, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        diagnose(Impatient(), p.X, p.y, cv=2)


def heavy_tailed(seed, n=300):
    g = np.random.RandomState(seed)
    x = g.standard_normal((n, 2))
    return x, np.exp(2 * x[:, 0] + 0.8 * g.standard_normal(n))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_positive_heavy_tailed_target_is_also_judged_on_its_log(seed):
    # On the log the target is linear in X, and Ridge is as good as anybody.
    d = diagnose(Ridge(), *heavy_tailed(seed), cv=5, random_state=0)
    o = d.evidence.set_index("code")["outcome"]
    assert o["DL106"] == "found"
    assert d.verdict != "good"
    assert o["DL108"] == "found"
    assert "log of the target the verdict is good" in str(d)


def test_the_log_of_a_target_can_be_learnt_as_badly_as_the_target_itself():
    # What probes found of the network is taken over: else no log could be an optimization failure.
    X, y = heavy_tailed(0, 120)
    t = check_training_table(X, y, task="regression", groups=None)
    folds = make_folds(t, 2, task="regression", random_state=np.random.RandomState(0))
    aim = Aim("squared")
    run = Run(find_subject(Ridge(1e6)), t, None, folds, aim, None, "standard", 0, None, [])
    gap = Gap(0.5, 0.1, 0.0, 0.7)
    findings = Findings(0.01, gap, gap, None, gap, 1.0, 0.9, 0.0, 0.0, 120)
    assert run.on_log_target(findings) == "optimization"
    assert run.on_log_target(replace(findings, optimization_share=0.1)) == "model_bias"


@pytest.mark.parametrize("reason", ["negative", "log already", "quick", "light"])
def test_the_log_is_not_asked_where_it_cannot_be(reason):
    X, y = heavy_tailed(0, 150)
    model, budget = Ridge(), "standard"
    if reason == "negative":
        y = y - 0.5
    if reason == "log already":
        model = TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp)
    if reason == "quick":
        budget = "quick"
    if reason == "light":
        y = np.log(y) - np.log(y).min() + 1
    d = diagnose(model, X, y, cv=2, budget=budget, random_state=0)
    assert outcome(d, "DL108") == "not applicable"


@pytest.mark.parametrize(
    ("holds", "outcomes"),
    [(True, 2 * ("not found",)), (False, ("found", "found")), (None, 2 * ("not applicable",))],
)  # fmt: skip
def test_whether_the_verdict_holds_on_other_scales_is_evidence(holds, outcomes):
    tail = Tail(0.5, 200, None, holds, None, holds)
    rows = {e.code: e.outcome for e in tail_checks(tail)}
    assert (rows["DL107"], rows["DL108"]) == outcomes
    assert {e.outcome for e in tail_checks(None)} == {"not applicable"}


# --- references of the user's loss -------------------------------------------------------------


@pytest.mark.parametrize("q", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("make", [NeighbourQuantile, LeafQuantileTrees])
def test_neighbours_and_leaves_predict_the_quantile(make, q):
    g = np.random.RandomState(0)
    x = g.uniform(size=(4000, 1))
    y = x[:, 0] + g.exponential(size=4000)
    size = {"n_neighbors": 80} if make is NeighbourQuantile else {"min_samples_leaf": 80}
    grid = np.linspace(0.1, 0.9, 9)[:, None]
    truth = grid[:, 0] - np.log(1 - q)
    predicted = make(q, **size).fit(x, y).predict(grid)
    # Standard error of the quantile of 80 exponentials, sqrt(q / (1 - q) / 80); three of them.
    assert np.abs(predicted - truth).max() < 3.3 * np.sqrt(q / (1 - q) / 80) + 0.05


def test_leaf_quantiles_count_weights_as_repeated_rows():
    g = np.random.RandomState(1)
    x, y, w = g.uniform(size=(60, 2)), g.uniform(size=60), g.randint(1, 4, size=60)
    leaf = g.randint(3, size=60)
    weighted = _quantile_by_leaf(leaf, 3, y, w.astype(float), 0.7)
    for k in range(3):
        repeated = np.repeat(y[leaf == k], w[leaf == k])
        assert weighted[k] == np.quantile(repeated, 0.7, method="inverted_cdf")
    assert LeafQuantileTrees(0.7, 5, 0).fit(x, y, w).predict(x).shape == (60,)


def test_a_reference_that_drops_out_for_the_loss_is_said():
    pinball = Aim("pinball", 0.9)
    assert "linear left out" in not_of(pinball, 5000)[0]
    assert not_of(pinball, 500) == not_of(Aim("squared"), 5000) == []
    assert "squared error" in not_of(Aim("huber"), 500)[0]


# --- the page ----------------------------------------------------------------------------------


def test_the_page_on_the_ledger_shows_what_it_prints():
    page = Path(__file__).resolve().parents[1] / "docs" / "ledger.md"
    if not page.exists():
        pytest.skip("the documentation is not here")
    blocks = re.findall(r"^```\{doctest\}\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    example = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "page", None, None)
    assert example.examples
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example).failed == 0


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_a_transformed_target_is_judged_in_its_own_units(loss):
    X, y = heavy_tailed(0, 150)
    inner = HistGradientBoostingRegressor(loss=loss, random_state=0)
    model = TransformedTargetRegressor(inner, func=np.log, inverse_func=np.exp)
    d = diagnose(model, X, y, cv=2, budget="quick", random_state=0)
    fits = d._study.fits
    metric = mean_absolute_error if loss == "absolute_error" else mean_squared_error
    expected = []
    for fit in fits:
        fitted = clone(d._study.estimator).fit(X[fit.train], y[fit.train])
        expected.append(metric(y[fit.test], fitted.predict(X[fit.test])))
    constant = np.median(y) if loss == "absolute_error" else np.mean(y)
    unit = metric(y, np.full(len(y), constant))
    assert d.to_dict()["losses"]["out_of_fold"] == pytest.approx(np.mean(expected) / unit)
    assert "all are judged in the units of y" in str(d)
