"""Does the ledger keep what it promises? Simulations in which the truth is known.

Prints, and exits with 1 where a target is missed:

* coverage of the 95 % intervals of the ledger's entries: 90 to 99 %;
* size of the two-sample test at 0.05: 0.03 to 0.07;
* how often `good` is said of nets that are over 2m above the reference, with 40 rows: under 5 %.

    python benchmarks/ledger.py [--draws 400] [--fits 60]
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import warnings

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor

from sklearn_dl import PLAIN, DLClassifier, diagnose
from sklearn_dl.datasets import make_noisy_classes
from sklearn_dl.diagnosis.fold_fits import by_row, fit_one, jobs_on
from sklearn_dl.diagnosis.ledger import build_ledger, measure
from sklearn_dl.diagnosis.row_losses import SquaredError
from sklearn_dl.diagnosis.shift import two_sample_test
from sklearn_dl.diagnosis.splits import clusters_of, hold_inside
from sklearn_dl.diagnosis.table import Folds, check_training_table

COVERAGE, SIZE, WRONGLY_GOOD = (0.90, 0.99), (0.03, 0.07), 0.05
N, FEATURES, FOLDS, N_TEST = 300, 10, 5, 300
LOSS = SquaredError(1.0)
FRESH = 4000  # rows on which a risk is measured


def draw(rng, n, *, shift=0.0):
    """A linear target with unit noise; ``shift`` moves the target of later rows."""
    X = rng.standard_normal((n, FEATURES))
    return X, X[:, 0] + 0.5 * X[:, 1] + shift + rng.standard_normal(n)


class Groups:
    """Groups that share an offset, which two of five columns name."""

    def __init__(self, rng: np.random.RandomState, n_groups: int) -> None:
        self.offset = rng.standard_normal(n_groups)
        self.name = 3 * rng.standard_normal((n_groups, 2))

    def rows(self, rng: np.random.RandomState, group: np.ndarray):
        X, y = draw(rng, len(group))
        return np.hstack([X[:, :3], self.name[group]]), y + self.offset[group]


def risk(estimator, table, folds, fresh) -> float:
    """Mean loss, on fresh rows, of the very models that the folds fit."""
    models = [clone(estimator).fit(table.X[a], table.y[a]) for a, _ in folds.splits]
    return float(np.mean([LOSS(m, *fresh).mean() for m in models]))


def risk_within(estimator, table, folds, groups, offsets, rng) -> float:
    """The same on fresh rows of the training groups from which each fold held rows out."""
    risks = []
    for (train, _), inside in zip(folds.splits, folds.inside, strict=True):
        model = clone(estimator).fit(table.X[train], table.y[train])
        risks.append(LOSS(model, *offsets(rng, groups[rng.choice(inside, FRESH)])).mean())
    return float(np.mean(risks))


def one_ledger(name: str, rng: np.random.RandomState) -> tuple[pd.DataFrame, dict[str, float]]:
    """The ledger of one data set, ordinary least squares the only reference, and the risks."""
    estimator, kind = SETTINGS[name]
    groups = test = None
    if kind == "groups":
        groups = np.arange(N) // 5
        world = Groups(rng, N // 5)
        X, y = world.rows(rng, groups)
    else:
        X, y = draw(rng, N)
    if kind == "test":
        test = draw(rng, N_TEST, shift=1.0)
    table = check_training_table(X, y, task="regression", groups=groups)
    splits = list(KFold(FOLDS, shuffle=True, random_state=rng).split(X))
    structure, inside = "independent", ()
    if groups is not None:
        structure, label = "grouped", rng.permutation(N // 5)[groups] % FOLDS
        splits = [(np.flatnonzero(label != k), np.flatnonzero(label == k)) for k in range(FOLDS)]
        splits, inside = hold_inside(splits, structure, groups, rng)
    folds = Folds(tuple(splits), kind=structure, inside=inside)
    extra = None if test is None else check_training_table(*test, task="regression", groups=None)
    models = {"own": estimator, "prior": DummyRegressor(), "linear": LinearRegression()}
    rows = {}
    for which, model in models.items():
        fits = [fit_one(job, LOSS) for job in jobs_on(folds, model, table, extra=extra)]
        rows[which] = by_row(fits, N)
    own, within = rows.pop("own"), bool(inside)
    first = folds.splits[0]
    measured = measure(
        own.fitted, own.inside if within else own.held_out,
        {k: r.inside if within else r.held_out for k, r in rows.items()}, np.ones(N),
        prior="prior", test_over_train=len(inside[0] if within else first[1]) / len(first[0]),
        test=None if test is None else own.extra,
        test_weights=None if test is None else np.ones(N_TEST),
        later=own.held_out if within else None, clusters=clusters_of(structure, table.groups, N),
    )  # fmt: skip
    truth = {}
    if groups is None:
        fresh = draw(rng, FRESH)
        truth["reference"] = risk(LinearRegression(), table, folds, fresh)
        if test is not None:
            moved = risk(estimator, table, folds, draw(rng, FRESH, shift=1.0))
            truth["mismatch"] = moved - risk(estimator, table, folds, fresh)
    else:
        other = Groups(rng, FRESH)
        new = risk(estimator, table, folds, other.rows(rng, np.arange(FRESH) // 5))
        known = risk_within(estimator, table, folds, groups, world.rows, rng)
        truth["mismatch"] = new - known
        truth["reference"] = risk_within(LinearRegression(), table, folds, groups, world.rows, rng)
    return build_ledger(measured, None), truth


SETTINGS = {
    # name: (estimator, what is drawn)
    "too simple": (Ridge(alpha=300.0), "plain"),
    "overfitted": (LinearRegression(), "plain"),
    "shifted test rows": (Ridge(alpha=300.0), "test"),
    "new groups": (KNeighborsRegressor(5), "groups"),
}


def coverage(draws: int) -> pd.DataFrame:
    """Share of the draws whose interval holds the truth.

    Of reference and mismatch the truth is the risk of the very models fitted (Bayle et al. 2020:
    what cross-validation estimates), measured on fresh rows; of the entries that hold a training
    loss, which has no risk, the mean over all draws. F is the loss of one reference that is far
    better than the prior, so that no choice among several biases it.
    """
    lines = []
    for name in SETTINGS:
        rng = np.random.RandomState(0)
        pairs = [one_ledger(name, rng) for _ in range(draws)]
        for entry in ("reference", "approximation", "estimation", "mismatch"):
            loss = np.array([b.loc[entry, "loss"] for b, _ in pairs])
            low, high = (
                np.array([b.loc[entry, c] for b, _ in pairs]) for c in ("ci_low", "ci_high")
            )
            if np.isnan(loss).all() or loss.std() < 1e-12 or (loss == 0).mean() > 0.01:
                continue
            truth = np.array([t.get(entry, loss.mean()) for _, t in pairs])
            hit = float(((low <= truth) & (truth <= high)).mean())
            bias = float((loss - truth).mean())
            lines.append((name, entry, truth.mean(), bias, np.median(high - low) / 2, hit))
    columns = ["setting", "entry", "truth", "bias", "half width", "coverage"]
    return pd.DataFrame(lines, columns=columns)


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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--fits", type=int, default=60)
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    missed = []
    table = coverage(options.draws)
    print("Coverage of the 95 % intervals (target 0.90 to 0.99)")
    print(table.to_string(index=False, float_format="{:.3f}".format))
    if not table["coverage"].between(*COVERAGE).all():
        missed.append("coverage")
    print("\nTwo-sample test at 0.05 (target size 0.03 to 0.07)")
    for n, groups in ((40, False), (100, False), (400, False), (200, True)):
        size = two_sample(options.draws, n, move=0.0, groups=groups)
        power = math.nan if groups else two_sample(options.draws // 4, n, move=0.7)
        what = f"{n} rows a table" + (", in groups of four" if groups else "")
        print(f"  {what}: size {size:.3f}, power at a move of 0.7 {power:.2f}")
        if not SIZE[0] <= size <= SIZE[1]:
            missed.append(f"size at {what}")
    print("\n`good` said of nets over 2m above the floor (target under 0.05)")
    for n in (40, 150):
        share, bad, unsure = wrongly_good(options.fits, n)
        print(f"  {n} rows: {share:.3f} of {bad} nets ({unsure:.2f} inconclusive)")
        if share >= WRONGLY_GOOD:
            missed.append(f"good at {n} rows")
    print("\n" + ("missed: " + ", ".join(missed) if missed else "all targets met"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
