"""Does the ledger keep what it promises? Simulations in which the truth is known.

Prints, and exits with 1 where a target is missed:

* coverage of the 95 % intervals of the ledger's entries: 90 to 99 %;
* size of the two-sample test at 0.05: 0.03 to 0.07;
* how often `good` is said of nets that are over 2m above the reference, with 40 rows: under 5 %.

    python benchmarks/ledger.py [--draws 400] [--fits 100] [--store seen.json]

Twenty-five minutes on one thread. With ``--store`` every part that is done is kept in that file and
not repeated; parts are named by what is drawn, so that changed settings are drawn anew.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from sklearn_dl import PLAIN, DLClassifier, diagnose
from sklearn_dl.datasets import make_noisy_classes
from sklearn_dl.diagnosis.fold_fits import by_row, fit_one, jobs_on, training_by_fold
from sklearn_dl.diagnosis.ledger import Refits, build_ledger, measure
from sklearn_dl.diagnosis.row_losses import LogLoss, SquaredError
from sklearn_dl.diagnosis.shift import two_sample_test
from sklearn_dl.diagnosis.splits import clusters_of, hold_inside
from sklearn_dl.diagnosis.table import Folds, check_training_table

COVERAGE, SIZE, WRONGLY_GOOD = (0.90, 0.99), (0.03, 0.07), 0.05
FOLDS = 5
FRESH = 3000  # rows on which a risk is measured; their noise is known and not drawn


class WithoutOne(RegressorMixin, BaseEstimator):
    """Least squares that does not see the second column: the best of a class that is too small."""

    def fit(self, X, y):
        self.model_ = LinearRegression().fit(np.delete(X, 1, axis=1), y)
        return self

    def predict(self, X):
        return self.model_.predict(np.delete(X, 1, axis=1))


@dataclass(frozen=True)
class Setting:
    """What is drawn, and what is fitted to it.

    ``kind`` says how rows come: ``plain``; ``test`` (the target of test rows lies one higher);
    ``groups`` (an offset a group, which two columns name); ``time`` (the target climbs);
    ``classes``.
    """

    own: Any
    rows: int = 300
    features: int = 10
    kind: str = "plain"
    noise: str = "normal"
    group_size: int = 5
    unequal: bool = False
    references: tuple[Any, ...] = (LinearRegression(),)


NOISE: dict[str, Callable] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "exponential": lambda rng, n: rng.exponential(size=n) - 1,
    "t5": lambda rng, n: rng.standard_t(5, size=n) * math.sqrt(3 / 5),
}


class World:
    """Where rows come from: inputs and the mean of the target, whose noise has variance one."""

    def __init__(self, setting: Setting, rng: np.random.RandomState) -> None:
        self.setting, self.rng = setting, rng
        n = setting.rows
        self.label = np.arange(n)  # the group, or the place in time, of each row
        if setting.kind == "groups":
            mean = setting.group_size
            count = n // mean
            sizes = np.full(count, mean)
            if setting.unequal:
                sizes = np.maximum(3, np.round(mean * rng.exponential(size=count))).astype(int)
            self.label = np.repeat(np.arange(count), sizes)
            self.meet_groups(count)

    def meet_groups(self, count: int) -> None:
        self.offset = self.rng.standard_normal(count)
        self.name = 3 * self.rng.standard_normal((count, 2))

    def inputs(self, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and means of rows with these groups or places."""
        X = self.rng.standard_normal((len(label), self.setting.features))
        if self.setting.kind == "groups":
            X = np.hstack([X[:, :3], self.name[label]])
        mean = X[:, 0] + 0.5 * X[:, 1]
        if self.setting.kind == "groups":
            mean = mean + self.offset[label]
        if self.setting.kind == "time":
            place = label / self.setting.rows
            X[:, 2], mean = place, mean + 2 * place**2
        return X, mean

    def targets(self, mean: np.ndarray) -> np.ndarray:
        if self.setting.kind == "classes":
            return (self.rng.uniform(size=len(mean)) < chance(mean)).astype(int)
        return mean + NOISE[self.setting.noise](self.rng, len(mean))


def chance(mean: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-mean))


