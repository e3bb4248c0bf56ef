"""What is true of a planted case: which intervention closes which gap, measured.

Nothing here comes from the package's diagnosis. Stage by stage: while the network fits its own
rows worse than another model predicts fresh ones, the question is whether the same function class
(its regularisation kept) can be trained to fit them, or only a larger or freer one; then whether
anything lowers the loss on thousands of fresh rows; then whether learning from rows like the test
rows closes what these cost more. Gains below half a margin are nothing, above one and a half
something, and between them either answer is right.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from planted import Case, OwnInit
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.parallel import Parallel, delayed

from sklearn_dl import batched_fits

SEEDS = (11, 12)  # beside the case's own, or for strong restarts
STEPS = 1200  # at least, for whoever is trained strongly
LOW, HIGH = 0.5, 1.5  # in margins: below is nothing, above is something
ACTIVATIONS = {torch.nn.Sigmoid: "sigmoid", torch.nn.ReLU: "relu", torch.nn.Tanh: "tanh"}

Fit = tuple[Any, pd.DataFrame, Any, list[tuple[pd.DataFrame, Any]]]


class Judge:
    """Mean losses in the units of the diagnosis, with the case's own class weights."""

    def __init__(self, case: Case) -> None:
        self.classify = case.task == "classification"
        self.balanced = case.params.get("class_weight") == "balanced"
        self.y = case.y
        self.prior = self._prior()

    def weights(self, y: Any) -> Any:
        if not self.balanced:
            return np.ones(len(y))
        classes = np.unique(self.y)
        table = dict(zip(classes, compute_sample_weight("balanced", self.y, indices=None)[
            [int(np.flatnonzero(self.y == c)[0]) for c in classes]], strict=True))  # fmt: skip
        return np.array([table.get(label, 1.0) for label in y])

    def _prior(self) -> float:
        if not self.classify:
            return 1.0
        w = self.weights(self.y)
        p = np.array([w[self.y == c].sum() for c in np.unique(self.y)]) / w.sum()
        return float(-(p * np.log(p)).sum())

    def prior_on(self, y: Any) -> float:
        """Loss of the constant model of the training rows on these: the scale of other losses."""
        if not self.classify:
            return float(np.mean((y - np.mean(self.y)) ** 2) / np.var(self.y))
        w = self.weights(self.y)
        share = {c: w[self.y == c].sum() / w.sum() for c in np.unique(self.y)}
        p = np.array([share.get(label, 0.0) for label in y])
        return float(np.average(-np.log(np.maximum(p, 1e-6)), weights=self.weights(y)))

    def __call__(self, model: Any, X: pd.DataFrame, y: Any) -> float:
        return float(np.average(self.rows(model, X, y), weights=self.weights(y)))

    def rows(self, model: Any, X: pd.DataFrame, y: Any) -> Any:
        if not self.classify:
            return (model.predict(X) - y) ** 2 / np.var(self.y)
        p = model.predict_proba(X)
        at = {c: k for k, c in enumerate(model.classes_)}
        hit = np.array([p[i, at[c]] if c in at else 0.0 for i, c in enumerate(y)])
        return -np.log(np.maximum(hit, 1e-6))


def run(fits: Sequence[Fit], judge: Judge, *, rows: bool = False) -> list[list[Any]]:
    """Losses of each fit on each of its tables; a fit that diverged is worth the prior.

    Mean losses, or with ``rows`` those of each row times its weight.
    """

    def one(model: Any, X: pd.DataFrame, y: Any, evals: list[Any]) -> list[Any]:
        try:
            model = clone(model).fit(X, y)
            losses = [judge.rows(model, *table) for table in evals]
        except (FloatingPointError, ValueError) as error:
            if not (isinstance(error, FloatingPointError) or "NaN" in str(error)):
                raise
            losses = [np.full(len(table[1]), judge.prior) for table in evals]
        found = []
        for values, (_, target) in zip(losses, evals, strict=True):
            weights = judge.weights(target)
            values = np.where(np.isfinite(values), values, judge.prior)
            values = values * weights / weights.mean()
            found.append(values if rows else float(values.mean()))
        return found

    with warnings.catch_warnings(), batched_fits():
        warnings.simplefilter("ignore")
        return Parallel()(delayed(one)(*fit) for fit in fits)


