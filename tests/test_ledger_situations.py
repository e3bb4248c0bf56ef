"""The verdict that each situation must get, over several seeds."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.model_selection import TimeSeriesSplit
from sklearn.tree import DecisionTreeClassifier

from sklearn_dl import PLAIN, DLClassifier, DLRegressor, diagnose
from sklearn_dl.datasets import make_noisy_classes, make_pure_noise

NET = PLAIN | {
    "hidden_layer_sizes": (16,),
    "optimizer": "adam",
    "learning_rate": 1e-2,
    "batch_size": 64,
    "max_epochs": 25,
}
SEEDS = (0, pytest.param(1, marks=pytest.mark.slow))


@dataclass(frozen=True)
class Situation:
    """An estimator, its rows, and what must be said of them."""

    make: Callable
    verdicts: set
    says: str = ""
    found: set = field(default_factory=set)
    remedy: str = ""


def classifier(seed, **changes):
    return DLClassifier(**NET | {"random_state": seed} | changes)


def imbalanced(seed):
    g = np.random.RandomState(seed)
    y = (g.uniform(size=1200) < 0.1).astype(int)
    X = np.c_[y + g.standard_normal(1200), g.standard_normal(1200)]
    net = classifier(seed, hidden_layer_sizes=(), class_weight="balanced", max_epochs=40)
    return (net, X, y), {}


def quantile(seed):
    g = np.random.RandomState(seed)
    X = g.uniform(-1, 1, (900, 2))  # the quantile is linear in X, the mean is another line
    y = X[:, 0] + (1 + X[:, 0]) * g.exponential(size=900)
    net = DLRegressor(
        **NET | {"hidden_layer_sizes": (), "max_epochs": 80, "random_state": seed},
        loss="pinball",
        quantile=0.9,
    )
    return (net, X, y), {}


def floor(seed):
    p = make_noisy_classes(1500, 4, flip=0.2, random_state=seed)
    return (
        classifier(seed, hidden_layer_sizes=(8,), max_epochs=30, weight_decay=1e-2),
        p.X,
        p.y,
    ), {}


def memorised(seed):
    p = make_noisy_classes(300, 4, flip=0.2, random_state=seed)
    return (classifier(seed, hidden_layer_sizes=(128,), max_epochs=150), p.X, p.y), {}


def interpolating(seed):
    g = np.random.RandomState(seed)
    X = g.standard_normal((600, 2))
    y = np.sin(X[:, 0]) + X[:, 1] + 0.3 * g.standard_normal(600)
    return (ExtraTreesRegressor(200, random_state=seed), X, y), {}


def few_rows(seed):
    p = make_noisy_classes(40, 6, flip=0.1, random_state=seed)
    return (classifier(seed, hidden_layer_sizes=(32,), max_epochs=60), p.X, p.y), {}


def pure_noise(seed):
    p = make_pure_noise(800, 3, random_state=seed)
    return (classifier(seed, hidden_layer_sizes=(4,), max_epochs=5), p.X, p.y), {}


def new_groups(seed):
    g = np.random.RandomState(seed)
    group = np.repeat(np.arange(40), 10)
    offset, name = 1.5 * g.standard_normal(40)[group], g.standard_normal((40, 2))[group]
    X = np.c_[g.standard_normal((400, 3)), name]
    y = X[:, 0] + offset + 0.3 * g.standard_normal(400)
    return (RandomForestRegressor(50, random_state=seed), X, y), {"groups": group, "cv": 5}


def drift(seed):
    g = np.random.RandomState(seed)
    time = np.arange(400) / 400
    X = np.c_[time, g.standard_normal((400, 3))]
    y = X[:, 1] + 4 * time**2 + 0.3 * g.standard_normal(400)
    return (HistGradientBoostingRegressor(random_state=seed), X, y), {"cv": TimeSeriesSplit(4)}


def heavy_tails(seed):
    g = np.random.RandomState(seed)
    X = g.standard_normal((500, 3))
    y = np.exp(2 * X[:, 0] + g.standard_normal(500))
    return (HistGradientBoostingRegressor(random_state=seed), X, y), {}


def harmless_label_shift(seed):
    g = np.random.RandomState(seed)
    p = make_noisy_classes(5000, 3, flip=0.02, random_state=seed)
    rows = np.arange(2000, 5000)  # both classes are equally hard: nine tenths of one do no harm
    keep = rows[(p.y[rows] == 1) | (g.uniform(size=len(rows)) < 0.11)]
    stump = DecisionTreeClassifier(max_depth=1, random_state=seed)
    return (stump, p.X[:2000], p.y[:2000]), {"X_test": p.X[keep], "y_test": p.y[keep]}


SITUATIONS = {
    "imbalanced, class_weight balanced": Situation(imbalanced, {"good", "inconclusive"}),
    "quantile regression": Situation(quantile, {"good"}, "nobody could predict"),
    "label noise, net at the floor": Situation(
        floor, {"good"}, "what remains nobody could predict"
    ),
    "label noise, memorised": Situation(memorised, {"overfitting"}),
    "ranks well, overconfident": Situation(
        memorised, {"overfitting"}, "overconfidence", {"DL302"}, "calibrate"
    ),
    "interpolating, harmless gap": Situation(interpolating, {"good"}, found={"DL105"}),
    "40 rows": Situation(few_rows, {"overfitting", "inconclusive"}),
    "pure noise": Situation(pure_noise, {"no_signal"}),
    "new groups": Situation(new_groups, {"mismatch"}, "New groups", {"DL501"}, "collect rows of"),
    "time order with drift": Situation(drift, {"mismatch"}, "later times", {"DL501", "DL506"}),
    "heavy tails": Situation(
        heavy_tails, {"overfitting", "inconclusive"}, "1 % of the rows carry", {"DL106"}
    ),
    "harmless label shift": Situation(harmless_label_shift, {"good"}, found={"DL402"}),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SITUATIONS)
def test_each_situation_gets_its_verdict(name, seed):
    situation = SITUATIONS[name]
    arguments, options = situation.make(seed)
    options = {"cv": 3, "budget": "quick", "random_state": seed} | options
    d = diagnose(*arguments, **options)
    assert d.verdict in situation.verdicts
    assert situation.says in str(d)
    outcome = d.evidence.set_index("code")["outcome"]
    assert all(outcome[code] == "found" for code in situation.found)
    assert not situation.remedy or d.remedies[0].action.startswith(situation.remedy)
    last = d.to_dict()["losses"].get("test", d.to_dict()["losses"]["out_of_fold"])
    assert d.ledger["loss"].sum() == pytest.approx(last, abs=1e-9)