def risk(setting: Setting, models: list[Any], X: np.ndarray, mean: np.ndarray) -> float:
    """Expected loss, over the noise of the target, of models on such rows."""
    if setting.kind == "classes":
        p = chance(mean)
        logs = [np.log(np.maximum(m.predict_proba(X), 1e-6)) for m in models]
        return float(np.mean([-(1 - p) @ q[:, 0] - p @ q[:, 1] for q in logs])) / len(mean)
    return 1 + float(np.mean([np.square(m.predict(X) - mean).mean() for m in models]))


def folds_of(setting: Setting, world: World, rng: np.random.RandomState) -> Folds:
    n = len(world.label)
    if setting.kind == "time":
        splits, kind = list(TimeSeriesSplit(FOLDS).split(np.empty((n, 1)))), "ordered"
    elif setting.kind == "groups":
        part, kind = rng.permutation(world.label.max() + 1)[world.label] % FOLDS, "grouped"
        splits = [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(FOLDS)]
    else:
        splits = list(KFold(FOLDS, shuffle=True, random_state=rng).split(np.empty((n, 1))))
        return Folds(tuple(splits))
    splits, inside = hold_inside(splits, kind, world.label if kind == "grouped" else None, rng)
    return Folds(tuple(splits), kind=kind, inside=inside)


def one_ledger(setting: Setting, rng: np.random.RandomState) -> tuple[pd.DataFrame, dict, bool]:
    """The ledger of one data set, the risks of the very models fitted, and whether A is above F."""
    # One function, as the measurement and its truth are of the same fits.
    classify = setting.kind == "classes"
    world = World(setting, rng)
    X, mean = world.inputs(world.label)
    y, n = world.targets(mean), len(mean)
    groups = world.label if setting.kind == "groups" else None
    task = "classification" if classify else "regression"
    table = check_training_table(X, y, task=task, groups=groups)
    folds = folds_of(setting, world, rng)
    extra, lift = None, float(setting.kind == "test")
    if lift:
        X_test, mean_test = world.inputs(np.zeros(n, int))
        extra = check_training_table(X_test, world.targets(mean_test + 1), task=task, groups=None)
    loss = LogLoss() if classify else SquaredError(1.0)
    prior = DummyClassifier() if classify else DummyRegressor()
    models = {"own": setting.own, "prior": prior}
    models |= {f"reference {k}": m for k, m in enumerate(setting.references)}
    fits = {
        name: [fit_one(job, loss) for job in jobs_on(folds, model, table, extra=extra)]
        for name, model in models.items()
    }
    rows = {name: by_row(f, n) for name, f in fits.items()}
    own, within, ones = rows.pop("own"), bool(folds.inside), np.ones(n)
    judged = folds.inside if within else [b for _, b in folds.splits]
    learnt = training_by_fold(fits["own"], ones)
    measured = measure(
        own.fitted, own.inside if within else own.held_out,
        {k: r.inside if within else r.held_out for k, r in rows.items()}, ones, prior="prior",
        test_over_train=float(
            np.mean([len(j) / len(a) for j, (a, _) in zip(judged, folds.splits, strict=True)])
        ),
        test=own.extra if lift else None, test_weights=np.ones(n) if lift else None,
        later=own.held_out if within else None,
        clusters=clusters_of(folds.kind, table.groups, n),
        refits=None if learnt is None else Refits(*learnt),
        same_groups=within and folds.kind == "grouped",
    )  # fmt: skip
    truth = truths(setting, world, table, folds, models, lift)
    return build_ledger(measured, None), truth, measured.training_gap.value > 0


def truths(setting, world, table, folds, models, lift) -> dict[str, float]:
    """Risks of own and reference models, fitted again, on fresh rows of the right kind."""

    def over_folds(name: str, labels: list[np.ndarray], lift: float = 0.0) -> float:
        risks = []
        for (train, _), label in zip(folds.splits, labels, strict=True):
            model = clone(models[name]).fit(table.X[train], table.y[train])
            X, mean = world.inputs(label)
            risks.append(risk(setting, [model], X, mean + lift))
        return float(np.mean(risks))

    rng, rows = world.rng, folds.inside or [b for _, b in folds.splits]
    # rows of the groups or the period that were learnt; where rows are alike, any rows
    alike = [world.label[rng.choice(r, FRESH)] for r in rows]
    risks = {name: over_folds(name, alike) for name in models}
    own, truth = risks["own"], {"reference": min(risks.values())}  # F is the lowest of them all
    truth["estimation"] = own - truth["reference"]
    if lift:
        truth["mismatch"] = over_folds("own", alike, lift) - own
    if setting.kind == "time":
        later = [world.label[rng.choice(b, FRESH)] for _, b in folds.splits]
        truth["mismatch"] = over_folds("own", later) - own
    if setting.kind == "groups":
        world.meet_groups(FRESH)
        truth["mismatch"] = over_folds("own", [np.arange(FRESH)] * FOLDS) - own
    return truth


