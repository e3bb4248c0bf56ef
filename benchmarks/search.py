"""Four searches over the same space: held-out score against fits and seconds.

Each table is a parquet file with a column ``target`` in the folder ``--data``. A search sees
``--rows`` shuffled rows (at most two thirds of them), in three folds, and proposes settings of a
network from `param_space`, one plain network or with ``--net default`` the estimator's default, an
ensemble; its best setting is refitted and judged on up to 4,000 other rows.
All run on one thread inside `batched_fits`, so that Optuna's trials too train their folds together.
Results are appended to ``--cache``; a run that was cut short goes on from there:

    python benchmarks/search.py --data FOLDER --cache search.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import optuna
import pandas as pd
from scipy import stats
from sklearn.base import clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_validate,
)

from sklearn_dl import DLClassifier, DLRegressor, batched_fits
from sklearn_dl.search import DiagnosisSearchCV, optuna_params, param_space

# Named before any search was run. What DiagnosisSearchCV proposes was chosen on TUNING only.
TUNING = ("phoneme", "credit_g", "mlc_churn", "hpc_jobs", "chile_vote", "digits", "compas")
TUNING = (*TUNING, "abalone", "california", "kc_house")
REPORTING = ("credit_data", "bank", "magic", "contraceptive", "dna_splice", "pendigits")
REPORTING = (*REPORTING, "noaa_weather", "wine_quality", "chicago_rides", "r_check_times")
MAX_TEST_ROWS = 4000
N_SPLITS = 3
TRIALS = 100
OURS = 25
#: After so many settings the best so far is judged.
STOPS = (10, 25, 50, 100)
#: Reached: the score lies no more than this share of (TPE - prior) below TPE's.
TOLERANCE = 0.01
#: The network whose hyperparameters are sought.
NETS: dict[str, dict[str, Any]] = {"plain": {"module": "mlp", "batch_size": 128}, "default": {}}

Row = dict[str, Any]


class Task:
    """The rows of one table and seed, and the network whose hyperparameters are sought."""

    def __init__(self, data: Path, table: str, rows: int, seed: int, net: str) -> None:
        frame = pd.read_parquet(data / f"{table}.parquet")
        target = frame.pop("target")
        self.classes = isinstance(target.dtype, pd.CategoricalDtype)
        y = np.asarray(target.cat.codes if self.classes else target)
        order = np.random.RandomState(seed).permutation(len(y))
        rows = min(rows, 2 * len(y) // 3)
        train, test = order[:rows], order[rows:][:MAX_TEST_ROWS]
        if self.classes:  # a class that the search cannot know is no class to be judged by
            test = test[np.isin(y[test], y[train])]
        self.X, self.y = frame.iloc[train].reset_index(drop=True), y[train]
        self.X_test, self.y_test = frame.iloc[test].reset_index(drop=True), y[test]
        kind = DLClassifier if self.classes else DLRegressor
        self.net = kind(**NETS[net], random_state=seed)
        self.space = param_space(self.net)
        folds = StratifiedKFold if self.classes else KFold
        self.cv = folds(N_SPLITS, shuffle=True, random_state=seed)
        self.scoring = "neg_log_loss" if self.classes else "r2"
        self.seed = seed

    def held_out(self, params: dict[str, Any]) -> float:
        fitted = clone(self.net).set_params(**params).fit(self.X, self.y)
        return self.judge(fitted)

    def judge(self, fitted: Any) -> float:
        return float(get_scorer(self.scoring)(fitted, self.X_test, self.y_test))

    @property
    def prior(self) -> float:
        dummy = DummyClassifier(strategy="prior") if self.classes else DummyRegressor()
        return self.judge(dummy.fit(self.X, self.y))


# A method gives its settings in the order tried: parameters, CV score, fits and seconds so far.
Trace = list[tuple[dict[str, Any], float, float, float]]


def tpe(task: Task) -> Trace:
    """Optuna's default sampler, a trial a setting."""
    trace: Trace = []
    clock = _Clock()

    def objective(trial: optuna.Trial) -> float:
        params = optuna_params(trial, task.space)
        net = clone(task.net).set_params(**params)
        result = cross_validate(net, task.X, task.y, cv=task.cv, scoring=task.scoring)
        score = float(result["test_score"].mean())
        trace.append((params, score, N_SPLITS * (len(trace) + 1), clock()))
        return score

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=task.seed)
    optuna.create_study(direction="maximize", sampler=sampler).optimize(objective, n_trials=TRIALS)
    return trace