def references(case: Case) -> list[Any]:
    """Models of other kinds, to know what is possible."""
    text = [c for c in case.X.columns if case.X[c].dtype.kind not in "fiu"]
    numbers = [c for c in case.X.columns if c not in text]
    classify = case.task == "classification"
    hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=25, sparse_output=False
    )
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers), (hot, text)
    )
    weight = {"class_weight": case.params.get("class_weight")} if classify else {}
    models = (
        [LogisticRegression(max_iter=300, **weight),
         HistGradientBoostingClassifier(max_leaf_nodes=12, max_iter=40, random_state=0, **weight),
         ExtraTreesClassifier(100, min_samples_leaf=2, random_state=0, **weight)]
        if classify
        else [RidgeCV(np.logspace(-2, 4, 7)),
              HistGradientBoostingRegressor(max_leaf_nodes=12, max_iter=40, random_state=0),
              ExtraTreesRegressor(100, min_samples_leaf=2, random_state=0)]
    )  # fmt: skip
    return [make_pipeline(prepare, model) for model in models]


_POOLS: dict[str, list[float]] = {}


def _pool(case: Case, judge: Judge, tables: list[Any]) -> list[float]:
    """Losses of the other models on fresh rows; the same rows need them once."""
    key = joblib.hash((case.X, case.y, tables, judge.balanced))
    if key not in _POOLS:
        losses = run([(r, case.X, case.y, tables) for r in references(case)], judge)
        _POOLS[key] = np.mean(losses, axis=1).tolist()
    return _POOLS[key]


_LUCK: dict[str, float] = {}


def luck(case: Case, judge: Judge) -> float:
    """How much more the rows to learn cost than fresh ones, for a model that learnt neither.

    It is the best of the other models, fitted to as many rows of the reserve. A training loss is
    to be compared with what others reach on fresh rows, and a few hundred rows, or a few far ones
    among thousands, may be harder than others by more than a margin.
    """
    n = len(case.X)
    learn, fresh = (case.X, case.y), (case.X_fresh, case.y_fresh)
    key = joblib.hash((learn, fresh, judge.balanced))
    if key not in _LUCK:
        others = case.X_pool.iloc[:n], case.y_pool[:n]
        losses = run([(r, *others, [learn, fresh]) for r in references(case)], judge)
        on_learnt, on_fresh = min(losses, key=lambda pair: pair[1])
        _LUCK[key] = on_learnt - on_fresh
    return _LUCK[key]