ALIKE = (LinearRegression(), Ridge(1.0), Ridge(5.0), Ridge(10.0), Ridge(20.0))
LOGISTIC = (LogisticRegression(),)
SETTINGS = {
    "too simple": Setting(WithoutOne()),
    "too simple, 7 rows a column": Setting(WithoutOne(), rows=150, features=20),
    "over-regularised": Setting(Ridge(300.0)),
    "over-regularised, 60 rows": Setting(Ridge(60.0), rows=60, features=5),
    "over-regularised classes": Setting(
        LogisticRegression(C=0.005), features=5, kind="classes", rows=400, references=LOGISTIC
    ),
    "overfitted tree": Setting(DecisionTreeRegressor(min_samples_leaf=3, random_state=0)),
    "skewed noise": Setting(WithoutOne(), rows=200, noise="exponential"),
    "heavy tails, best of five alike": Setting(
        KNeighborsRegressor(10), noise="t5", rows=200, references=ALIKE
    ),
    "shifted test rows": Setting(Ridge(300.0), kind="test"),
    "shifted test rows, 100": Setting(LinearRegression(), kind="test", rows=100, features=5),
    "60 new groups": Setting(KNeighborsRegressor(5), kind="groups"),
    "60 unequal new groups": Setting(
        DecisionTreeRegressor(min_samples_leaf=5, random_state=0), kind="groups", unequal=True
    ),
    "20 new groups": Setting(KNeighborsRegressor(5), kind="groups", group_size=15),
    "later times": Setting(DecisionTreeRegressor(min_samples_leaf=10, random_state=0), kind="time"),
}


def coverage(name: str, draws: int) -> list[tuple]:
    """Share of the draws whose interval holds the truth, by entry.

    The truth of a held-out loss is the risk of the very models fitted (Bayle et al. 2020: what
    cross-validation estimates); that of an entry with a training loss in it, which has no risk,
    is the mean over all draws.
    """
    rng = np.random.RandomState(0)
    drawn = [one_ledger(SETTINGS[name], rng) for _ in range(draws)]
    large = np.mean([above for _, _, above in drawn])
    lines = []
    for entry in ("reference", "approximation", "estimation", "mismatch"):
        loss = np.array([book.loc[entry, "loss"] for book, _, _ in drawn])
        low, high = (
            np.array([book.loc[entry, c] for book, _, _ in drawn]) for c in ("ci_low", "ci_high")
        )
        clipped = entry == "approximation" and large < 0.99  # often zero by definition
        mixed = entry == "estimation" and 0.01 < large < 0.99  # B - A here, B - F there
        if np.isnan(loss).all() or clipped or mixed or np.abs(loss).max() < 1e-12:
            continue
        known = entry in drawn[0][1] and not (entry == "estimation" and large > 0.5)
        truth = np.array([t[entry] if known else loss.mean() for _, t, _ in drawn])
        hit = float(((low <= truth) & (truth <= high)).mean())
        bias, half = float((loss - truth).mean()), float(np.median(high - low)) / 2
        lines.append((name, entry, float(truth.mean()), bias, half, hit))
    return lines


