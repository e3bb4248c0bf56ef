"""The closer look: each check fires, does not fire, and says where it does not apply."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_dl import PLAIN, DLClassifier, DLRegressor, diagnose
from sklearn_dl.diagnosis.fold_fits import fit_jobs, jobs_on
from sklearn_dl.diagnosis.own_loss import find_aim, row_loss
from sklearn_dl.diagnosis.statistics import Estimate
from sklearn_dl.diagnosis.subject import find_subject
from sklearn_dl.diagnosis.symptoms import network_inside
from sklearn_dl.diagnosis.table import check_training_table, make_folds
from sklearn_dl.diagnosis.thorough import (
    _reference,
    optimizer_remedies,
    rate_check,
    resilience_checks,
    saddle_check,
    tried_checks,
)


def tabled(X, y, task="classification"):
    return check_training_table(X, y, task=task, groups=None)


def two_classes(n=200, seed=0):
    """Two classes apart by 2 sd along the first of three inputs."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.standard_normal((n, 3))
    X[:, 0] += 2 * y - 1
    return X, y


@pytest.fixture
def at_the_saddle():
    """y = x'W1 w2 with all weights at zero, where every gradient vanishes."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 2))
    y = X @ [1.0, -0.5] + 0.1 * rng.standard_normal(120)
    plain = PLAIN | {"hidden_layer_sizes": (2,), "activation": "identity", "optimizer": "sgd"}
    net = DLRegressor(**plain, learning_rate=0.05, max_epochs=20, random_state=0)
    trained = net.fit(X[:80], y[:80])
    stuck = DLRegressor(**net.get_params()).fit(X[:80], y[:80])
    stuck._state = {name: np.zeros_like(value) for name, value in stuck._state.items()}
    del stuck._module
    learnt, held_out = (tabled(X[rows], y[rows], "regression") for rows in (
        slice(80), slice(80, None)))  # fmt: skip
    loss = row_loss(find_aim(find_subject(net), y), learnt)
    return trained, stuck, learnt, held_out, loss


def test_a_saddle_is_found_and_its_escape_offered_for_its_measured_gain(at_the_saddle):
    _, stuck, learnt, held_out, loss = at_the_saddle
    found = saddle_check(
        stuck, network_inside(stuck, learnt), learnt, held_out, loss, reference=0.1, margin=0.05
    )
    assert found.evidence.outcome == "found"
    assert found.evidence.value > 0.5
    assert found.remedy.params == {}
    assert found.remedy.action.startswith("step off the saddle point")
    # going on without the step stays at the saddle, at the loss of the mean, about 1
    assert found.remedy.gain == pytest.approx(1, abs=0.4)
    assert (stuck.predict(held_out.X) == stuck.predict(held_out.X[:1])).all()  # not changed


def test_a_trained_network_stands_at_no_saddle_worth_escaping(at_the_saddle):
    trained, _, learnt, held_out, loss = at_the_saddle
    inside = network_inside(trained, learnt)
    found = saddle_check(trained, inside, learnt, held_out, loss, reference=0.0, margin=0.05)
    assert found.evidence.outcome == "not found"
    assert found.remedy is None


def test_the_reference_of_a_transformed_target_is_not_in_the_networks_units():
    seen = SimpleNamespace(reference=Estimate(0.3, 0.01))
    net = DLRegressor()
    assert _reference(find_subject(net), seen) == 0.3
    logs = TransformedTargetRegressor(net, func=np.log, inverse_func=np.exp)
    assert _reference(find_subject(logs), seen) == 0


def test_without_a_network_or_anything_to_gain_there_is_no_saddle_to_look_for(at_the_saddle):
    trained, _, learnt, held_out, loss = at_the_saddle
    inside = network_inside(trained, learnt)
    for network, reference in ((None, 0.1), (inside, 10.0)):
        found = saddle_check(trained, network, learnt, held_out, loss, reference, margin=0.05)
        assert found.evidence.outcome == "not applicable"


def test_a_learning_rate_far_too_small_is_found_and_a_good_one_is_not():
    X, y = two_classes()
    net = DLClassifier(**PLAIN | {"hidden_layer_sizes": (4,), "optimizer": "sgd"}, random_state=0)
    evidence, best = rate_check((net.set_params(learning_rate=1e-3), X, y), seed=0)
    assert evidence.outcome == "found"
    assert best > 3e-3
    evidence, best = rate_check((net.set_params(learning_rate=0.1), X, y), seed=0)
    assert evidence.outcome == "not found"
    assert best is None
    assert rate_check(None, seed=0)[0].outcome == "not applicable"


def test_only_what_the_network_lacks_is_tried():
    def codes(best_rate=None, **params):
        return set(optimizer_remedies(find_subject(DLClassifier(**params)), 200, best_rate))

    assert codes(optimizer="sgd", momentum=0.0, batch_size=64) == {"DL224", "DL225"}
    assert codes(optimizer="sgd", batch_size=16) == set()
    assert codes(optimizer="rmsprop", batch_size=8, loss="mse") == {"DL224", "DL226"}
    assert codes(optimizer="adam", batch_size=8, best_rate=0.1) == {"DL223"}


@pytest.fixture(scope="module")
def slow_learner():
    """Gradient descent without momentum, whose rate is ten times too small for its epochs."""
    X, y = two_classes(120)
    plain = PLAIN | {"hidden_layer_sizes": (), "optimizer": "sgd", "momentum": 0.0}
    net = DLClassifier(**plain, learning_rate=5e-3, batch_size=64, max_epochs=10, random_state=0)
    subject, table = find_subject(make_pipeline(StandardScaler(), net)), tabled(X, y)
    folds = make_folds(table, 3, task="classification", random_state=np.random.RandomState(0))
    loss = row_loss(find_aim(subject, table.y), table)
    fits = fit_jobs(jobs_on(folds, subject.estimator, table), loss)
    return subject, fits, table, folds, loss


def test_what_lowers_the_held_out_loss_on_all_folds_is_offered(slow_learner):
    found = {
        t.evidence.code: t
        for t in tried_checks(*slow_learner, margin=0.01, prior_loss=1.0, best_rate=0.1)
    }
    assert [found[code].evidence.outcome for code in sorted(found)] == [
        "found", "found", "found", "not applicable",
    ]  # fmt: skip
    momentum = found["DL224"]
    assert momentum.remedy.params == {"dlclassifier__momentum": 0.9}
    assert momentum.remedy.gain == momentum.evidence.value > 0.05
    assert momentum.evidence.fits == 3
    assert found["DL226"].remedy is None


def test_what_gains_less_than_matters_is_not_offered(slow_learner):
    found = tried_checks(*slow_learner, margin=10.0, prior_loss=1.0, best_rate=None)
    assert [t.evidence.outcome for t in found] == [
        "not applicable", "not found", "not found", "not applicable",
    ]  # fmt: skip
    assert all(t.remedy is None for t in found)


def test_a_tree_of_narrow_stripes_makes_no_sense_under_noise():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(600, 1))
    y = (np.sin(25 * X[:, 0]) > 0).astype(int)
    learnt, held_out = tabled(X[:400], y[:400]), tabled(X[400:], y[400:])
    stripes = DecisionTreeClassifier().fit(X[:400], y[:400])
    *_, silly = resilience_checks(stripes, learnt, held_out, seed=0)
    assert silly.code == "DL602"
    assert silly.outcome == "found"


def test_a_model_that_trusts_a_fragile_column_falls_behind_under_noise():
    # the class shows in a column of tiny spread beside an outlier's scale, and in a robust one
    rng = np.random.default_rng(0)
    y = np.arange(800) % 2
    robust = (2 * y - 1) + 0.5 * rng.standard_normal(800)
    X = np.column_stack([robust, y + 0.01 * rng.standard_normal(800)])
    learnt, held_out = tabled(X[:400], y[:400]), tabled(X[400:], y[400:])
    sure = make_pipeline(StandardScaler(), LogisticRegression(C=1e4)).fit(X[:400], y[:400])
    lead, _ = resilience_checks(sure, learnt, held_out, seed=0)
    assert lead.code == "DL601"
    assert lead.outcome == "found"
    assert lead.value > 0


def test_a_linear_model_is_as_resilient_as_itself_and_sparse_tables_do_not_apply():
    X, y = two_classes(400)
    learnt, held_out = tabled(X[:200], y[:200]), tabled(X[200:], y[200:])
    linear = LogisticRegression().fit(X[:200], y[:200])
    assert [e.outcome for e in resilience_checks(linear, learnt, held_out, seed=0)] == [
        "not found",
        "not found",
    ]
    thin = tabled(sparse.csr_array(X), y)
    for model, rows in ((linear, thin), (None, learnt)):
        assert {e.outcome for e in resilience_checks(model, rows, rows, seed=0)} == {
            "not applicable"
        }


CODES = {"DL221", "DL222", "DL223", "DL224", "DL225", "DL226", "DL601", "DL602"}


def test_the_closer_look_is_taken_with_the_thorough_budget_only():
    X, y = two_classes(90)
    model = LogisticRegression()
    thorough = diagnose(model, X, y, cv=2, budget="thorough", random_state=0).evidence
    outcomes = thorough.set_index("code")["outcome"]
    assert set(outcomes.index) >= CODES
    assert (outcomes[sorted(CODES - {"DL601", "DL602"})] == "not applicable").all()
    assert (outcomes[["DL601", "DL602"]] != "not applicable").all()
    standard = diagnose(model, X, y, cv=2, random_state=0).evidence
    assert not CODES & set(standard["code"])


@pytest.mark.slow
def test_a_network_without_momentum_is_offered_what_helps():
    X, y = two_classes(150)
    net = DLClassifier(
        **PLAIN | {"hidden_layer_sizes": (4,), "optimizer": "sgd", "momentum": 0.0},
        learning_rate=1e-2, max_epochs=10, random_state=0,
    )  # fmt: skip
    found = diagnose(net, X, y, cv=3, budget="thorough", random_state=0)
    offered = [remedy.params for remedy in found.remedies]
    assert {"momentum": 0.9} in offered
    assert all(r.gain > 0 for r in found.remedies if np.isfinite(r.gain))