def _of_search(search: Any, task: Task, fits: float, *, last: bool = False) -> Trace:
    """A scikit-learn search; its seconds and fits are shared out over its settings."""
    clock = _Clock()
    search.fit(task.X, task.y)
    seconds = clock()
    results = search.cv_results_
    scores = results["mean_test_score"]
    n = len(scores)
    trace = [
        (p, float(s), fits * (k + 1) / n, seconds * (k + 1) / n)
        for k, (p, s) in enumerate(zip(results["params"], scores, strict=True))
    ]
    return [(search.best_params_, float(search.best_score_), fits, seconds)] if last else trace


def random(task: Task) -> Trace:
    search = RandomizedSearchCV(
        task.net, task.space, n_iter=TRIALS, cv=task.cv, scoring=task.scoring, refit=False,
        random_state=task.seed,
    )  # fmt: skip
    return _of_search(search, task, TRIALS * N_SPLITS)


def halving(task: Task) -> Trace:
    """81 settings on a 27th of the rows, 27 on a ninth, ...; a fit counts by its share of rows."""
    search = HalvingRandomSearchCV(
        task.net, task.space, n_candidates=81, factor=3, min_resources="exhaust", cv=task.cv,
        scoring=task.scoring, refit=False, random_state=task.seed,
    )  # fmt: skip
    trace = _of_search(search, task, 0.0, last=True)
    shares = np.array(search.n_resources_) / len(task.y)
    fits = float(N_SPLITS * np.dot(search.n_candidates_, shares))
    return [(params, score, fits, seconds) for params, score, _, seconds in trace]


def diagnosis(task: Task) -> Trace:
    search = DiagnosisSearchCV(
        task.net, task.space, n_candidates=OURS, cv=task.cv, scoring=task.scoring, refit=False,
        random_state=task.seed,
    )  # fmt: skip
    trace = _of_search(search, task, 0.0)
    per = search.n_fits_ / len(trace)
    return [(p, s, per * (k + 1), t) for k, (p, s, _, t) in enumerate(trace)]


METHODS: dict[str, Callable[[Task], Trace]] = {
    "diagnosis": diagnosis, "tpe": tpe, "random": random, "halving": halving,
}  # fmt: skip


class _Clock:
    """Seconds of this process's one thread: other work on the machine does not count."""

    def __init__(self) -> None:
        self.start = time.process_time()

    def __call__(self) -> float:
        return time.process_time() - self.start


def run(task: Task, method: str) -> Row:
    """One search, and the held-out score of its best setting at each stop."""
    start = time.perf_counter()
    with batched_fits():
        trace = METHODS[method](task)
    wall = time.perf_counter() - start
    stops, known = [], {}
    for n in sorted({*(s for s in STOPS if s < len(trace)), len(trace)}):
        best = max(trace[:n], key=lambda t: t[1])
        key = repr(sorted(best[0].items()))
        known.setdefault(key, task.held_out(best[0]))
        stops.append(
            {"settings": n, "cv": best[1], "held_out": known[key], "fits": trace[n - 1][2],
             "seconds": trace[n - 1][3]}
        )  # fmt: skip
    return {"prior": task.prior, "wall": wall, "stops": stops}


def wanted(tables: list[str], seeds: list[int], methods: list[str]) -> Iterator[tuple[Any, ...]]:
    """Seeds outermost: a run that is cut short has all tables."""
    for seed in seeds:
        for table in tables:
            for method in methods:
                yield table, seed, method