def strongly(case: Case, rate: float, **changes: Any) -> dict[str, Any]:
    """The same function class and regularisation, another way to its weights."""
    p = case.params
    steps_an_epoch = max(1, len(case.X) // 64)
    epochs = max(int(p["max_epochs"]), -(-STEPS // steps_an_epoch))
    new = {
        "optimizer": "adamw" if p["optimizer"] == "adamw" else "adam", "learning_rate": rate,
        "momentum": None, "schedule": "cosine", "warmup": 0.05, "max_grad_norm": 1.0,
        "batch_size": 64, "max_epochs": min(epochs, 400), "early_stopping": False,
    }  # fmt: skip
    if p["preprocessing"] is None:
        new["preprocessing"] = "standard"
    if isinstance(p["module"], OwnInit):
        kind = ACTIVATIONS[p["module"].activation]
        sizes = p["module"].widths
        new |= {"module": "mlp", "hidden_layer_sizes": sizes, "activation": kind}
    if new.get("activation", p["activation"]) == "sigmoid":
        new["activation"] = "tanh"  # sigmoid(x) = (1 + tanh(x / 2)) / 2: the same class
    return new | changes


def sizes_of(case: Case) -> tuple[int, ...]:
    module = case.params["module"]
    return module.widths if isinstance(module, OwnInit) else case.params["hidden_layer_sizes"]


def same_class(case: Case) -> list[dict[str, Any]]:
    """Restarts of the same class; a deep network contains the shallower ones."""
    sizes = sizes_of(case)
    seeds = (*SEEDS, 13, 14, 15) if sizes and min(sizes) <= 3 else SEEDS[:1]
    tried = [
        strongly(case, rate, random_state=seed) for rate in (1e-2, 3e-3, 5e-4) for seed in seeds
    ]
    if len(sizes) > 2 and min(sizes) >= 8:
        tried += [strongly(case, r, hidden_layer_sizes=sizes[:1], random_state=1)
                  for r in (1e-2, 3e-3)]  # fmt: skip
    return tried


def freer_class(case: Case) -> list[dict[str, Any]]:
    """No regularisation, and four times as wide."""
    sizes = tuple(max(4 * h, 64) for h in sizes_of(case)) or (64,)
    activation = case.params["activation"]
    bends = "relu" if activation in ("identity", "sigmoid") else activation
    free = {"weight_decay": 0.0, "dropout": 0.0, "module": "mlp", "optimizer": "adam"}
    if case.task == "classification":
        free["label_smoothing"] = 0.0
    return [
        strongly(case, rate, **free, hidden_layer_sizes=sizes, activation=bends, random_state=1)
        for rate in (1e-2, 2e-3)
    ]


def braked(case: Case) -> dict[str, dict[str, Any]]:
    """One brake each, the optimizer and its steps as they were."""
    p = case.params
    decay = max(0.3, 3 * p["weight_decay"]) if p["optimizer"] in ("adam", "adamw") else 1e-2
    optimizer = {"adam": "adamw"}.get(p["optimizer"], p["optimizer"])
    found = {
        "early stopping": {"early_stopping": True, "validation_fraction": 0.15},
        "weight decay": {"weight_decay": decay, "optimizer": optimizer},
        "more weight decay": {"weight_decay": 10 * decay, "optimizer": optimizer},
    }
    if not isinstance(p["module"], OwnInit) and p["hidden_layer_sizes"]:
        found["dropout"] = {"dropout": min(0.6, p["dropout"] + 0.3)}
        half = tuple(max(1, h // 4) for h in p["hidden_layer_sizes"])
        found["smaller"] = {"hidden_layer_sizes": half}
    return found


def _seeds(case: Case) -> tuple[int, int]:
    """The network in question is that of its own seed; one more shows how it varies."""
    return int(case.params["random_state"]), SEEDS[0]


def measure(case: Case) -> dict[str, Any]:
    """Losses, gains by intervention, and the set of right verdicts."""
    judge = Judge(case)
    half = len(case.X_fresh) // 2
    learn, fresh = (case.X, case.y), (case.X_fresh, case.y_fresh)
    choose = (case.X_fresh.iloc[:half], case.y_fresh[:half])
    confirm = (case.X_fresh.iloc[half:], case.y_fresh[half:])
    tables = [learn, choose, confirm] + (
        [] if case.X_test is None else [(case.X_test, case.y_test)]
    )
    own = [(case.estimator(random_state=s), *learn, tables) for s in _seeds(case)]
    losses = np.array(run(own, judge))
    harder = luck(case, judge)  # training losses are given as if on fresh rows
    a, b1, b2 = losses[:, :3].mean(0) - [harder, 0, 0]
    b = (b1 + b2) / 2
    pool = np.array(_pool(case, judge, [choose, confirm]))
    prior = judge.prior_on(
        case.y_fresh
    )  # rows of their own luck: that of the training rows differs
    f = float(min(pool.min(), b, prior))
    out: dict[str, Any] = {
        "prior": prior, "A": a, "B": b, "refs": pool.tolist(), "gains": {},
        "spread": float(losses[:, 0].std()), "luck": harder,
    }  # fmt: skip
    out["C"] = float(losses[:, 3].mean()) if case.X_test is not None else None
    margin = max(0.05 * (prior - f), 0.01)
    if a - f > LOW * margin:
        for name, configs in (
            ("optimization", same_class(case)),
            ("model_bias", freer_class(case)),
        ):
            fits = [(case.estimator(**c), *learn, [learn, fresh]) for c in configs]
            done = np.array(run(fits, judge))
            out["A_" + name] = float(done[:, 0].min()) - harder
            f = min(f, float(done[:, 1].min()))  # anything trained here may be the best known
    margin = max(0.05 * (prior - f), 0.01)
    out |= {"F": f, "margin": margin}
    if a - f < 3 * margin:
        out["gains"] |= _variance(case, judge, learn, choose, confirm)
    if out["C"] is not None:
        X, y = case.X_target, case.y_target
        n = len(case.X)
        target = run([(case.estimator(random_state=s), X.iloc[:n], y[:n], tables[3:])
                      for s in _seeds(case)], judge)  # fmt: skip
        out["gains"]["target rows"] = out["C"] - float(np.mean(target))
    return out | {"right": right_verdicts(out)}


def _variance(case: Case, judge: Judge, learn: Any, choose: Any, confirm: Any) -> dict[str, float]:
    """Gains on fresh rows; ``unsure`` is the standard error of the best brake's, by row."""
    brakes, seeds = braked(case), _seeds(case)
    fits: list[Fit] = [
        (case.estimator(**c, random_state=s), *learn, [choose, confirm])
        for c in ({}, *brakes.values()) for s in seeds
    ]  # fmt: skip
    X = pd.concat([case.X, case.X_pool.iloc[: 3 * len(case.X)]], ignore_index=True)
    y = np.concatenate([case.y, case.y_pool[: 3 * len(case.X)]])
    epochs = max(1, round(case.params["max_epochs"] * len(case.X) / len(X)))
    fits += [(case.estimator(max_epochs=epochs, random_state=s), X, y, [choose, confirm])
             for s in seeds]  # fmt: skip
    done = run(fits, judge, rows=True)
    mean = [
        [np.mean([done[k + j][half] for j in range(len(seeds))], axis=0) for half in (0, 1)]
        for k in range(0, len(done), len(seeds))
    ]
    own, held, more = mean[0], mean[1:-1], mean[-1]
    gains = {
        name: float((own[1] - pair[1]).mean()) for name, pair in zip(brakes, held, strict=True)
    }
    best = min(range(len(held)), key=lambda k: held[k][0].mean())  # chosen on one half only
    difference = own[1] - held[best][1]
    gains["regularised"] = float(difference.mean())
    gains["unsure"] = float(difference.std() / len(difference) ** 0.5)
    gains["more rows"] = float(np.mean([(own[k] - more[k]).mean() for k in (0, 1)]))
    return gains


def right_verdicts(t: dict[str, Any]) -> list[str]:
    """All verdicts that what was measured allows; one only where the case is decisive."""
    m, f, held_back = t["margin"], t["F"], _surely_held_back(t)
    best = min(f, t["B"] - held_back)  # whoever was trained here may be the best known
    large, over = t["A"] - f, t["B"] - max(t["A"], best)
    shift = 0.0 if t["C"] is None else t["C"] - t["B"]
    if t["prior"] - best < max(0.05 * t["prior"], 0.02) and shift < LOW * m and large < HIGH * m:
        sure = t["prior"] - best < 0.5 * max(0.05 * t["prior"], 0.02)
        # A network that a brake improves is not healthy, though there be nothing to learn.
        over = {"overfitting"} if held_back > HIGH * m else set()
        return sorted(({"no_signal"} if sure else {"good", "inconclusive", "no_signal"}) | over)
    first: set[str] = set()
    if large > LOW * m:
        closed = (t["A"] - max(t["A_optimization"], f)) / large
        wider = (max(t["A_optimization"], f) - max(t["A_model_bias"], f)) / large
        first |= {"optimization"} if closed >= 0.35 else set()
        first |= {"model_bias"} if closed <= 0.65 else set()
        if max(closed, wider) < 0.35:  # neither: what is possible is possible elsewhere only
            first |= {"optimization", "model_bias", "inconclusive"}
    moved: set[str] = {"mismatch"} if shift > LOW * m else set()
    helps = t["gains"].get("target rows", 0.0) >= 0.5 * shift
    if large > HIGH * m:
        return _weigh(first, large, moved, shift, helps, m)
    second: set[str] = set()
    braked, rows = t["gains"].get("regularised", 0.0), t["gains"].get("more rows", 0.0)
    unsure = t["gains"].get("unsure", 0.0)
    if (over > 2 * m and max(rows, braked) >= 0.5 * over) or braked > HIGH * m:
        second = {"overfitting"}
        if max(braked, rows) < 2 * unsure:  # the gain may be that of a few rows
            second |= {"good", "inconclusive"}
    elif over > m or braked > LOW * m:
        second = {"overfitting", "good", "inconclusive"}
    allowed = second or {"good"}
    if large > LOW * m:
        allowed |= first | {"good", "inconclusive"}
    return _weigh(allowed, max(over, braked, large), moved, shift, helps, m)


def _surely_held_back(t: dict[str, Any]) -> float:
    """Gain of the best brake on fresh rows, 0 where it may be that of a few rows."""
    gain = t["gains"].get("regularised", 0.0)
    return gain if gain > max(0.0, 2 * t["gains"].get("unsure", 0.0)) else 0.0


def _weigh(
    first: set[str], size: float, moved: set[str], shift: float, helps: bool, m: float
) -> list[str]:
    """The larger of two causes; both where they are alike."""
    if not moved:
        return sorted(first)
    if shift < HIGH * m:
        return sorted(first | moved)
    if first == {"good"}:
        return ["mismatch"] if helps else ["good", "mismatch"]
    if shift > 1.5 * size:
        return ["mismatch"] if helps else sorted(first | moved)
    return sorted(first) if size > 1.5 * shift else sorted(first | moved)