def two_sample(draws: int, n: int, *, move: float, groups: bool = False) -> float:
    """How often the test says that two tables differ."""
    rng, found = np.random.RandomState(1), 0
    for _ in range(draws):
        X = rng.standard_normal((2 * n, 10))
        is_test = np.arange(2 * n) >= n
        X[is_test, 0] += move
        label = None
        if groups:  # rows of a group are copies but for a whisper
            X = X[(np.arange(2 * n) // 4) * 4] + 0.01 * rng.standard_normal((2 * n, 10))
            label = np.arange(2 * n) // 4
        result = two_sample_test(pd.DataFrame(X), is_test, rng, label)
        found += result.p_value <= 0.05
    return found / draws


NET = PLAIN | {
    "hidden_layer_sizes": (32,),
    "optimizer": "adam",
    "learning_rate": 1e-2,
    "batch_size": 40,
    "max_epochs": 60,
}


def wrongly_good(draws: int, n: int) -> tuple[float, int, float]:
    """Share of `good` among nets over 2m above the floor, their number, share inconclusive."""
    good = bad = unsure = 0
    fresh = make_noisy_classes(20_000, 6, flip=0.1, random_state=99)
    for seed in range(draws):
        p = make_noisy_classes(n, 6, flip=0.1, random_state=seed)
        net = DLClassifier(**NET, random_state=seed)
        chance = np.clip(clone(net).fit(p.X, p.y).predict_proba(fresh.X), 1e-6, 1)
        truth = float(-np.log(chance[np.arange(len(chance)), fresh.y]).mean())
        if truth - fresh.floor <= 2 * max(0.05 * (math.log(2) - fresh.floor), 0.01):
            continue
        d = diagnose(net, p.X, p.y, random_state=seed, budget="quick")
        bad += 1
        good += d.verdict == "good"
        unsure += d.verdict == "inconclusive"
    return good / max(bad, 1), bad, unsure / max(bad, 1)


class Store:
    """What is done already, by name; in memory only without a path."""

    def __init__(self, path: str | None) -> None:
        self.path = None if path is None else Path(path)
        exists = self.path is not None and self.path.exists()
        self.done = json.loads(self.path.read_text()) if exists else {}

    def get(self, what: str, work: Callable[[], Any]) -> Any:
        if what not in self.done:
            started = time.perf_counter()
            self.done[what] = work()
            print(
                f"  ({what.partition(': ')[0]}: {time.perf_counter() - started:.0f} s)",
                file=sys.stderr,
            )
            if self.path is not None:
                self.path.write_text(json.dumps(self.done))
        return self.done[what]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--fits", type=int, default=100)
    parser.add_argument("--store", metavar="FILE")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    store, missed = Store(options.store), []

    def kept(what: str, work: Callable[[], Any]) -> Any:
        return store.get(what, work)

    draws = options.draws
    lines = []
    for name, setting in SETTINGS.items():
        lines += kept(f"{name}: {setting}, {draws} draws", lambda name=name: coverage(name, draws))
    columns = ["setting", "entry", "truth", "bias", "half width", "coverage"]
    table = pd.DataFrame(lines, columns=columns)
    spread = math.sqrt(0.95 * 0.05 / draws)
    print(f"Coverage of the 95 % intervals (target 0.90 to 0.99; {draws} draws, +- {spread:.3f})")
    print(table.to_string(index=False, float_format="{:.3f}".format))
    outside = table[~table["coverage"].between(*COVERAGE)]
    missed += [f"coverage of {e} in {n!r}" for n, e in outside[["setting", "entry"]].to_numpy()]
    print("\nTwo-sample test at 0.05 (target size 0.03 to 0.07)")
    for n, groups in ((40, False), (100, False), (400, False), (200, True)):
        what = f"{n} rows a table" + (", in groups of four" if groups else "")
        size = kept(
            f"size, {what}, {2 * draws} draws",
            lambda n=n, groups=groups: two_sample(2 * draws, n, move=0.0, groups=groups),
        )
        power = math.nan
        if not groups:
            power = kept(
                f"power, {what}, {draws // 4} draws",
                lambda n=n: two_sample(draws // 4, n, move=0.7),
            )
        print(f"  {what}: size {size:.3f}, power at a move of 0.7 {power:.2f}")
        if not SIZE[0] <= size <= SIZE[1]:
            missed.append(f"size at {what}")
    print("\n`good` said of nets over 2m above the floor (target under 0.05)")
    for n in (40, 150):
        share, bad, unsure = kept(
            f"good at {n} rows, {options.fits} fits", lambda n=n: wrongly_good(options.fits, n)
        )
        print(f"  {n} rows: {share:.3f} of {bad} nets ({unsure:.2f} inconclusive)")
        if share >= WRONGLY_GOOD:
            missed.append(f"good at {n} rows")
    print("\n" + ("missed: " + ", ".join(missed) if missed else "all targets met"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