def report(rows: dict[tuple[Any, ...], Row]) -> None:
    """Each method beside TPE's last stop, by table: over its seeds, and seed by seed."""
    frame = pd.DataFrame(
        {"table": t, "seed": s, "method": m, "prior": row["prior"], **stop}
        for (t, s, m), row in rows.items()
        for stop in row["stops"]
    ).set_index(["table", "seed"])
    tpe = frame[(frame["method"] == "tpe") & (frame["settings"] == TRIALS)]
    pd.set_option("display.width", 120)
    for (method, n), part in frame.groupby(["method", "settings"]):
        both = part.index.intersection(tpe.index)
        if not len(both):
            continue
        ours, theirs = part.loc[both], tpe.loc[both]
        span = theirs["held_out"] - theirs["prior"]
        ahead = (ours["held_out"] - theirs["held_out"]) / span.where(span > 0, 1.0)
        by_table, reached = ahead.groupby("table").mean(), ahead >= -TOLERANCE
        in_folds = (ours["cv"] - theirs["cv"]) / span.where(span > 0, 1.0)
        in_folds = in_folds.groupby("table").mean()
        as_good = (in_folds >= -TOLERANCE).sum()
        width = stats.sem(by_table) * stats.t.ppf(0.975, len(by_table) - 1)
        by_seed = ", ".join(
            f"{r.sum()} of {len(r)} (seed {seed})" for seed, r in reached.groupby("seed")
        )
        print(
            f"\n{method}, {n} settings: in the mean over seeds reached "
            f"{(by_table >= -TOLERANCE).sum()} (at or above: {(by_table >= 0).sum()}) of "
            f"{len(by_table)} tables; by seed {by_seed}; ahead of TPE {TRIALS} by "
            f"{by_table.mean():+.4f} +- {width:.4f} (95 %, by table; median "
            f"{by_table.median():+.4f}) of its lead over the prior, in the folds' score that is "
            f"searched for by {in_folds.mean():+.4f} (reached on {as_good}); "
            "median fits / TPE's "
            f"{(ours['fits'] / theirs['fits']).median():.2f}, CPU seconds / TPE's "
            f"{(ours['seconds'] / theirs['seconds']).median():.2f}"
        )
        if n == frame.loc[frame["method"] == method, "settings"].max():
            table = pd.DataFrame(
                {"held-out": ours["held_out"].groupby("table").mean(),
                 "TPE": theirs["held_out"].groupby("table").mean(),
                 "ahead": by_table,
                 "in folds": in_folds,
                 "seeds": reached.groupby("table").size(),
                 "seeds reached": reached.groupby("table").sum()}
            )  # fmt: skip
            print(table.round(4).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("search.jsonl"))
    parser.add_argument("--tables", nargs="*", default=list(REPORTING))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--net", choices=list(NETS), default="plain")
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no run after these")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    done: dict[tuple[Any, ...], Row] = {}
    if options.cache.exists():
        for line in options.cache.read_text("utf-8").splitlines():
            row = json.loads(line)
            if (row["rows"], row.get("net", "plain")) == (options.rows, options.net):
                done[row["table"], row["seed"], row["method"]] = row
    begun = time.monotonic()
    for key in wanted(options.tables, options.seeds, options.methods):
        if key in done or time.monotonic() - begun > 60 * options.minutes:
            continue
        table, seed, method = key
        row = run(Task(options.data, table, options.rows, seed, options.net), method)
        about = {"rows": options.rows, "net": options.net}
        done[key] = {"table": table, "seed": seed, "method": method, **about, **row}
        with options.cache.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[key], default=float) + "\n")
        last = row["stops"][-1]
        print(*key, f"{last['held_out']:.4f}, {last['seconds']:.0f} s", flush=True)
    report({k: r for k, r in done.items() if k[0] in options.tables})


if __name__ == "__main__":
    main()
